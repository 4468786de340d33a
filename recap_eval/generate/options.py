"""The options of generating, group by group, for every command that generates. Standard library only at import."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from recap_eval.console import as_path, positive
from recap_eval.errors import UserError
from recap_eval.generate.presets import PRESETS

if TYPE_CHECKING:
    from recap_eval.generate.base import Running, Sampling
    from recap_eval.generate.prompts import PromptSet

FORMATS = ("png", "jpg", "webp")
PROMPTS_HELP = f"file (.jsonl .csv .tsv .txt .parquet), or {', '.join(PRESETS)}"


def add_prompts(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add what says which prompts are meant."""
    group = parser.add_argument_group("prompts")
    group.add_argument("--prompts", required=required, metavar="P", help=PROMPTS_HELP)
    group.add_argument("--column", metavar="C", help="raw (default) or recap, for a data set by name")
    group.add_argument("--prompt-column", metavar="C", help="column of a file that holds the prompts")
    group.add_argument("--id-column", metavar="C", help="column of a file that holds their ids")
    group.add_argument("--reference-column", metavar="C", help="column of a file that holds the ids of real images")
    group.add_argument("--limit", type=positive, metavar="N", help="the first N prompts only; results of them are partial")
    group.add_argument("--data", type=as_path, metavar="DIR", help="data root, for a data set by name (default: $RECAP_DATA)")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add how images are sampled; what is not given is as the pipeline has it."""
    group = parser.add_argument_group("sampling", "What is not given is as the pipeline has it.")
    group.add_argument("--scheduler", metavar="S", help="ddpm, ddim, euler, euler-a, dpm++, unipc, flow-euler, …")
    group.add_argument("--steps", type=positive, metavar="N", help="denoising steps")
    group.add_argument("--guidance-scale", type=float, metavar="G", help="scale of classifier-free guidance")
    group.add_argument("--height", type=positive, metavar="PX", help="height of the images")
    group.add_argument("--width", type=positive, metavar="PX", help="width of the images")
    group.add_argument("--negative-prompt", metavar="TEXT", help="what guidance leads away from")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the run (default 0)")
    group.add_argument("--samples", type=positive, default=1, metavar="N", help="images a prompt (default 1)")
    group.add_argument("--safety-checker", action="store_true", help="keep the pipeline's; images it blanks are counted")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a further argument of the pipeline's call; repeatable"
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add where and how it runs."""
    group = parser.add_argument_group("running")
    group.add_argument("--precision", default="auto", metavar="P", help="fp32 (auto on CPU), bf16 (auto on GPU) or fp16")
    group.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    group.add_argument("--compile", action="store_true", help="compile the denoiser: worth it on a GPU and many images")
    group.add_argument(
        "--batch-size", type=positive, metavar="N", help="images a forward pass (default: 4 on a CPU, 16 on a GPU)"
    )
    group.add_argument(
        "--format", choices=FORMATS, default="png", help="of the files: png (default), jpg (q 95), webp (lossless)"
    )
    group.add_argument("--shard", metavar="I/N", help="make part I of N only (torchrun does it by itself)")


def prompts_of(args: argparse.Namespace) -> PromptSet:
    """Return the prompts that the options name.

    Raises:
        UserError: No such set, or columns that do not go with it.
        DataError: The file or the data is missing or damaged.
    """
    from recap_eval.data.root import default_root
    from recap_eval.generate.prompt_files import Columns
    from recap_eval.generate.prompt_sources import find_prompts

    columns = Columns(args.prompt_column, args.id_column, args.reference_column)
    found: PromptSet = find_prompts(args.prompts, args.data or default_root(), args.column, columns)
    return found.first(args.limit)


def sampling_of(args: argparse.Namespace) -> Sampling:
    """Return how the options say to sample."""
    from recap_eval.generate.base import Sampling

    return Sampling(
        args.scheduler, args.steps, args.guidance_scale, args.height, args.width, args.negative_prompt, args.precision
    )  # fmt: skip


def running_of(args: argparse.Namespace, device: str | None) -> Running:
    """Return where and how the options say to run.

    Args:
        args: The options.
        device: What torchrun gave this process.

    Raises:
        UserError: A --set is not NAME=VALUE.
    """
    from recap_eval.generate.base import Running

    return Running(args.device or device, args.compile, args.safety_checker, dict(_setting(word) for word in args.set))


def _setting(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise UserError(f"--set {word} is not NAME=VALUE.", "Example: --set max_sequence_length=300")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Add all options of `recap-eval generate`."""
    parser.add_argument(
        "--model", required=True, metavar="M", help="a pipeline's folder, ORG/NAME on the hub, or MODULE:ATTR, your own class"
    )
    parser.add_argument("--out", type=as_path, required=True, metavar="DIR", help="a new folder, or one that a run began")
    add_prompts(parser)
    add_sampling(parser)
    add_running(parser)
