"""A conversion: checked whole, written into a folder beside its place, renamed. Killed, it leaves nothing half."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recap_caption.convert.check import check_logits, check_memory
from recap_caption.convert.original import model_config, preprocessor_config, processor_config
from recap_caption.convert.source import Conversion, Source, find_model, identity, open_source, origin
from recap_caption.convert.writing import write_pieces
from recap_eval.artifact import NAME, Artifact, find_artifact, write_artifact
from recap_eval.console import note, progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, write_json
from recap_eval.models.llava.tokenizer import end_tokens, fit, generation_config, load_tokenizer, read_template, save_tokenizer
from recap_eval.models.llava.vocabulary import Vocabulary
from recap_eval.provenance import run_record


def convert(asked: Conversion, out: Path, check: bool = False) -> tuple[Artifact, bool]:
    """Convert an original LLaVA into a folder that transformers loads.

    Args:
        asked: What is to be converted, and how.
        out: The folder; it comes into being whole.
        check: Hold the converted model's logits against the original's forward pass; on a finished one, too.

    Returns:
        The artifact, and whether it was there before.

    Raises:
        UserError: The folder holds something else, or what is asked for does not go together.
        DataError: The checkpoint is not whole, the disk is full, or the logits differ.
    """
    template, text = read_template(asked.chat_template)
    question = digest_json(identity(asked, find_model(asked.model), text))
    with _building(out) as part:
        if known := _finished(out, question):
            if check:
                _recheck(asked, out, known)
            return known, True
        return _make(asked, part, out, {"question": question, "chat_template": template, "layout": asked.layout}, check), False


def _finished(out: Path, question: str) -> Artifact | None:
    """Return the artifact if it is there and of the same question."""
    known = find_artifact(out)
    if known is not None and known.made.get("question") == question:
        return known
    if known is not None or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        what = "holds another conversion" if known else "is not empty"
        raise UserError(f"{out} {what}.", "Choose another --out, or delete it.")
    return None


def _make(asked: Conversion, part: Path, out: Path, made: dict[str, Any], check: bool) -> Artifact:
    start = time.perf_counter()
    source = open_source(asked)
    if check:
        check_memory(source.weights.count)
    tokenizer = load_tokenizer(source.tokenizer)
    plan = fit(tokenizer, source.weights.rows, read_template(asked.chat_template)[1])
    files = _write(source, tokenizer, plan, part, asked.layout)
    made |= origin(asked, source) | {"format": "LlavaLlamaForCausalLM", "dtype": source.weights.dtype}
    made |= {"tokenizer": _named(source), "vocabulary": {"checkpoint_rows": source.weights.rows} | _said(plan)}
    if check:
        made["check"] = asdict(check_logits(source, plan, part))
    source.weights.close()
    artifact = write_artifact(part, "captioner", out.resolve().name, files, made, run_record(time.perf_counter() - start))
    try:
        part.replace(out)
    except OSError as error:
        raise DataError(f"Cannot put the model into {out}: {error.strerror}.", "Choose another --out.") from error
    return artifact


def _write(source: Source, tokenizer: Any, plan: Vocabulary, part: Path, layout: str) -> list[str]:
    """Write the folder; returns the names of its files."""
    pieces = source.weights.pieces(layout, plan.rows)
    total = sum(piece.size for piece in pieces)
    _check_room(part, total)
    with progress_bar(total, f"converting {source.name}", "B", unit_scale=True) as bar:
        write_pieces(part, pieces, bar.update)
    save_tokenizer(tokenizer, part)
    ends = end_tokens(tokenizer)
    config = model_config(source.original, source.vision, plan.rows, plan.image_id, plan.pad_id, ends, source.weights.dtype)
    write_json(part / "config.json", config)
    write_json(part / "generation_config.json", generation_config(tokenizer, plan))
    write_json(part / "preprocessor_config.json", preprocessor_config(source.vision, source.original.pads))
    write_json(part / "processor_config.json", processor_config(source.vision, source.original.select))
    return sorted(path.name for path in part.iterdir() if path.is_file() and path.name != NAME)


def _check_room(part: Path, total: int) -> None:
    free = shutil.disk_usage(part).free
    if free < total:
        raise DataError(
            f"The converted model takes {total / 1e9:.1f} GB, and {part.parent} has {free / 1e9:.1f} GB left.",
            "Free some space, or choose another place.",
        )


def _said(plan: Vocabulary) -> dict[str, Any]:
    named = [token for token in plan.added if not token.startswith("<|unnamed_")]
    return {"rows": plan.rows, "image_id": plan.image_id, "pad_id": plan.pad_id, "added": named}


def _named(source: Source) -> str:
    place = Path(source.tokenizer).expanduser()
    return place.resolve().name if place.is_dir() else source.tokenizer


def _recheck(asked: Conversion, out: Path, known: Artifact) -> None:
    source, facts = open_source(asked), known.made["vocabulary"]
    check_memory(source.weights.count)
    plan = Vocabulary(tuple(facts["added"]), facts["image_id"], facts["pad_id"], facts["rows"])
    check_logits(source, plan, out)
    source.weights.close()


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out`, held by a lock so that two processes never write into it; gone afterwards."""
    part = out.with_name(f".{out.name}.part")
    handle = _lock(part, out)
    try:
        for entry in part.iterdir():  # of one that was killed
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield part
    finally:
        if _is_held(part, handle):  # else it has become the finished folder
            shutil.rmtree(part, ignore_errors=True)
        os.close(handle)


def _lock(part: Path, out: Path) -> int:
    """Return a handle of the folder that this process alone has locked, waiting for another one if need be."""
    while True:
        try:
            part.mkdir(parents=True, exist_ok=True)
            handle = os.open(part, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"Cannot write {part}: {error.strerror}.", "Choose another --out.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process converts into {out}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return handle  # a file system without locks
        if _is_held(part, handle):
            return handle
        os.close(handle)  # the process before has made it the finished folder, or has given it up


def _is_held(part: Path, handle: int) -> bool:
    """Tell whether a path is still the folder that was opened under it."""
    try:
        return os.path.samestat(part.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
