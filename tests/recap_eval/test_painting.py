"""Plots drawn by other processes: the same files, nothing lost, nothing left running."""

import multiprocessing

import pytest
from records import RUN, put, scores

from recap_eval.report.painting import Painter
from recap_eval.report.plots.drawings import DRAWINGS
from recap_eval.report.render import board_names, check_board, render_board


@pytest.fixture
def root(tmp_path):
    """Results for one shipped board."""
    for p, values in ((0.0, [1, 0, 0, 1]), (1.0, [1, 1, 0, 1])):
        meta = RUN | {"p_original": p, "seed": 0}
        put(tmp_path / "lb", "scenes-retrieval", f"m{p:g}", {"i2t_r1": scores(values)}, meta=meta)
    return tmp_path / "lb"


def render(root, out, many):
    with Painter(many) as painter:
        for name in ("clip", "clip-mix"):
            render_board(name, root, out, painter=painter)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_other_processes_draw_the_same(root, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    alone, together = render(root, tmp_path / "a", False), render(root, tmp_path / "b", True)
    assert alone == together and {"clip.svg", "clip.png", "clip-mix-gain.svg"} <= alone.keys()
    assert not multiprocessing.active_children()
    assert check_board("clip", root, tmp_path / "b") is None and set(board_names(root)) >= {"clip", "clip-mix"}


def test_on_one_core_no_process_is_started(root, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr("recap_eval.report.painting.ProcessPoolExecutor", None)
    assert "clip.png" in render(root, tmp_path / "a", True)


def test_an_error_leaves_no_process_and_no_half_of_a_plot(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    panel = {"label": "a", "chance": None, "curves": []}
    found = {"axis": "p", "base": "p = 1", "place": 1.0, "kinds": ["measured"], "panels": [panel]}
    with pytest.raises(KeyboardInterrupt), Painter(True) as painter:
        painter.paint(DRAWINGS[0], found, tmp_path / "one")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir()) and not multiprocessing.active_children()
    with pytest.raises(KeyError, match="panels"), Painter(True) as painter:  # what fails there is told here
        painter.paint(DRAWINGS[0], {"place": 1.0}, tmp_path / "one")
    assert not multiprocessing.active_children()
