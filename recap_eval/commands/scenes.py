"""`recap-eval scenes`: draw the embedded data set."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from recap_eval.console import as_path, positive

if TYPE_CHECKING:
    from recap_eval.data.scenes.write import World

EXAMPLES = """examples:
  recap-eval scenes data/scenes --preset v1                the frozen world that every report refers to
  recap-eval scenes /tmp/noisy --n 50000 --size 64 --seed 1 --alt-noise 0.8 --recaption-error 0.15
  recap-eval scenes /tmp/odd --alt-noise missing=0.3,wrong=0.1"""


def add_scenes(parser: argparse.ArgumentParser) -> None:
    """Add all options of `recap-eval scenes`."""
    parser.add_argument("out", type=as_path, metavar="OUT", help="a new folder")
    parser.add_argument("--preset", metavar="NAME", help="a frozen world: v1")
    parser.add_argument("--n", type=positive, metavar="N", help="training images (default 20000)")
    parser.add_argument("--n-eval", type=positive, metavar="N", help="images in each of val and test (default 1000)")
    parser.add_argument("--size", type=int, metavar="PX", help="32 (default), 64, 128 or 256")
    parser.add_argument("--seed", type=int, help="default 0")
    parser.add_argument("--alt-noise", metavar="R", help="share of noisy alt-texts, or KIND=R,… for kinds of noise")
    parser.add_argument("--recaption-error", type=float, metavar="R", help="rate at which recaptions get an attribute wrong")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: all cores); the bytes are the same")
    parser.set_defaults(run=run_scenes)


def run_scenes(args: argparse.Namespace) -> int:
    """Write a world of scenes."""
    from recap_eval.data.scenes.write import write_world

    manifest, known = write_world(args.out, _world(args), args.workers)
    if args.json:
        print(json.dumps({"folder": str(args.out), "there_before": known} | manifest))
        return 0
    counts = ", ".join(f"{content['n']} {split}" for split, content in manifest["splits"].items())
    note = "were there already" if known else "written"
    print(f"{args.out}: scenes {note} ({counts}), digest {manifest['digest'][:12]}")
    return 0


def _world(args: argparse.Namespace) -> World:
    from dataclasses import replace

    from recap_eval.data.scenes.write import PRESETS, World
    from recap_eval.errors import UserError, unknown_name

    given = {
        name: getattr(args, name)
        for name in ("n", "n_eval", "size", "seed", "recaption_error")
        if getattr(args, name) is not None
    }
    if args.alt_noise is not None:
        given["alt_noise"] = parse_alt_noise(args.alt_noise)
    if args.preset is None:
        return replace(World(), **given)
    if args.preset not in PRESETS:
        raise unknown_name("preset", args.preset, PRESETS, "recap-eval scenes --help")
    if given:
        raise UserError(
            f"--preset {args.preset} is frozen and takes no --{next(iter(given)).replace('_', '-')}.", "Leave one out."
        )
    return PRESETS[args.preset]


def parse_alt_noise(text: str) -> dict[str, float]:
    """Return rates by kind of noise: from a total, in the default's proportions, or from KIND=R,….

    Raises:
        UserError: Neither form, or an unknown kind.
    """
    from recap_eval.data.scenes.write import ALT_NOISE
    from recap_eval.errors import UserError, unknown_name

    try:
        if "=" not in text:
            total = sum(ALT_NOISE.values())
            return {kind: float(text) * rate / total for kind, rate in ALT_NOISE.items()}
        rates = {kind: float(rate) for kind, _, rate in (part.partition("=") for part in text.split(","))}
    except ValueError as error:
        raise UserError(f"--alt-noise {text!r} holds no number.", "Examples: 0.5, or missing=0.2,wrong=0.1") from error
    for kind in rates:
        if kind not in ALT_NOISE:
            raise unknown_name("kind of alt-text noise", kind, ALT_NOISE, "recap-eval scenes --help")
    return dict(ALT_NOISE) | rates
