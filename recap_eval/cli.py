"""The command `recap-eval`. Standard library only at import."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval import __version__
from recap_eval.console import add_command, as_path, main_guard, positive, positive_number

if TYPE_CHECKING:
    pass

CLIP_EXAMPLES = """examples:
  recap-eval clip --model runs/p0.5                        every task whose data is there, then the report
  recap-eval clip --model ViT-B-32/openai --tasks scenes-zeroshot,scenes-long
  recap-eval clip --model runs/a --model runs/b --data scenes --json

What is measured already is not measured again; other settings give another result beside it."""

COMPARE_EXAMPLES = """examples:
  recap-eval compare scenes-tiny-p1-s0 scenes-tiny-p0-s0           the second against the first, item by item
  recap-eval compare runs/p1 runs/p0.5 runs/p0 --metrics all       the folders that were measured
  recap-eval compare ViT-B-32/openai ViT-B-32/laion2b_s34b_b79k --tasks coco-retrieval --metrics i2t_r1,t2i_r1
  recap-eval compare leaderboards/results/A-1b2c3d4e other/results/B-5f6a7b8c --out ab.md

A model is named as in the results, by the folder of its results or of itself, or by the beginning of its name."""

REPORT_EXAMPLES = """examples:
  recap-eval report clip                                   leaderboards/ -> reports/clip.md .csv .html, plots, clip-records.*
  recap-eval report --check                                exit 1 if a report does not follow from its results"""

EXPORT_EXAMPLES = """examples:
  recap-eval export board clip --to clip.tex               booktabs, for a paper
  recap-eval export board clip-mix --to clip-mix.parquet   long form, a row a figure, printed ones marked
  recap-eval export model scenes-tiny-p1-s0 >> README.md   the head of a hub model card (model-index)"""
SHOW_EXAMPLES = """examples:
  recap-eval show scenes-tiny-p0.5-s0/scenes-zeroshot --data scenes
  recap-eval show runs/lb/results/a-1f2e3d4c/scenes-long-5a6b7c8d.json --metric t2i_r1 --html wrong.html
  recap-eval show a/scenes-long --against b/scenes-long --failures 50   wrong in a, right in b; and the four counts

RESULT is a file, or MODEL/TASK; beginnings that are clear are enough. Without the data, ids stand for images and texts."""


FETCH_EXAMPLES = """examples:
  recap-eval fetch                                         what can be fetched, how large it is, under which licence
  recap-eval fetch urban1k sugarcrepe --data data
  recap-eval fetch coco-val2017 --keep                     keep the archive after unpacking

Names are those of this list, of tasks and of suites. Every file is verified by its digest; what is broken off goes on
where it was; what is there already is not fetched again."""

GENERATE_EXAMPLES = """examples:
  recap-eval generate --model runs/dit --prompts scenes --column recap --out images/dit-recap
  recap-eval generate --model ORG/PIPELINE --prompts recap-coco-30k --out images/a \\
      --scheduler ddpm --steps 250 --guidance-scale 10 --height 256 --width 256
  recap-eval generate --model mine.py:Model --prompts prompts.csv --prompt-column caption --out images/mine
  recap-eval generate … --shard 1/4                        one part of four; or torchrun -m recap_eval.cli generate …

After Ctrl-C, a crash or a failure the same command goes on. An image depends on the seed, its prompt's id and the
settings, not on order or number of parts. See docs/generation.md."""

STUDY_EXAMPLES = """examples:
  recap-eval study studies/clip-mix.yaml --dry-run         every command, what is done, how long the rest takes
  recap-eval study studies/clip-mix.yaml --root build/demo --set samples=60000 --set seed=0
  recap-eval study studies/clip-mix.yaml --only 'eval-seed=0-*' --jobs 2
  until recap-eval study studies/clip-mix.yaml --hours 8; [ $? -ne 75 ]; do :; done         parts of eight hours at most

What is done already is skipped; after Ctrl-C, a crash or a failure the same command goes on. See docs/studies.md."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-eval", description="Measure what recaptioning does for image-text models.",
        epilog="Each command has examples: recap-eval clip --help",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_clip(commands)
    _add_compare(commands)
    _add_report(commands)
    _add_export(commands)
    _add_show(commands)
    _add_list(commands)
    _add_scenes(commands)
    _add_fetch(commands)
    _add_study(commands)
    _add_generate(commands)
    _add_t2i(commands)
    _add_judge(commands)
    _add_captions(commands)
    _add_captioner(commands)
    _add_gallery(commands)
    _add_leaderboard(commands)
    return parser


