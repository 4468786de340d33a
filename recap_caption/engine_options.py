"""The options that say what makes captions. Standard library only at import."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recap_eval.console import as_path, positive, positive_number
from recap_eval.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16")
FORMS = ("PNG", "WEBP")  # canon.LOSSLESS, which is not imported here: `--help` shall be quick
DIALECTS = ("openai", "vllm", "transformers")  # engines.requests.DIALECTS, likewise
AUTO, ORIGINAL = "auto", "original"
SMALLEST, LARGEST = 8, 4096  # pixels of a side


@dataclass(frozen=True)
class EngineOptions:
    """What makes captions: as plain values, so that a run's record can hold them. A key is never among them.

    Args:
        engine: A name of `engines.table.ENGINES`, or MODULE:ATTR.
        model: A folder, a hub id, or a server's name for it.
        image_size: "auto", "original", or pixels of a side.
        device: Where the model runs; None for a GPU if there is one.
        precision: "auto", "fp32" or "bf16".
        batch_size: Images at once; None for what fits.
        compile: Compile the model.
        chat_template: A file; None for the model's own.
        tokenizer: A folder or hub id, for a checkpoint in LLaVA's original format; None for its own, or LLaMA-3's.
        base_url: Servers, commas between them.
        api_key_env: The environment variable with their key.
        dialect: How the server is told to sample; None for what its provider understands.
        extra_body: JSON that every request holds besides.
        send: PIL's name of the form in which images are sent.
        concurrency: Requests under way at once.
        requests_per_minute: At most, or None.
        tokens_per_minute: At most, in and out, or None.
        request_timeout: Seconds a request may take.
        attempts: How often a request is made before it counts as failed.
    """

    engine: str = "transformers"
    model: str | None = None
    image_size: str = AUTO
    device: str | None = None
    precision: str = "auto"
    batch_size: int | None = None
    compile: bool = False
    chat_template: str | None = None
    tokenizer: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    dialect: str | None = None
    extra_body: str | None = None
    send: str = "PNG"
    concurrency: int = 32
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    request_timeout: float = 300.0
    attempts: int = 8

    def side(self, auto: int | None) -> int | None:
        """Return the pixels of a side that images are brought to; None if they keep their size.

        Args:
            auto: What the model takes.
        """
        if self.image_size == AUTO:
            return auto
        return None if self.image_size == ORIGINAL else int(self.image_size)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add who captions, and how."""
    group = parser.add_argument_group("engine", "docs/engines.md tells them apart.")
    group.add_argument(
        "--engine", default="transformers", metavar="E",
        help="transformers (default): in this process; openai: any OpenAI-compatible server; or MODULE:ATTR, your own",
    )  # fmt: skip
    group.add_argument("--model", metavar="M", help="a folder or ORG/NAME on the hub; with openai the server's name for it")
    group.add_argument(
        "--image-size", type=image_size, default=AUTO, metavar="N",
        help="images are padded to a square of N pixels a side; original: left as they are (default: what the model takes)",
    )  # fmt: skip
    _add_local(parser.add_argument_group("engine transformers"))
    _add_served(parser.add_argument_group("engine openai"))


def _add_local(group: Any) -> None:
    group.add_argument("--device", metavar="D", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    group.add_argument("--precision", choices=PRECISIONS, default="auto", help="auto (default): bf16 on a GPU, else fp32")
    group.add_argument("--batch-size", type=positive, metavar="N", help="images at once (default: by model and memory)")
    group.add_argument("--compile", action="store_true", help="compile the model; on a GPU only")
    group.add_argument("--chat-template", type=as_path, metavar="FILE", help="Jinja, for a model without one")
    group.add_argument(
        "--tokenizer",
        metavar="T",
        help="folder or ORG/NAME, for a LLaVA in its original format (its own, else LLaMA-3-8B-Instruct's)",
    )


def _add_served(group: Any) -> None:
    group.add_argument("--base-url", metavar="URL,…", help="servers, all alike (default: $OPENAI_BASE_URL, else OpenAI)")
    group.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the key (OPENAI_API_KEY)")
    group.add_argument("--concurrency", type=positive, default=32, metavar="N", help="requests under way at once (32)")
    group.add_argument("--requests-per-minute", type=positive_number, metavar="N", help="at most (default: no limit)")
    group.add_argument("--tokens-per-minute", type=positive_number, metavar="N", help="at most, in and out (no limit)")
    group.add_argument("--request-timeout", type=positive_number, default=300.0, metavar="S", help="seconds a request (300)")
    group.add_argument("--attempts", type=positive, default=8, metavar="N", help="times a request is made (8)")
    group.add_argument("--send", type=str.upper, choices=FORMS, default="PNG", help="form of images that are sent (PNG)")
    group.add_argument(
        "--dialect", choices=DIALECTS,
        help="how top-k is told: openai (not at all), vllm (SGLang, too; default of other servers), transformers",
    )  # fmt: skip
    group.add_argument("--extra-body", type=json_object, metavar="JSON", help="what every request holds besides")


def image_size(text: str) -> str:
    """Return "auto", "original", or a number of pixels, as text."""
    if text in (AUTO, ORIGINAL):
        return text
    if not text.isdecimal() or not SMALLEST <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, original or a number from {SMALLEST} to {LARGEST}")
    return str(int(text))


def json_object(text: str) -> str:
    """Return a JSON object in canonical form."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"it is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('it is no JSON object such as {"repetition_penalty": 1.1}')
    return json.dumps(found, sort_keys=True)


def engine_of(args: argparse.Namespace) -> EngineOptions:
    """Return the engine that the options name; nothing is loaded and nobody asked.

    Raises:
        UserError: No model is named.
    """
    found = {field.name: getattr(args, field.name) for field in fields(EngineOptions)}
    if found["model"] is None and ":" not in found["engine"]:
        raise UserError(
            "Which model captions is not said.", "Name it: --model FOLDER, --model ORG/NAME, or a server's name for it"
        )
    template = found["chat_template"]
    return EngineOptions(**found | {"chat_template": None if template is None else str(Path(template))})
