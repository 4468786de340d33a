"""`recap-caption estimate`: what a run would take, from a few captions."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recap_caption.options import add_input, add_texts, wanted_of
from recap_eval.console import add_command, note, positive, positive_number, progress_bar
from recap_eval.errors import DataError

if TYPE_CHECKING:
    from recap_caption.engines.base import Engine, Reply, Request
    from recap_caption.estimate.draw import Drawn
    from recap_caption.estimate.outlook import Plan, Probe
    from recap_caption.run.asking import Asking

PROBED = 200
EXAMPLES = """examples:
  recap-caption estimate --input shards --caption-preset datacomp --model llava-hf/llava-1.5-7b-hf
  recap-caption estimate --input shards --caption-preset datacomp --model M --total 1.24e9 --devices 64 --price-per-hour 2.5
  recap-caption estimate --input photos --engine openai --model gpt-4.1-mini --image-size original --probe 20
  recap-caption estimate --input shards --original-key txt --engine openai --model M --base-url http://a:8000/v1 --json

It captions some images of the input, the same ones every time, with the very prompts and engine of a run, and says what the
whole would take: hours, tokens, money, disk, each with the uncertainty of the probe. Nothing is kept. See docs/engines.md."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "estimate", "hours, tokens and money of a run, from a few captions", EXAMPLES)
    add_estimate(parser)
    add_input(parser)
    add_texts(parser)
    from recap_caption.engine_options import add_engine
    from recap_caption.prompt_options import add_prompt

    add_prompt(parser)
    add_engine(parser)
    parser.set_defaults(run=run, limit=None, hash_input=False)


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Add what is thought of."""
    group = parser.add_argument_group("the run that is thought of")
    group.add_argument("--probe", type=positive, default=PROBED, metavar="N", help=f"images that are captioned ({PROBED})")
    group.add_argument("--total", type=positive, metavar="N", help="images of the run (default: those of the input)")
    group.add_argument("--devices", type=positive, default=1, metavar="K", help="engines like this one at work at once (1)")
    group.add_argument("--price-per-hour", type=positive_number, metavar="USD", help="of one device")
    group.add_argument("--price-in", type=positive_number, metavar="USD", help="a million tokens of questions and images")
    group.add_argument("--price-out", type=positive_number, metavar="USD", help="a million tokens of captions")


def run(args: argparse.Namespace) -> int:
    """Caption a few images, and tell what all would take."""
    from recap_caption.engine_options import engine_of
    from recap_caption.engines.table import make
    from recap_caption.estimate.draw import draw
    from recap_caption.run.asking import Asking
    from recap_caption.sources.places import check_said, find_source

    wanted = wanted_of(args, [])
    source = find_source(wanted.words, wanted.reading)
    check_said(wanted.reading, source)
    options = engine_of(args)
    _price(args, options.model or "", "compatible")  # half a price is told before anything is loaded
    engine = make(options)
    try:
        with draw(source, args.probe) as drawn:
            asking = Asking(wanted.prompts, wanted.seed)
            found = probe(engine, asking, drawn)
        plan = plan_of(args, drawn, len(asking.questions), engine)
    finally:
        engine.close()
    _tell(args, found, drawn, plan, engine)
    return 0


def probe(engine: Engine, asking: Asking, drawn: Drawn) -> Probe:
    """Caption what was drawn.

    Raises:
        DataError: No caption came.
    """
    from recap_caption.estimate.outlook import Probe
    from recap_caption.rows import OK

    moments: list[float] = []
    kept: list[tuple[Request, Reply]] = []
    requests = list(_requests(asking, drawn))
    if not requests:
        raise DataError("None of the probe's images can be asked about.", "See recap-caption run: its rows would say why.")
    with progress_bar(len(requests), "  probe", "captions") as bar:

        def keep(request: Request, reply: Reply) -> None:
            moments.append(time.perf_counter())
            kept.append((request, reply))
            bar.update(1)

        began = time.perf_counter()
        engine.caption(iter(requests), keep)
    replies = [reply for _, reply in kept]
    if all(reply.status != OK for reply in replies):
        raise DataError(f"None of {len(replies)} captions came; the first: {replies[0].error}.", "Mend that first.")
    return Probe(replies, moments, began, row_bytes(asking, drawn, kept, engine))


def _requests(asking: Asking, drawn: Drawn) -> Iterator[Request]:
    from recap_caption.sources.base import Fault

    for place in range(len(drawn.items) * len(asking.questions)):
        item = drawn.items[place // len(asking.questions)]
        request = asking.request(place, item, item.read_image)
        if not isinstance(request, Fault):
            yield request


def row_bytes(asking: Asking, drawn: Drawn, kept: list[tuple[Request, Reply]], engine: Engine) -> float:
    """Return the bytes on disk of a row."""
    from recap_caption.run.asking import Made, answer_of
    from recap_caption.run.output import pack

    made = Made(engine.model_id, "0" * 16, engine.name)
    rows = [
        asking.row(request.place, drawn.items[asking.split(request.place)[0]], answer_of(reply), made)
        for request, reply in kept
    ]  # fmt: skip
    return (len(pack(rows, {})) - len(pack([], {}))) / len(rows)


def plan_of(args: argparse.Namespace, drawn: Drawn, captions: int, engine: Engine) -> Plan:
    """Return the run that is thought of."""
    from recap_caption.estimate.outlook import Plan

    provider = str(engine.identity.get("provider", "compatible"))
    price = _price(args, engine.model_id, provider)
    return Plan(args.total or drawn.total, captions, args.devices, args.price_per_hour, price)


def _price(args: argparse.Namespace, model: str, provider: str) -> Any:
    from recap_eval.endpoint.money import find_price

    return find_price(model, provider, (args.price_in, args.price_out))


def _tell(args: argparse.Namespace, found: Probe, drawn: Drawn, plan: Plan, engine: Engine) -> None:
    from recap_caption.estimate.outlook import outlook
    from recap_caption.estimate.words import lines

    ahead = outlook(found, plan)
    record = {
        "model": engine.model_id, "engine": engine.name, "about": engine.about,
        "probe": {"images": len(drawn.items), "parts": drawn.parts, "parts_in_all": drawn.of} | found.record(),
        "input_images": {"value": drawn.total, "exact": drawn.exactly}, "run": ahead,
    }  # fmt: skip
    if args.total is None and not drawn.exactly:
        note(f"  how many images the input has is reckoned from its size: about {drawn.total:,}; --total says it")
    print(json.dumps(record) if args.json else "\n".join(lines(record)))