def _add_clip(commands: Any) -> None:
    from recap_eval.commands.options import add_cache

    clip = add_command(commands, "clip", "measure CLIP models", CLIP_EXAMPLES)
    clip.add_argument(
        "--model", action="append", required=True, metavar="M", help="folder, NAME/PRETRAINED or hf-hub:ORG/NAME; repeatable"
    )
    clip.add_argument("--tasks", metavar="T,…", help="tasks and suites (default: every task whose data is there)")
    clip.add_argument("--templates", metavar="T", help="another set of zero-shot templates: a name, or a file of them")
    clip.add_argument("--data", type=as_path, metavar="DIR", help="data root or folder of scenes (default: $RECAP_DATA)")
    clip.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    clip.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    clip.add_argument("--no-report", action="store_true", help="do not render the report")
    clip.add_argument("--precision", default="auto", metavar="P", help="towers in fp32 (auto on CPU) or bf16 (auto on GPU)")
    clip.add_argument("--fast", action="store_true", help="resize images in integers: at most 2 grey levels apart, less work")
    clip.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    clip.add_argument("--compile", action="store_true", help="compile the towers: worth it on a GPU and many images")
    clip.add_argument(
        "--batch-size", type=positive, metavar="N", help="images a forward pass (default: 64 on a CPU, 256 on a GPU)"
    )
    clip.add_argument("--limit", type=positive, metavar="N", help="first N images only: a partial result, never ranked")
    clip.add_argument("--skip-bad", action="store_true", help="count and leave out unreadable images instead of stopping")
    clip.add_argument("--force", action="store_true", help="measure again and replace what is there")
    clip.add_argument("--shard", metavar="I/N", help="embed part I of N only, into the cache (torchrun does it by itself)")
    add_cache(clip)
    clip.set_defaults(run=run_clip)


def _add_compare(commands: Any) -> None:
    compare = add_command(commands, "compare", "compare models on the same items: differences, intervals, p", COMPARE_EXAMPLES)
    compare.add_argument("models", nargs="+", metavar="MODEL", help="two models or more, the baseline first")
    compare.add_argument("--tasks", metavar="T,…", help="tasks and suites (default: all that were measured)")
    compare.add_argument("--metrics", default="primary", metavar="M,…", help="primary (default), all, or names of metrics")
    compare.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
    compare.add_argument("--out", type=as_path, metavar="FILE", help="write it as markdown, too")
    compare.set_defaults(run=run_compare)


def _add_report(commands: Any) -> None:
    report = add_command(commands, "report", "render leaderboards from results alone", REPORT_EXAMPLES)
    report.add_argument("boards", nargs="*", metavar="BOARD", help="which boards (default: all)")
    report.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
    report.add_argument("--out", type=as_path, default=Path("reports"), metavar="DIR", help="where reports go")
    report.add_argument("--check", action="store_true", help="write nothing; exit 1 if a report differs from its results")
    report.set_defaults(run=run_report)


def _add_export(commands: Any) -> None:
    from recap_eval.commands.export import KINDS, to_path

    export = add_command(commands, "export", "write boards and models in the forms of others", EXPORT_EXAMPLES)
    export.add_argument("what", choices=KINDS, help="a board, or a model's results")
    export.add_argument("name", metavar="NAME", help="the board's or the model's name")
    export.add_argument(
        "--to", type=to_path, metavar="FILE", help="a board: .csv, .parquet or .tex (default: csv, to the terminal)"
    )
    export.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
    export.set_defaults(run=run_export)


def _add_show(commands: Any) -> None:
    show = add_command(commands, "show", "show what a model got wrong", SHOW_EXAMPLES)
    show.add_argument("result", metavar="RESULT", help="a result's JSON, or MODEL/TASK")
    show.add_argument("--failures", type=positive, default=20, metavar="N", help="how many to show (default 20)")
    show.add_argument(
        "--order", choices=("random", "worst", "first"), default="random", help="which of them (default random, stable)"
    )
    show.add_argument("--metric", metavar="M", help="default: the task's primary one")
    show.add_argument("--against", metavar="RESULT", help="show what this result gets right instead")
    pages = show.add_mutually_exclusive_group()
    pages.add_argument("--html", type=as_path, metavar="FILE", help="write a page with thumbnails too")
    pages.add_argument("--reports", type=as_path, metavar="DIR", help="write it where the reports of DIR lead to it")
    show.add_argument("--data", type=as_path, metavar="DIR", help="data root or folder of scenes (default: $RECAP_DATA)")
    show.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
    show.set_defaults(run=run_show)


def _add_list(commands: Any) -> None:
    names = add_command(commands, "list", "list models or tasks")
    names.add_argument("what", choices=("models", "tasks"))
    names.add_argument("--data", type=as_path, metavar="DIR", help="data root to look for the tasks' data in")
    names.set_defaults(run=run_list)


def _add_scenes(commands: Any) -> None:
    from recap_eval.commands.scenes import EXAMPLES, add_scenes

    add_scenes(add_command(commands, "scenes", "draw the embedded data set", EXAMPLES))


def _add_fetch(commands: Any) -> None:
    fetch = add_command(commands, "fetch", "get the data sets that may be fetched", FETCH_EXAMPLES)
    fetch.add_argument("names", nargs="*", metavar="NAME", help="sources, tasks or suites (default: list the sources)")
    fetch.add_argument("--data", type=as_path, metavar="DIR", help="data root to put them in (default: $RECAP_DATA)")
    fetch.add_argument("--keep", action="store_true", help="keep the archives after unpacking")
    fetch.set_defaults(run=run_fetch)


