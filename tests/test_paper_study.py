"""The paper's whole study, end to end, every size shrunk: each step's command as it stands there runs and ends well."""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, recap, recap_apart
from tiny_paper import SmallInception, lay_world, small_catalog, stand_in

from recap_eval.board import load_board
from recap_eval.models import open_clip
from recap_eval.study.graph import build_graph
from recap_eval.study.lock import LOCK
from recap_eval.study.run import made
from recap_eval.study.spec import read_study
from recap_eval.study.state import DONE, log_path, read_stamps, write_stamp

pytest.importorskip("trl")
pytestmark = pytest.mark.slow

PAPER = ROOT / "studies/paper.yaml"
LACKS = {  # columns of the boards that the study fills, which it has nothing for: a judge, people, scenes
    "captioner": ("MM-Vet", "scenes", "untrue"),
    "captions": ("judge", "human", "claims", "told of", "invented"),
    "clip-mix": (), "clip-mix-large-text": (), "clip-text-encoder": (), "clip-long": (),
    "dit-mix": ("recap GPT-4V",), "dit-scale": ("recap GPT-4V",),
}  # fmt: skip
TORN = ("clip-mix-p=1", "clip-mix-eval-p=1")  # nodes that are run again and killed on the way
SEED = 9


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A folder with all that the study reads, in which this process ran every node; the words of `--set`; the graph.

    One process, since each new one would import for seconds. What is published only stands in: the Inception and three CLIPs.
    """
    folder = tmp_path_factory.mktemp("paper")
    sets = lay_world(folder)
    graph = build_graph(read_study(PAPER, sets[1::2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("recap_eval.tasks.catalog.CATALOG", small_catalog(folder))
        patch.setattr("recap_eval.data.mmmu.OFFICIAL", 3)
        patch.setattr("recap_eval.extractors.inception.InceptionNet", SmallInception)
        patch.setattr("recap_eval.extractors.inception.DIM", SmallInception.DIM)
        patch.setattr("recap_eval.models.open_clip.load", stand_in(open_clip.load))
        for node in graph.nodes.values():
            done = recap(*node.words)
            assert done.returncode == 0, f"{node.name}: {done.stderr}"
            assert made(node), node.name
            write_stamp(graph.root, node, 1.0, False)
    return folder, sets, graph


def test_every_step_of_the_paper_runs_and_its_boards_are_filled(paper):
    folder, sets, graph = paper
    assert {node.step for node in graph.nodes.values()} == {step.name for step in read_study(PAPER, []).steps}
    for p in (0, 1):  # the original caption is the alt-text, the recaption is the captioner's
        artifact = json.loads((folder / f"paper/clip-mix-p{p}/artifact.json").read_text())
        assert artifact["made"]["realised_original"] == p
    for name, lacks in LACKS.items():
        with (folder / f"paper/reports/{name}.csv").open(newline="") as stream:
            found = {row["label"].partition(" by ")[0] for row in csv.DictReader(stream) if row["kind"] == "measured"}
        asked = {column.label for column in load_board(name, folder / "paper/leaderboards").columns}
        assert found == {label for label in asked if not label.startswith(lacks)}, name
    told = recap("recap-eval", "study", PAPER, *sets, "--dry-run", cwd=folder).stdout
    assert f"{len(graph.nodes)} nodes under paper: {len(graph.nodes) - 1} done, 1 to run" in told  # the report always is


def figures(folder, model):
    """Return every figure of a model by record, with the digest of its items: what of a record is the same every time."""
    paths = folder.glob(f"paper/leaderboards/results/{model}-*/*.json")
    records = {path: json.loads(path.read_text()) for path in paths}
    return {path: (record["metrics"], record["items"]["sha256"]) for path, record in records.items()}


def test_killed_at_a_drawn_moment_the_study_ends_in_the_same_figures(paper):
    """Two nodes are torn out, run by a study of processes, and all of it is killed; the same command then ends the work."""
    folder, sets, graph = paper
    nodes = {name: graph.nodes[name] for name in TORN}
    whole = figures(folder, "base-p1-s0"), digests(folder, nodes)
    assert whole[0] and len(whole[1]) == 1
    for name, node in nodes.items():
        (folder / graph.root / DONE / f"{name}.json").unlink()
        if node.out is not None:
            shutil.rmtree(folder / node.out)
        assert not (folder / log_path(graph.root, node)).exists()  # `kill` waits for it
    for path in whole[0]:
        path.unlink()
    words = ["study", PAPER, *sets, *(word for name in TORN for word in ("--only", name))]
    draw = random.Random(SEED)
    kill(folder, graph, words, draw.choice(TORN), draw.uniform(0, 6))
    with contextlib.chdir(folder):
        finished = {name: marks(graph, name) for name in read_stamps(graph)}
    again = recap_apart("recap-eval", *words, cwd=folder)
    assert again.returncode == 0, again.stderr
    with contextlib.chdir(folder):
        assert {name: marks(graph, name) for name in finished} == finished, "what was done is not run again"
        assert set(TORN) <= set(read_stamps(graph))
    assert (figures(folder, "base-p1-s0"), digests(folder, nodes)) == whole


def digests(folder, nodes):
    """Return the digests of the files of each artifact that nodes make."""
    places = {name: folder / node.out / "artifact.json" for name, node in nodes.items() if node.out is not None}
    return {name: json.loads(path.read_text())["files"] for name, path in places.items()}


def marks(graph, name):
    """Return when a node was stamped as done, and when its log was last written."""
    stamp, log = graph.root / DONE / f"{name}.json", log_path(graph.root, graph.nodes[name])
    return stamp.stat().st_mtime_ns, log.stat().st_mtime_ns if log.is_file() else None


def kill(folder, graph, words, name, delay):
    """Start the study and kill it, with all that it started, some seconds after a node began."""
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    child = subprocess.Popen([sys.executable, "-m", "recap_eval.cli", *map(str, words)], cwd=folder, **quiet)
    log, until = folder / log_path(graph.root, graph.nodes[name]), time.time() + 120
    while not log.is_file() and child.poll() is None and time.time() < until:
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(delay)
    child.kill()
    child.wait()
    for number in (folder / graph.root / LOCK).read_text().split()[1:]:  # each command leads a group of its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(number), signal.SIGKILL)
