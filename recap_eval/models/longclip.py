"""LongCLIP's own checkpoints: OpenAI's CLIP with 248 text positions, of which the first 20 are kept as they were.

Zhang et al. 2024 (arXiv 2403.15378), section 3.1; layout as in beichenzbc/Long-CLIP, model/model_longclip.py: two tables of
positions, the first used for places 0 to 19 and the second from 20 on. Merged into one table, the weights are open_clip's.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.open_clip import OpenClipModel

KEPT = 20  # positions that keep OpenAI's embedding
SECOND = "positional_embedding_res"
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # facts that OpenAI keeps among the weights


def fetched(repo: str) -> Path:
    """Return a LongCLIP checkpoint of the hub, such as BeichenZhang/LongCLIP-L, whose file is longclip-L.pt.

    Raises:
        DataError: There is no such repository or file, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    name = f"longclip-{repo.rpartition('-')[2]}.pt"
    try:
        return Path(hf_hub_download(repo, name))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise DataError(
            f"Cannot get {name} of {repo} from the hub ({type(error).__name__}).",
            "Check name and network, or name a file that is here: --longclip-model longclip-L.pt",
        ) from error


def load(path: Path, how: Loading) -> OpenClipModel:
    """Load a LongCLIP checkpoint file.

    Raises:
        DataError: It cannot be read safely, or it is no LongCLIP checkpoint.
    """
    import open_clip

    state = _read(path)
    if SECOND not in state:
        raise DataError(
            f"{path} is no LongCLIP checkpoint, and a file alone does not say which model it is.",
            f"Name the architecture: NAME/{path} (names: recap-eval list models)",
        )
    first, second = state["positional_embedding"].clone(), state.pop(SECOND)
    first[KEPT:] = second[KEPT:]
    model = _build({**state, "positional_embedding": first}, path)
    tokenizer = open_clip.SimpleTokenizer(context_length=len(first))
    transform = open_clip.image_transform(model.visual.image_size[0], is_train=False)  # OpenAI's mean and deviation
    return OpenClipModel(model, transform, tokenizer, ModelId(path.stem, digest_json(["longclip", digest_file(path)])), how)


def _read(path: Path) -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read safely ({line[:200]}).", "It must be a file of tensors alone.") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else {}
    return {key.removeprefix("module."): value for key, value in state.items() if hasattr(value, "shape")}


def _build(state: dict[str, Any], path: Path) -> Any:
    """Return open_clip's CLIP with these weights: shapes say the architecture, OpenAI's models have QuickGELU."""
    from open_clip.model import build_model_from_openai_state_dict

    state = {key: value.float() for key, value in state.items() if key not in NO_WEIGHTS}
    try:
        model = build_model_from_openai_state_dict(dict(state)).float()
        model.load_state_dict(state)  # once more: the builder rounds weights to half precision
        return model
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{path} does not hold a whole CLIP ({str(error)[:200]}).", "Download it again.") from error
