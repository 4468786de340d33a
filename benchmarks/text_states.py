"""What the states of a text encoder tell of words: how far apart words of a kind lie, layer by layer.

    python -m benchmarks.text_states --text-encoder build/dit-mix/text --data build/dit-mix/scenes

Of each kind of word, the spread of the words' mean states over the states' spread around them, in the long captions of drawn
scenes; layer 0 is the embeddings. docs/diffusion.md says what follows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from recap_eval.data.shards import read_shards

CAPTIONS = 600
KINDS = {
    "shape": "star circle square triangle cross diamond ring moon",
    "colour": "red blue green yellow purple orange pink brown",
    "texture": "plain striped dotted checkered",
    "across": "left right",
    "down": "top bottom",
}


def apart(states: np.ndarray, words: list[str], kind: list[str]) -> float:
    """Return how far apart the words of a kind lie.

    Args:
        states: (N, D) of tokens.
        words: (N,) the tokens' words.
        kind: The words of the kind.
    """
    groups = [states[[place for place, word in enumerate(words) if word == one]] for one in kind if one in words]
    means = np.array([group.mean(axis=0) for group in groups])
    around = np.mean([group.var(axis=0).sum() for group in groups])
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean()
    return float(np.sqrt(between / around))


def layers_of(encoder: Any, texts: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Return (N, D) states of all tokens, a layer each, and (N,) the tokens' words."""
    import torch

    tokens = encoder.tokens(texts)
    present = tokens != -1
    ids = tokens.masked_fill(~present, encoder.padding)
    with torch.no_grad():
        found = encoder.model(ids, attention_mask=present.long(), output_hidden_states=True)
    words = [encoder.tokenizer.decode([int(token)]).strip() for token in ids[present]]
    return [layer[present].numpy() for layer in (*found.hidden_states[:-1], found[0])], words


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text-encoder", required=True, help="as for recap-train dit")
    parser.add_argument("--data", required=True, type=Path, help="drawn scenes")
    args = parser.parse_args()
    from recap_train.diffusion.text import open_text_encoder

    captions = (sample.caption("json:re_caption") for sample in read_shards(args.data / "train"))
    texts = list(dict.fromkeys(caption for caption in captions if caption))[:CAPTIONS]
    layers, words = layers_of(open_text_encoder(args.text_encoder), texts)
    print("layer  " + "  ".join(f"{kind:>7}" for kind in KINDS))
    for number, states in enumerate(layers):
        print(f"{number:5}  " + "  ".join(f"{apart(states, words, kind.split()):7.2f}" for kind in KINDS.values()))


if __name__ == "__main__":
    main()