def _add_study(commands: Any) -> None:
    study = add_command(commands, "study", "run a declared grid of our commands", STUDY_EXAMPLES)
    study.add_argument("file", type=as_path, metavar="FILE", help="study file (YAML)")
    study.add_argument("--root", type=as_path, metavar="DIR", help="where it works (default: as the file says)")
    study.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another parameter or axis; repeatable")
    study.add_argument(
        "--only", action="append", metavar="GLOB", help="nodes whose name matches, with what they need; may be given again"
    )
    study.add_argument("--jobs", type=positive, default=1, metavar="N", help="nodes at once (default 1)")
    study.add_argument(
        "--hours", type=positive_number, metavar="H", help="stop after that time; exit 75 if there is more to do"
    )
    study.add_argument("--dry-run", action="store_true", help="print the graph and what of it is done; run nothing")
    study.set_defaults(run=run_study)


def _add_generate(commands: Any) -> None:
    from recap_eval.generate.options import add_generate

    generate = add_command(commands, "generate", "make images of prompts with a text-to-image model", GENERATE_EXAMPLES)
    add_generate(generate)
    generate.set_defaults(run=run_generate)


def _add_t2i(commands: Any) -> None:
    from recap_eval.commands.options import T2I_EXAMPLES, add_t2i

    t2i = add_command(commands, "t2i", "measure generated images: distances to real ones, scores against prompts", T2I_EXAMPLES)
    add_t2i(t2i)
    t2i.set_defaults(run=run_t2i)


def _add_gallery(commands: Any) -> None:
    from recap_eval.commands.gallery import EXAMPLES, add_gallery

    add_gallery(add_command(commands, "gallery", "show generated images: prompts by models, best and worst", EXAMPLES))


def _add_leaderboard(commands: Any) -> None:
    from recap_eval.commands.leaderboard_options import add_commands

    add_commands(commands, run_leaderboard)


def _add_judge(commands: Any) -> None:
    from recap_eval.judge.command import add_commands

    add_commands(commands, run_judge)


def _add_captions(commands: Any) -> None:
    from recap_eval.captions.options import CAPTIONS_EXAMPLES, add_captions
    from recap_eval.commands.options import add_looking

    captions = add_command(commands, "captions", "measure captions by their text, and against their images", CAPTIONS_EXAMPLES)
    add_captions(captions)
    add_looking(captions)
    captions.set_defaults(run=run_captions)


def _add_captioner(commands: Any) -> None:
    from recap_eval.commands.captioner_options import EXAMPLES, add_captioner

    add_captioner(add_command(commands, "captioner", "measure captioners: MMMU, MM-Vet, answers and captions", EXAMPLES))


def run_captions(args: argparse.Namespace) -> int:
    """Measure a caption set."""
    from recap_eval.commands.captions import evaluate_captions

    return evaluate_captions(args)


def run_t2i(args: argparse.Namespace) -> int:
    """Measure generated images."""
    from recap_eval.commands.t2i import evaluate_images

    return evaluate_images(args)


def run_leaderboard(args: argparse.Namespace) -> int:
    """Put results in and out, measure them again, import others'."""
    from recap_eval.commands.leaderboard import run_leaderboard as run

    return run(args)


def run_judge(args: argparse.Namespace) -> int:
    """Run a judge on its own."""
    from recap_eval.commands.judge import run_judge as run

    return run(args)


def run_generate(args: argparse.Namespace) -> int:
    """Make images of prompts."""
    from recap_eval.commands.generate import run_generate as run

    return run(args)


def run_study(args: argparse.Namespace) -> int:
    """Run a study."""
    from recap_eval.commands.study import run_file

    return run_file(args)


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch data sets."""
    from recap_eval.commands.fetch import fetch_data

    return fetch_data(args)


def run_clip(args: argparse.Namespace) -> int:
    """Measure CLIP models on tasks, then render the report."""
    from recap_eval.commands.clip import evaluate_clip

    return evaluate_clip(args)


def run_compare(args: argparse.Namespace) -> int:
    """Compare models on the same items."""
    from recap_eval.commands.compare import compare_models

    return compare_models(args)


def run_export(args: argparse.Namespace) -> int:
    """Write a board or a model in another form."""
    from recap_eval.commands.export import export

    return export(args)


def run_report(args: argparse.Namespace) -> int:
    """Render boards, or check that they are up to date."""
    from recap_eval.commands.report import render_boards

    return render_boards(args)


def run_show(args: argparse.Namespace) -> int:
    """Show what a model got wrong."""
    from recap_eval.commands.show import show_failures

    return show_failures(args)


def run_list(args: argparse.Namespace) -> int:
    """List what can be named."""
    from recap_eval.commands.listing import list_names

    return list_names(args)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return main_guard(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
