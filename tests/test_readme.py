"""The README's five commands for data of one's own, as a shell reads them, on a few samples in the real layouts."""

import csv
import os
import re
import subprocess

import pytest
from support import ROOT, recap
from tiny_clips import make_clip
from tiny_paper import lay_photographs, lay_shards, small_catalog

pytestmark = pytest.mark.slow

SMALL = {
    " shards": " datacomp/shards", "ORG/CAPTIONER": "scenes-tiny", "ViT-B-16": "scenes-tiny", "12800000": "128",
    "/data": "benchmarks",
}  # fmt: skip
# No hub is here, and 80 templates of 1,000 classes take a minute.
OWN = {"captions": ["--clip-model", "clip"], "clip": ["--templates", "class-name"]}
STUB = '#!/bin/sh\n{ printf "%s\\n" "${0##*/}" "$@"; echo; } >> typed\n'  # an argument a line, then an empty line


def test_the_five_commands_end_in_a_filled_board(tmp_path, monkeypatch):
    lay_shards(tmp_path)
    lay_photographs(tmp_path)
    make_clip(tmp_path / "clip")
    monkeypatch.setattr("recap_eval.tasks.catalog.CATALOG", small_catalog(tmp_path))
    commands = typed(tmp_path)
    assert [words[:2] for words in commands] == [
        ["recap-caption", "run"], ["recap-eval", "captions"], *[["recap-train", "clip"]] * 3, ["recap-eval", "clip"],
        ["recap-eval", "report"],
    ]  # fmt: skip
    for words in commands:
        own = OWN.get(words[1], []) if words[0] == "recap-eval" else []
        done = recap(*words, *own, cwd=tmp_path)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    with (tmp_path / "reports/clip-mix.csv").open(newline="") as stream:
        measured = [row for row in csv.DictReader(stream) if row["kind"] == "measured"]
    assert {row["p_original"] for row in measured} == {"0.0", "0.5", "1.0"} and len(measured) == 15
    captions = {path.name.split("-")[1] for path in (tmp_path / "leaderboards/results").glob("*/captions-*.json")}
    assert captions >= {"length", "flags", "clip"}


def typed(place):
    """Return the words of each command of the README's section, as bash splits them and goes through its loop; sizes shrunk."""
    section = (ROOT / "README.md").read_text().partition("## On your own data, in five commands")[2]
    script = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    for large, small in SMALL.items():
        assert large in script
        script = script.replace(large, small)
    (place / "bin").mkdir()
    for name in ("recap-caption", "recap-eval", "recap-train"):
        (place / "bin" / name).write_text(STUB)
        (place / "bin" / name).chmod(0o755)
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-eu", "-c", script], cwd=place, check=True, env=os.environ | {"PATH": path})
    return [block.split("\n") for block in (place / "typed").read_text().strip().split("\n\n")]
