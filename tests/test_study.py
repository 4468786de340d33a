"""The script behind `make demo` and `make board`, on a world of a few images."""

import os
import subprocess
import sys

import pytest
from support import ROOT, assert_two_line_error, recap


@pytest.fixture
def commands(tmp_path):
    """Our commands on the PATH, whether the package is installed or not."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("recap-eval", "recap-train"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name.replace("-", "_")}.cli "$@"\n')
        script.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.serial
def test_the_loop_from_scenes_to_report_and_again(commands, tmp_path):
    words = ["sh", ROOT / "studies" / "clip_mix.sh", "--root", "demo", "--samples", "256", "--mixes", "0 1"]
    words += ["--scenes", "--n 96 --n-eval 48"]
    first = subprocess.run(words, cwd=tmp_path, env=commands, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "The report: demo/reports/clip.md" in first.stdout and "paired difference to p = 1" in first.stdout
    assert (tmp_path / "demo" / "reports" / "clip.svg").is_file()
    page = (tmp_path / "demo" / "reports" / "clip.md").read_bytes()
    again = subprocess.run(words, cwd=tmp_path, env=commands, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("is trained already") == 2
    assert again.stderr.count("measured before, not measured again") == 10 and "were there already" in again.stdout
    assert (tmp_path / "demo" / "reports" / "clip.md").read_bytes() == page


def test_recap_caption_is_honest():
    assert_two_line_error(recap("recap-caption"), 2, "no command yet")
