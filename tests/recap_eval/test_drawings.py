"""Plots beside a board: what is drawn is the table's figures, turned, averaged and binned as they say."""

import re
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from records import RUN, put, put_captions, scores

from recap_eval.board import load_board
from recap_eval.errors import DataError
from recap_eval.leaderboard import build_table
from recap_eval.report.plots.drawing import rounded
from recap_eval.report.plots.drawings import DRAWINGS
from recap_eval.report.plots.mix import gains, trade_off
from recap_eval.report.plots.panels import CROWD, apart
from recap_eval.report.plots.progress import over_samples
from recap_eval.report.plots.style import STYLE, new_figure
from recap_eval.report.plots.truth import BINS, FEWEST, over_truth
from recap_eval.report.render import check_board, render_board
from recap_eval.stats import mean_over_seeds

NOWHERE = Path("/nowhere")
MIXES = """title = "t"
axis = "p_original"
axis_label = "p"
trade_off = ["a", "both"]
[[columns]]
task = "scenes-zeroshot"
version = 1
metric = "acc1"
label = "a"
[[columns]]
task = "scenes-retrieval"
version = 1
metric = "i2t_r1"
label = "b"
[[columns]]
task = "scenes-retrieval"
version = 1
metric = "t2i_r1"
label = "c"
[[means]]
label = "both"
over = ["b", "c"]
"""


def fill(root, ps=(0.0, 0.5, 1.0), seeds=(0, 1, 2), more=None, **other):
    root.mkdir(parents=True, exist_ok=True)
    (root / "mine.toml").write_text(MIXES)
    draw = np.random.default_rng(7)
    for p in ps:
        for seed in seeds:
            meta = RUN | {"p_original": p, "seed": seed} | (more or {})
            name = f"m-{p}-{seed}-{meta['samples_seen']}"
            share = 0.2 + 0.5 * p + 0.02 * seed
            kinds = {"scenes-zeroshot": ("acc1",), "scenes-retrieval": ("i2t_r1", "t2i_r1")}
            for task, metrics in kinds.items():
                values = {metric: scores((draw.random(200) < share).astype(float)) for metric in metrics}
                put(root, task, name, values, meta=meta, **other)
    return build_table("mine", root)


def by_title(found, label):
    return next(panel for panel in found["panels"] if panel["label"].startswith(label))["curves"]


def test_gains_are_the_tables_differences_with_their_marks(tmp_path):
    table = fill(tmp_path)
    (curve,) = by_title(gains(table), "a")
    told = {row.axis: row.cells[0].to_baseline for row in table.sweeps[0].rows if row.cells[0].to_baseline}
    assert [point[0] for point in curve["points"]] == [0.0, 0.5] == list(told)
    for place, value, low, high, separable in curve["points"]:
        one = told[place]
        assert (value, low, high) == pytest.approx(
            (100 * one.estimate.value, 100 * one.estimate.low, 100 * one.estimate.high), rel=1e-5
        )
        assert separable == one.separable
    assert any(point[-1] for point in curve["points"]) and by_title(gains(table), "a")[0]["title"] == RUN["recipe"]
    assert [panel["label"] for panel in gains(table)["panels"]] == [
        "a, points (n=200)", "b, points (n=200)", "c, points (n=200)", "both, points",
    ]  # fmt: skip


def test_where_less_is_better_a_fall_is_a_gain(tmp_path):
    table = fill(tmp_path, higher_is_better=False)
    (curve,) = by_title(gains(table), "a")
    change = table.sweeps[0].rows[0].cells[0].to_baseline.estimate
    _, value, low, high, _ = curve["points"][0]
    assert value == pytest.approx(-100 * change.value, rel=1e-5) and value > 0
    assert (low, high) == pytest.approx((-100 * change.high, -100 * change.low), rel=1e-5) and low < value < high


