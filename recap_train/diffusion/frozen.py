"""Networks that are used and not trained: found, held still, and known by the digest of their weights."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError, UserError
from recap_eval.files import canonical_json

if TYPE_CHECKING:
    import torch

FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


def still(module: Any) -> Any:
    """Return a module in evaluation mode whose weights take no gradient."""
    module.eval().requires_grad_(False)
    return module


def digest_of(module: torch.nn.Module, settings: dict[str, Any]) -> str:
    """Return the sha256 of a module's weights, by name, and of what else its output depends on."""
    state = hashlib.sha256(canonical_json(settings).encode())
    for name, weight in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(weight.detach().contiguous().cpu().numpy().tobytes())
    return state.hexdigest()


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Keep transformers from reporting what else a file holds, as the image tower of a CLIP; what is missing is told by us."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def load_pretrained(kind: Any, source: str, what: str, option: str, **arguments: Any) -> Any:
    """Load a network of diffusers or transformers from a folder or the hub, whole and from safetensors alone.

    Args:
        kind: Its class.
        source: A folder, or ORG/NAME on the hub.
        what: What it is, for messages.
        option: The option that names it.
        arguments: Further ones of `from_pretrained`.

    Raises:
        UserError: There is no such folder.
        DataError: It cannot be loaded, or its files lack weights.
    """
    if not Path(source).is_dir() and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"{source} does not exist.", f"Name a folder, or ORG/NAME on the hub: {option}")
    try:
        with _unreported():
            module, account = kind.from_pretrained(source, output_loading_info=True, use_safetensors=True, **arguments)
    except FAILURES as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"{source} holds no {what} that can be loaded ({type(error).__name__}: {why}).", f"{option} DIR"
        ) from error
    if missing := sorted(account["missing_keys"]):
        raise DataError(f"{source} lacks {len(missing)} weights of the {what}, the first {missing[0]}.", "Get it again, whole.")
    return still(module.float())  # some files are in half precision
