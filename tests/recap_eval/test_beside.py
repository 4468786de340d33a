"""Trainings on both captions joined: a row beside their sweep, in its differences and not among its places."""

import csv

import numpy as np
import pytest
from records import BOARD_OVER_P, RUN, put, scores
from scipy import stats
from support import recap

from recap_eval.differences import best_along_axis
from recap_eval.leaderboard import build_table
from recap_eval.report.latex import latex
from recap_eval.report.plots.over_axis import scores as scores_over_axis
from recap_eval.report.text import markdown, terminal

SEEDS = 4


def at(root, place, seed, values, **other):
    mix = {"p_original": place} if isinstance(place, float) else {"p_original": None, "mix": place}
    put(root, "scenes-zeroshot", f"m-{place}-{seed}", {"acc1": scores(values)}, meta=RUN | mix | {"seed": seed} | other)


@pytest.fixture
def values(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD_OVER_P)
    draw = np.random.default_rng(0)
    levels = {0.0: 0.1, 0.5: 0.3, 1.0: 0.28, "concat": 0.6}
    found = {(place, seed): draw.random(50) * 0.3 + level for place, level in levels.items() for seed in range(SEEDS)}
    for (place, seed), some in found.items():
        at(tmp_path, place, seed, some)
    return found


def means(values, place):
    return np.array([values[place, seed].mean() for seed in range(SEEDS)])


def test_it_is_one_row_of_all_seeds_with_a_difference_of_scipys_corrected_with_the_others(tmp_path, values):
    table = build_table("mine", tmp_path)
    (sweep,) = table.sweeps
    assert not table.groups and [row.label for row in sweep.shown] == ["0", "0.5", "1", "concat"]
    (joined,) = sweep.beside
    found = joined.cells[0].to_baseline
    theirs = {place: stats.ttest_rel(means(values, place), means(values, 1.0)).pvalue for place in (0.0, 0.5, "concat")}
    assert joined.seeds == tuple(range(SEEDS)) and joined.cells[0].estimate.value == pytest.approx(
        means(values, "concat").mean()
    )
    assert found.estimate.value == pytest.approx((means(values, "concat") - means(values, 1.0)).mean())
    assert found.estimate.p_value == pytest.approx(theirs["concat"])
    corrected = [row.cells[0].to_baseline.p_holm for row in sweep.shown if row.label != "1"]
    assert min(corrected) == pytest.approx(3 * min(theirs.values()))  # of Holm's the least is Bonferroni's, over all three


def test_it_is_no_place_at_which_the_best_may_lie(tmp_path, values):
    table = build_table("mine", tmp_path)
    (sweep,) = table.sweeps
    assert means(values, "concat").mean() > max(means(values, p).mean() for p in (0.0, 0.5, 1.0))
    assert not sweep.beside[0].cells[0].best and not sweep.beside[0].cells[0].tied
    assert [row.label for row in sweep.rows if row.cells[0].best] == ["0.5"]
    assert [row.label for row in best_along_axis(sweep, 0, "acc1")[0]] == ["0", "0.5", "1"]


def test_the_plot_has_it_as_a_level_and_not_among_the_points(tmp_path, values):
    (panel,) = scores_over_axis(build_table("mine", tmp_path))["panels"]
    (curve,) = panel["curves"]
    assert panel["ends"] == [0.0, 100.0], "bands of shares are cut there"
    assert [point[0] for point in curve["points"]] == [0.0, 0.5, 1.0]
    assert curve["beside"] == [["concat", pytest.approx(100 * means(values, "concat").mean(), rel=1e-5)]]


@pytest.mark.parametrize("render", [terminal, latex, lambda table: markdown(table, {}, Links())])
def test_every_form_shows_it(tmp_path, values, render):
    text = render(build_table("mine", tmp_path))
    line = next(line for line in text.splitlines() if line.strip(" |").startswith("concat"))
    assert f"{100 * means(values, 'concat').mean():.1f}" in line and f" {SEEDS} " in line


class Links(dict):
    def __missing__(self, path):
        return "records.md"


def test_it_is_said_and_stands_in_the_csv_the_records_and_the_page(tmp_path, values):
    done = recap("recap-eval", "report", "mine", "--leaderboards", tmp_path, "--out", tmp_path / "reports")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "reports" / "mine.md").read_text()
    assert "Better than p = 1: p = 0.5, concat." in text and "Only p = 0, 0.5, 1 were trained" in text
    assert "Measured: p = 0, 0.5, 1 and concat with 4 training seeds each" in text
    page = (tmp_path / "reports" / "mine.html").read_text()
    assert text.index("![") < text.index("\n## ") and page.index("<figure") < page.index("<section"), "plots come first"
    with (tmp_path / "reports" / "mine.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "concat"]
    assert [(row["p_original"], row["seeds"]) for row in rows] == [("", "0 1 2 3")]
    assert "m-concat-3" in (tmp_path / "reports" / "mine-records.md").read_text()
    assert '<th scope="row">concat' in page


@pytest.mark.parametrize(
    ("place", "other"), [("concat", {"samples_seen": 9}), ("concat; caption dropout 0.1", {}), ("recaptions alternate", {})]
)
def test_trained_otherwise_it_stands_apart(tmp_path, values, place, other):
    for seed in range(SEEDS):
        at(tmp_path, place, 10 + seed, values["concat", seed], **other)
    table = build_table("mine", tmp_path)
    assert [row.label for row in table.sweeps[0].beside] == ["concat"]
    assert [row.label for row in table.groups[0].rows] == [f"m-{place}-{10 + seed}" for seed in range(SEEDS)]


def test_with_the_rest_of_its_mix_it_joins_the_sweep_that_has_that(tmp_path, values):
    for place in (0.0, 1.0):
        at(tmp_path, place, 20, values[place, 0], mix="caption dropout 0.1")
    at(tmp_path, "concat; caption dropout 0.1", 20, values["concat", 0])
    found = {sweep.title: [row.seeds for row in sweep.beside] for sweep in build_table("mine", tmp_path).sweeps}
    assert sorted(found.values()) == [[(0, 1, 2, 3)], [(20,)]] and any("dropout" in title for title in found)


def test_one_run_measured_twice_counts_once(tmp_path, values):
    put(
        tmp_path, "scenes-zeroshot", "again", {"acc1": scores(values["concat", 0])},
        meta=RUN | {"p_original": None, "mix": "concat", "seed": 0},
    )  # fmt: skip
    table = build_table("mine", tmp_path)
    assert len(table.sweeps[0].beside[0].cells[0].results) == SEEDS and "is of the same run and seed" in table.left_out[0]