def test_the_papers_mean_gains_most_at_its_peak():
    table = build_table("clip-mix", NOWHERE)
    (curve,) = by_title(gains(table), "mean retrieval recall")
    best = max(curve["points"], key=lambda point: point[1])
    assert best[0] == 0.4 and round(best[1], 1) == 4.5 and best[2:] == [None, None, False]
    assert [point[0] for point in curve["points"]] == [n / 10 for n in range(10)]  # neither p = 1 nor the concatenation


def test_without_a_baseline_nothing_is_gained(tmp_path):
    assert gains(fill(tmp_path / "a", ps=(0.0, 0.5))) is None
    assert gains(fill(tmp_path / "b", ps=(1.0,))) is None
    assert gains(build_table("clip-mix-large-text", NOWHERE)) is None  # its p = 1 was not printed


def test_the_trade_off_is_of_means_by_seed(tmp_path):
    table = fill(tmp_path)
    found = trade_off(table)
    (curve,) = found["curves"]
    assert (found["x"], found["y"], found["over"]) == ("a, % (n=200)", "both, % (n=200)", ["b", "c"])
    for (place, x, y), row in zip(curve["points"], table.sweeps[0].rows, strict=True):
        assert place == row.axis and x[0] == pytest.approx(100 * row.cells[0].estimate.value, rel=1e-5)
        metrics = [[one.record["metrics"][name]["value"] for one in row.cells[number].results] for number, name in
                   ((1, "i2t_r1"), (2, "t2i_r1"))]  # fmt: skip
        mean = mean_over_seeds([50 * (one + two) for one, two in zip(*metrics, strict=True)])
        assert y == pytest.approx([mean.value, mean.low, mean.high], rel=1e-5)


def test_one_seed_has_no_interval_over_seeds(tmp_path):
    (curve,) = trade_off(fill(tmp_path, seeds=(3,)))["curves"]
    assert all(y[1:] == [None, None] for _, _, y in curve["points"]) and len(curve["points"]) == 3


def test_a_missing_column_leaves_its_point_out(tmp_path):
    fill(tmp_path)
    for path in tmp_path.glob("results/m-0.5-*/scenes-retrieval-*"):
        path.unlink()
    (curve,) = trade_off(build_table("mine", tmp_path))["curves"]
    assert [place for place, _, _ in curve["points"]] == [0.0, 1.0]


@pytest.mark.parametrize("words", ['["a"]', '["both", "a"]', '["a", "nothing"]', '["a", "both", "b"]'])
def test_a_trade_off_of_what_is_not_there_is_refused(tmp_path, words):
    (tmp_path / "mine.toml").write_text(MIXES.replace('["a", "both"]', words))
    with pytest.raises(DataError, match="trade_off"):
        load_board("mine", tmp_path)


def test_scores_over_samples_are_of_runs_that_differ_in_nothing_else(tmp_path):
    for seen in (1000, 2000, 4000):
        fill(tmp_path, ps=(0.0, 1.0), more={"samples_seen": seen})
    table = fill(tmp_path, ps=(0.0,), more={"samples_seen": 9000, "recipe": "another"})
    curves = by_title(over_samples(table), "a")
    assert [(curve["p"], [point[0] for point in curve["points"]]) for curve in curves] == [
        (0.0, [1000, 2000, 4000]), (1.0, [1000, 2000, 4000]),
    ]  # fmt: skip
    (late,) = [sweep for sweep in table.sweeps if "4,000" in sweep.title]
    one = late.rows[1].cells[0].estimate
    assert curves[1]["points"][-1][1:] == pytest.approx([100 * one.value, 100 * one.low, 100 * one.high], rel=1e-5)
    assert over_samples(fill(tmp_path / "one")) is None


def truths(root, n=60):
    draw = np.random.default_rng(3)
    truth = draw.choice([0.0, 0.25, 0.6, 0.8, 0.95, 1.0], n)
    cosine = 0.1 + 0.3 * truth + 0.05 * draw.random(n)
    put_captions(root, "s", "re", "captions-truth", {"truth": scores(truth)})
    put_captions(root, "s", "re", "captions-clip@mine", {"clip_cosine": scores(cosine)})
    return truth, cosine


