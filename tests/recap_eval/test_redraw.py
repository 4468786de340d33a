"""A plot is drawn again when anything of it has changed, and only then; results are read once for all boards."""

from pathlib import Path

import pytest
from records import RUN, put, scores

from recap_eval.leaderboard import Tables
from recap_eval.report import render
from recap_eval.report.plots import drawing
from recap_eval.report.plots.drawing import Drawing
from recap_eval.results import Result, read_results

BOARD = """title = "one"
axis = "p_original"
axis_label = "{label}"
[[columns]]
task = "scenes-retrieval"
version = 1
metric = "i2t_r1"
label = "found"
"""


@pytest.fixture
def root(tmp_path) -> Path:
    """A leaderboards folder with one board of one column, two p of one seed each."""
    for p, values in ((0.0, [1, 0, 0, 1]), (1.0, [1, 1, 0, 1])):
        put_one(tmp_path / "lb", p, values)
    (tmp_path / "lb" / "one.toml").write_text(BOARD.format(label="p"))
    return tmp_path / "lb"


def put_one(root: Path, p: float, values: list[float]) -> Result:
    return put(root, "scenes-retrieval", f"m{p:g}", {"i2t_r1": scores(values)}, meta=RUN | {"p_original": p, "seed": 0})


@pytest.fixture
def drawn(root, tmp_path, monkeypatch):
    """Return whether rendering the board draws its plot."""
    calls = []
    draw = Drawing.draw
    monkeypatch.setattr(Drawing, "draw", lambda self, found: calls.append(self.name) or draw(self, found))

    def again() -> bool:
        calls.clear()
        files = render.render_board("one", root, tmp_path / "rep").files
        assert {path.name for path in files} >= {f"one.{form}" for form in ("md", "csv", "html", "svg", "png")}
        assert all(path.is_file() for path in files) and render.check_board("one", root, tmp_path / "rep") is None
        return "" in calls

    return again


def test_what_is_there_is_not_drawn_again(drawn):
    assert drawn() and not drawn()


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_file_that_is_gone_or_broken_is_drawn_again(drawn, tmp_path, form):
    drawn()
    place = tmp_path / "rep" / f"one.{form}"
    whole = place.read_bytes()
    for rest in (None, b"", whole[:-1], whole[: len(whole) // 2]):
        place.unlink() if rest is None else place.write_bytes(rest)
        assert drawn() and place.read_bytes() == whole


def test_other_figures_are_drawn(drawn, root):
    drawn()
    put_one(root, 0.0, [1, 0, 0, 0])
    assert drawn() and not drawn()


def test_another_label_of_the_axis_is_drawn(drawn, root):
    drawn()
    (root / "one.toml").write_text(BOARD.format(label="share of original captions"))
    assert drawn() and not drawn()


def test_another_hand_draws_again(drawn, monkeypatch):
    drawn()
    monkeypatch.setattr(drawing, "hand", lambda: "another version of matplotlib")
    assert drawn() and not drawn()


def test_results_are_read_once_for_all_boards_and_items_once_a_column(root, monkeypatch):
    read, opened = [], []
    rows = Result.rows
    monkeypatch.setattr("recap_eval.leaderboard.read_results", lambda where: read.append(where) or read_results(where))
    monkeypatch.setattr(Result, "rows", lambda self, *words: opened.append((self.path, words[0])) or rows(self, *words))
    tables = Tables(root)
    assert tables.of("one") is tables.of("one") and tables.of("clip").board.name == "clip"
    columns = sum(len(tables.of(name).board.columns) for name in ("one",)) + 1  # and that of the board "clip"
    assert len(read) == 1 and len(opened) == 2 * columns


def test_items_in_another_order_are_no_pairs(tmp_path):
    """Read as dictionaries, two columns may hold the same numbers of other texts."""
    for p, items in ((0.0, ["a", "b", "c"]), (0.5, ["b", "a", "c"]), (1.0, ["a", "b", "c"])):
        found = {"i2t_r1": scores([1, 0, 1], items=items)}
        put(tmp_path, "scenes-retrieval", f"m{p:g}", found, meta=RUN | {"p_original": p, "seed": 0})
    (sweep,) = Tables(tmp_path).of("clip").sweeps
    (number,) = sweep.rows[0].cells
    assert sweep.rows[0].cells[number].to_baseline is not None and sweep.rows[1].cells[number].to_baseline is None
