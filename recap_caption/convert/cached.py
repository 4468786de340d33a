"""Original checkpoints converted on the way, and kept in the cache: for an engine that is told to load one."""

from __future__ import annotations

from pathlib import Path

from recap_caption.convert.checkpoint import read_config
from recap_caption.convert.original import is_original
from recap_caption.convert.source import Conversion, find_model, identity
from recap_eval.console import note
from recap_eval.files import digest_json
from recap_eval.models.hub import fetch_files
from recap_eval.models.llava.tokenizer import DEFAULT_TEMPLATE, read_template


def needs_conversion(model: str) -> bool:
    """Tell whether a model is in LLaVA's original format.

    Args:
        model: A folder, or ORG/NAME on the hub.

    Raises:
        DataError: It cannot be had, or has no config.json.
    """
    folder = Path(model).expanduser()
    return is_original(read_config(folder if folder.is_dir() else fetch_files(model, ["config.json"])))


def converted(
    model: str, tokenizer: str | None, cache: Path, chat_template: str | None = None, vision_tower: str | None = None
) -> Path:
    """Return the folder of an original checkpoint's conversion, made if the cache does not have it.

    Args:
        model: The checkpoint: a folder, or ORG/NAME on the hub.
        tokenizer: Likewise; None for the checkpoint's own, or LLaMA-3's if it brings none.
        cache: Where conversions are kept.
        chat_template: A shipped one's name, or a file; None for the default.
        vision_tower: A CLIP's folder or ORG/NAME; None for the one that the checkpoint names.

    Raises:
        UserError: Tokenizer or template do not fit.
        DataError: The checkpoint cannot be had, or is not whole.
    """
    from recap_caption.convert.run import convert

    asked = Conversion(model, tokenizer, chat_template or DEFAULT_TEMPLATE, vision_tower)
    folder = find_model(model)
    digest = digest_json(identity(asked, folder, read_template(asked.chat_template)[1]))[:16]
    name = folder.resolve().name if Path(model).expanduser().is_dir() else model.replace("/", "--")
    place = cache / "captioners" / f"{name}-{digest}"
    if not place.exists():
        note(f"{model} is in LLaVA's original format; converting it into {place}, once")
    convert(asked, place)
    return place