def test_scores_over_truth_are_means_of_bins(tmp_path):
    truth, cosine = truths(tmp_path)
    (panel,) = over_truth(build_table("captions", tmp_path))["panels"]
    (curve,) = panel["curves"]
    inside = [(truth >= low) & (truth < high) for low, high in pairwise(BINS)]
    expected = [[100 * truth[some].mean(), 100 * cosine[some].mean(), some.sum()] for some in inside if some.sum() >= FEWEST]
    found = [[place, value, count] for place, value, _, _, count in curve["points"]]
    assert np.allclose(found, expected, rtol=1e-4) and all(low < value < high for _, value, low, high, _ in curve["points"])
    assert panel["label"] == "CLIP cosine by mine, × 100" and curve["title"] == "s:re (n=60)"


def test_without_truth_or_with_few_captions_there_is_no_plot(tmp_path):
    put_captions(tmp_path / "a", "s", "re", "captions-clip", {"clip_cosine": scores([0.1] * 20)})
    assert over_truth(build_table("captions", tmp_path / "a")) is None
    truths(tmp_path / "b", n=FEWEST - 1)
    assert over_truth(build_table("captions", tmp_path / "b")) is None


def test_all_plots_are_drawn_twice_alike_and_staleness_is_found(tmp_path):
    for seen in (1000, 2000):
        fill(tmp_path, more={"samples_seen": seen, "recipe": "$\\frac{1$ <b>"})
    truths(tmp_path)
    for board, names in {"mine": ("gain", "trade-off", "samples"), "captions": ("truth",)}.items():
        files = [path for path in render_board(board, tmp_path, tmp_path / "r").files if path.suffix in (".svg", ".png")]
        assert {f"{board}-{name}.svg" for name in names} <= {path.name for path in files}
        before = {path: path.read_bytes() for path in files}
        for path in files:
            path.unlink()
        render_board(board, tmp_path, tmp_path / "r")
        assert {path: path.read_bytes() for path in files} == before
        assert check_board(board, tmp_path, tmp_path / "r") is None
        for name in names:
            path = tmp_path / "r" / f"{board}-{name}.svg"
            text = path.read_text()
            path.write_text(re.sub("sha256:.", "sha256:x", text))
            assert f"{board}-{name}.svg is missing or stale" in check_board(board, tmp_path, tmp_path / "r")
            path.write_text(text)


def test_every_plot_has_words_for_those_who_cannot_see_it(tmp_path):
    fill(tmp_path)
    render_board("mine", tmp_path, tmp_path / "r")
    page, text = ((tmp_path / "r" / f"mine.{kind}").read_text() for kind in ("html", "md"))
    for name in ("gain", "trade-off"):
        title = next(one.title for one in DRAWINGS if one.name == name)
        assert f"![{title}](mine-{name}.svg)" in text and re.search(rf'src="mine-{name}.svg" alt="[^"]{{40,}}"', page)


def test_digits_beyond_the_sixth_are_not_kept():
    assert rounded({"a": [1.23456789, (2, None, True)], "b": "x"}) == {"a": [1.23457, [2, None, True]], "b": "x"}


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (["tiny, 1,000 samples seen, bf16, training data 0f"], ["tiny"]),
        (["tiny, 1,000 samples seen, bf16", "wide, 1,000 samples seen, bf16"], ["tiny", "wide"]),
        (["tiny, noise 0.1, training data 0f", "tiny, noise 0.4, training data 1f"], ["noise 0.1", "noise 0.4"]),
        (["tiny, noise 0.1, error 0", "tiny, noise 0.1, error 1", "tiny, noise 0.4, error 0"],
         ["noise 0.1, error 0", "noise 0.1, error 1", "noise 0.4, error 0"]),
        (["tiny, 9 samples seen, fp32", "tiny, 9 samples seen"], ["tiny, 9 samples seen, fp32", "tiny, 9 samples seen"]),
        (["same", "same"], ["same", "same"]),
        ([], []),
    ],
)  # fmt: skip
def test_curves_are_told_apart_in_few_words(titles, names):
    assert apart(titles) == names


