"""What tests share that is not a fixture: running our commands, describing small runs."""

import io
import re
import resource
import subprocess
import sys
import tarfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--n", "96", "--n-eval", "48", "--workers", "1")


def recap(command: str, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of our commands within this process, which has imported the libraries already; returns what a process would."""
    main = import_module(f"{command.replace('-', '_')}.cli").main
    given, out, err = [*map(str, words)], io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, [command, *given]
    try:
        with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()):
            code = main(given)
    except SystemExit as end:  # of argparse
        code = end.code
    finally:
        sys.argv = before
    return subprocess.CompletedProcess([command, *given], code or 0, out.getvalue(), err.getvalue())


def recap_apart(command: str, *words: object, cwd: Path | None = None, largest_file: int | None = None):
    """Run one of our commands in a process of its own; returns the finished process with text output.

    `largest_file` bytes stands in for a full disk: a write beyond it fails.
    """
    package = command.replace("-", "_")
    limit = None if largest_file is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (largest_file, -1))
    return subprocess.run(
        [sys.executable, "-m", f"{package}.cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        preexec_fn=limit,
        timeout=300,
    )


def run_study(path: Path, *words: str, cwd: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run the commands of a study's nodes within this process, each after what it needs; returns what each did by its name.

    A process of its own imports for seconds, and that is most of what a small node takes.
    """
    from recap_eval.study.graph import build_graph
    from recap_eval.study.spec import read_study

    root = Path(words[words.index("--root") + 1]) if "--root" in words else None
    sets = [value for option, value in pairwise(words) if option == "--set"]
    done = {}
    for node in build_graph(read_study(path, sets, root)).nodes.values():
        done[node.name] = recap(*node.words, cwd=cwd)
        assert done[node.name].returncode == 0, f"{node.name}: {done[node.name].stderr}"
    return done


def lay_out(place: Path, names: list[str]) -> Path:
    """Write small images under a folder, the n-th showing n to the encoders of `fakes`."""
    from fakes import Card

    for number, name in enumerate(names):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Card(name, number).read_image())
    return place


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """Write an uncompressed tar with these members."""
    with tarfile.open(path, "w") as tar:
        for name, payload in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return path


def assert_two_line_error(done, code: int, *fragments: str) -> None:
    """Check exit code, that standard error ends in our two lines, and what they say."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()[-2:]
    assert lines[0].startswith("error: ") and lines[1].startswith("       "), done.stderr
    for fragment in fragments:
        assert fragment in "\n".join(lines), done.stderr


def make_run(world: Path, out: Path, p: float = 0.5, seed: int = 0, samples: int = 512, **other):
    """Describe a training run of a few steps."""
    from recap_train.mixing import Mix
    from recap_train.recipes import load_recipe
    from recap_train.run import Run
    from recap_train.training_data import declared_roles

    facts = {"name": f"tiny-p{p:g}-s{seed}", "precision": "fp32", "skip_bad": False, "roles": declared_roles(world)}
    facts |= {"recipe": load_recipe("scenes-tiny")} | other
    return Run(data=world, mix=Mix(p), samples_seen=samples, seed=seed, out=out, **facts)


def make_stages(world: Path, out: Path, samples: int = 640, **other):
    """Describe the two short stages of recap-clip-scenes; `recap_train.stages.chain` links them."""
    from recap_train.recipes import load_recipe
    from recap_train.stages import Changes, resolve

    recipes = resolve(load_recipe("recap-clip-scenes"), ["1", "2"], Changes(samples_seen=samples, batch_size=64))
    return [make_run(world, out, samples=one.train["samples_seen"], recipe=one, **other) for one in recipes]


def foreign(page: str) -> str:
    """Return a page without the one script that is ours; what is left must hold none."""
    from recap_eval.report.html import SCRIPT, TEMPLATES

    ours = f"<script>{(TEMPLATES / SCRIPT).read_text()}</script>"
    assert page.count(ours) == 1
    return page.replace(ours, "")


def unlinked(text: str) -> str:
    """Return markdown without its links: what they show stays."""
    return re.sub(r"(?<!!)\[([^\]]*)\]\([^)]*\)", r"\1", text)
