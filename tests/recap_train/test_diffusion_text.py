"""Text towers of CLIP models as transformers' models: the same states; what is read of a text; errors."""

import shutil
from io import StringIO
from logging import StreamHandler

import open_clip
import pytest
import torch
from support import make_run, make_stages
from transformers import CLIPConfig, CLIPModel, CLIPTextModel
from transformers.utils import logging

from recap_eval.errors import DataError, UserError
from recap_train.clip import train
from recap_train.diffusion.text import ABSENT, open_text_encoder
from recap_train.stages import chain

TEXTS = ["a red circle", "The image shows a large blue star in the top left, with a small green ring in the centre.", ""]


def towers_states(folder, tokens, causal):
    """Return the states that open_clip's own tower makes of token ids."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    text = model.eval() if not hasattr(model, "text") else model.text.eval()
    x = text.token_embedding(tokens) + text.positional_embedding[: tokens.shape[1]]
    mask = text.attn_mask[: tokens.shape[1], : tokens.shape[1]] if causal else None
    return text.ln_final(text.transformer(x, attn_mask=mask))


def test_a_causal_tower_gives_its_states(model):
    encoder = open_text_encoder(str(model))
    tokens = encoder.tokens(TEXTS)
    states, present = encoder.states(tokens)
    assert type(encoder.model).__name__ == "CLIPTextModel" and encoder.length == 64
    with torch.no_grad():
        wanted = towers_states(model, tokens[:, : states.shape[1]].clamp(min=0), causal=True)
    torch.testing.assert_close(states[present], wanted[present], rtol=1e-4, atol=1e-5)


def test_a_bidirectional_tower_gives_its_states(world, tmp_path):
    """A text that fills its batch has no padding, so that the mask, which the tower itself lacks, changes nothing."""
    train(chain(make_stages(world, tmp_path / "clip")))
    encoder = open_text_encoder(str(tmp_path / "clip"))
    tokens = encoder.tokens(TEXTS[1:2])
    states, present = encoder.states(tokens)
    assert type(encoder.model).__name__ == "SiglipTextModel" and bool(present.all())
    with torch.no_grad():
        wanted = towers_states(tmp_path / "clip", tokens[:, : states.shape[1]], causal=False)
    torch.testing.assert_close(states, wanted, rtol=1e-4, atol=1e-5)


def test_of_a_whole_clip_the_text_tower_is_taken_without_a_word_of_the_other(model, tmp_path):
    text = open_text_encoder(str(model))
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
    config = CLIPConfig(text_config=text.model.config.to_dict(), vision_config=vision | {"patch_size": 8}, projection_dim=16)
    whole = CLIPModel(config)
    whole.text_model.load_state_dict(text.model.state_dict())
    whole.save_pretrained(tmp_path / "whole")
    text.tokenizer.save_pretrained(tmp_path / "whole")
    told, verbosity = StringIO(), logging.get_verbosity()
    handler = StreamHandler(told)
    logging.add_handler(handler)
    logging.set_verbosity_warning()
    try:
        found = open_text_encoder(str(tmp_path / "whole"))
        assert told.getvalue() == "" and logging.get_verbosity() == logging.WARNING
        CLIPTextModel.from_pretrained(tmp_path / "whole")
        assert "UNEXPECTED" in told.getvalue(), "transformers itself reports them"
    finally:
        logging.set_verbosity(verbosity)
        logging.remove_handler(handler)
    tokens = text.tokens(TEXTS)
    torch.testing.assert_close(found.states(tokens)[0], text.states(tokens)[0])


def test_tokens_end_where_the_text_does(model):
    encoder = open_text_encoder(str(model))
    tokens = encoder.tokens([*TEXTS, "ring " * 200, "  A RED circle "])
    assert tokens.shape == (5, 64)
    lengths = (tokens != ABSENT).sum(dim=1).tolist()
    assert lengths[:4] == [5, 21, 2, 64]  # words, beginning and end
    assert torch.equal(tokens[4], tokens[0])  # as the pipeline lower-cases and strips
    states, present = encoder.states(tokens[2:3])
    assert states.shape[:2] == (1, 2) and bool(present.all())
    assert encoder.states(tokens[:0])[0].shape[0] == 0


def test_a_text_has_the_same_states_in_any_company(model):
    encoder = open_text_encoder(str(model))
    alone, _ = encoder.states(encoder.tokens(TEXTS[:1]))
    beside, present = encoder.states(encoder.tokens(TEXTS))
    torch.testing.assert_close(beside[0][present[0]], alone[0], rtol=1e-4, atol=1e-5)


def test_the_digest_names_the_weights(models):
    digests = {key: open_text_encoder(str(folder)).digest for key, folder in models.items()}
    assert len(set(digests.values())) == len(digests)
    assert open_text_encoder(str(models[0.0, 0])).digest == digests[0.0, 0]


def test_a_pipelines_encoder_and_what_is_none(model, tmp_path):
    from tiny_pipelines import make_pixart

    encoder = open_text_encoder(str(make_pixart(tmp_path / "pixart")))
    assert encoder.width == 16 and encoder.length == 12
    for name, kind in (("nowhere", UserError), ("empty", DataError)):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(kind):
            open_text_encoder(str(tmp_path / name))
    damaged = shutil.copytree(model, tmp_path / "damaged")
    with (damaged / "open_clip_model.safetensors").open("r+b") as stream:
        stream.write(b"\0" * 9)
    with pytest.raises(DataError, match="not the file"):
        open_text_encoder(str(damaged))


def test_a_run_that_is_no_text_encoder(world, tmp_path):
    from recap_eval.artifact import write_artifact

    (tmp_path / "x").mkdir()
    write_artifact(tmp_path / "x", "images", "x", [], {}, {})
    with pytest.raises(UserError, match="images"):
        open_text_encoder(str(tmp_path / "x"))
    assert make_run(world, tmp_path / "y").name