def painted(drawing, found):
    """Return the figure of a plot, laid out as in its files."""
    with mpl.rc_context(STYLE):
        figure = new_figure(drawing.size(found))
        drawing.paint(figure, found)
        ConstrainedLayoutEngine().execute(figure)
    return figure


@pytest.mark.parametrize("count", [CROWD, CROWD + 5])
def test_many_curves_hide_no_intervals_behind_each_other_and_their_names_fit(tmp_path, count):
    for number in range(count):
        table = fill(
            tmp_path,
            seeds=(0, 1),
            more={"recipe": f"a-recipe-with-a-name-too-long-for-two-in-a-line-{number}", "samples_seen": number},
        )
    known = {drawing.name: (drawing, drawing.find(table)) for drawing in DRAWINGS}
    many = count > CROWD
    for name in ("", "gain", "trade-off"):
        figure = painted(*known[name])
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and len(legend.get_texts()) == count, name
        if name != "trade-off":
            assert any(axis.collections for axis in figure.axes) != many
            assert ("intervals are in the table" in figure.get_supxlabel()) == many
    looks = {(line.get_color(), line.get_marker()) for line in painted(*known[""]).axes[0].lines if line.get_label()[0] != "_"}
    assert len(looks) == count


def test_worlds_are_told_apart_by_colour_and_marker_of_what_was_said_of_them(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.toml").write_text(MIXES.replace('axis_label = "p"', 'axis_label = "p"\nfacts = ["noise", "error"]'))
    for noise in (0.1, 0.8):
        for error in (0, 1):
            for p in (0.0, 1.0):
                said = {"facts": {"noise": noise, "error": error}, "train_data": f"{noise}{error}"}
                meta = RUN | {"p_original": p, "seed": 0} | said
                put(tmp_path / "x", "scenes-zeroshot", f"m-{noise}-{error}-{p}", {"acc1": scores([1.0, 0.0])}, meta=meta)
    found = [(curve["title"], curve["look"]) for curve in gains(build_table("mine", tmp_path / "x"))["panels"][0]["curves"]]
    assert dict(found) == {
        "error 0, noise 0.1": [0, 0], "error 1, noise 0.1": [0, 1],
        "error 0, noise 0.8": [1, 0], "error 1, noise 0.8": [1, 1],
    }  # fmt: skip


def test_names_of_places_hide_neither_points_nor_each_other(tmp_path):
    drawing = next(one for one in DRAWINGS if one.name == "trade-off")
    points = [[place / 100, [50 + place % 3, 40, 130], [60 - place / 90, 20, 90]] for place in range(0, 101, 5)]
    curve = {"kind": "measured", "title": "t", "points": points}
    found = {"x": "x", "y": "y", "over": ["b"], "ends": [0.0, 100.0], "curves": [curve]}
    figure = painted(drawing, found)
    axis, renderer = figure.axes[0], figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axis.texts]
    assert 3 < len(boxes) < len(points)  # those without room are told by the mouse
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(bar.get_paths()[0].vertices.max() <= 100 for bar in axis.collections)


@pytest.mark.parametrize(
    ("count", "told"), [(6, "share of all words, %"), (9, "share of all words, %   (the first 8 of 9 sets)")]
)
def test_caption_sets_beyond_the_colours_are_told_apart(count, told):
    known = {drawing.name: drawing for drawing in DRAWINGS}
    found = {f"set {n}": {"top": [["a", 2], ["b", 1]], "total": 4, "histogram": [0, n + 1, 2]} for n in range(count)}
    figure = painted(known["words"], found)
    assert sum(axis.get_visible() for axis in figure.axes) == min(8, count) and figure.get_supxlabel() == told
    (axis,) = painted(known["lengths"], found).axes
    assert len({(patch.get_edgecolor(), str(patch.get_linestyle())) for patch in axis.patches}) == count
