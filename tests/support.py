"""What tests share that is not a fixture: running our commands, describing small runs."""

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--n", "96", "--n-eval", "48", "--workers", "1")


def recap(command: str, *words: object, cwd: Path | None = None, largest_file: int | None = None):
    """Run one of our commands as a user would; returns the finished process with text output.

    `largest_file` bytes stands in for a full disk: a write beyond it fails.
    """
    package = command.replace("-", "_")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    limit = None if largest_file is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (largest_file, -1))
    return subprocess.run(
        [sys.executable, "-m", f"{package}.cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        preexec_fn=limit,
        timeout=300,
    )


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
    from recap_train.clip import Run, declared_roles
    from recap_train.mixing import Mix
    from recap_train.recipes import load_recipe

    facts = {"name": f"tiny-p{p:g}-s{seed}", "precision": "fp32", "skip_bad": False, "roles": declared_roles(world)}
    facts |= {"recipe": load_recipe("scenes-tiny")} | other
    return Run(data=world, mix=Mix(p), samples_seen=samples, seed=seed, out=out, **facts)
