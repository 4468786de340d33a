"""The paper's whole study, end to end, every size shrunk: each step's command as it stands there runs and ends well."""

import time

import pytest
from support import ROOT, recap
from tiny_paper import SmallInception, lay_world, small_catalog, stand_in

from recap_eval.study.graph import build_graph
from recap_eval.study.run import made
from recap_eval.study.spec import read_study
from recap_eval.study.state import write_stamp

PAPER = ROOT / "studies/paper.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the study reads, in which every node was run, in this process."""
    pytest.importorskip("trl")
    folder = tmp_path_factory.mktemp("paper")
    sets = lay_world(folder)
    graph = build_graph(read_study(PAPER, sets[1::2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("recap_eval.tasks.catalog.CATALOG", small_catalog(folder))
        patch.setattr("recap_eval.data.mmmu.OFFICIAL", 3)
        patch.setattr("recap_eval.extractors.inception.InceptionNet", SmallInception)
        patch.setattr("recap_eval.models.open_clip.load", stand_in(load_open_clip()))
        for node in graph.nodes.values():
            start = time.time()
            done = recap(*node.words)
            print(f"{node.name}: {time.time() - start:.1f} s")
            assert done.returncode == 0, (node.name, done.stderr)
            assert made(node), node.name
            write_stamp(graph.root, node, 1.0, False)
    return folder, sets, graph


def load_open_clip():
    from recap_eval.models import open_clip

    return open_clip.load


def test_every_step_of_the_paper_runs(place):
    folder, sets, graph = place
    assert len(graph.nodes) == 24
