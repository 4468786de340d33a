"""Boards that ask for facts of the data: who stands on them, where the best p lies in each world, and how it moves."""

import itertools

import numpy as np
import pytest
from records import RUN, put, scores
from scipy.stats import spearmanr

from recap_eval.leaderboard import build_table
from recap_eval.report.moves import Trend, sentences, trend, worlds
from recap_eval.report.opening import opening
from recap_eval.report.plots.places import best_places
from recap_eval.report.render import check_board, render_board
from recap_eval.report.text import terminal

BOARD = """title = "t"
axis = "p_original"
axis_label = "p"
facts = ["noise", "error"]
[[columns]]
task = "scenes-zeroshot"
version = 1
metric = "acc1"
label = "a"
"""
PLACES = (0.0, 0.5, 1.0)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD)
    (tmp_path / "plain.toml").write_text(BOARD.replace('facts = ["noise", "error"]\n', ""))
    return tmp_path


def fill(root, best, seeds=(0, 1, 2), jitter=0.0):
    """Put runs of which p = best[world] scores highest in each world (noise, error); some seeds prefer the next place."""
    draw = np.random.default_rng(5)
    for world, top in best.items():
        for seed, p in itertools.product(seeds, PLACES):
            wish = top if draw.random() >= jitter else PLACES[(PLACES.index(top) + 1) % 3]
            meta = RUN | {
                "p_original": p,
                "seed": seed,
                "train_data": f"{world}",
                "facts": dict(zip(("noise", "error"), world, strict=True)),
            }
            right = 60 - int(30 * abs(p - wish)) + int(draw.integers(0, 3))
            values = scores([1.0] * right + [0.0] * (100 - right))
            put(root, "scenes-zeroshot", f"m-{world}-{p}-{seed}", {"acc1": values}, meta=meta)


GRID = {(0.1, 0.0): 0.5, (0.1, 0.4): 1.0, (0.8, 0.0): 0.0, (0.8, 0.4): 0.5}


def test_models_stand_where_their_facts_are_asked_for_and_nowhere_else(root):
    fill(root, GRID)
    put(root, "scenes-zeroshot", "other", {"acc1": scores([1.0, 0.0])}, meta=RUN | {"p_original": 0.0, "seed": 0})
    assert [row.label for sweep in build_table("plain", root).sweeps for row in sweep.rows] == ["0"]
    table = build_table("mine", root)
    assert len(table.sweeps) == 4 and all(len(sweep.rows) == 3 for sweep in table.sweeps)
    assert [sweep.title.split(", 1,000")[0] for sweep in table.sweeps] == [
        "b16, error 0, noise 0.1", "b16, error 0, noise 0.8", "b16, error 0.4, noise 0.1", "b16, error 0.4, noise 0.8",
    ]  # fmt: skip
    assert opening(table)[0].count("with 3 training seeds each, 4 times") == 1


def test_a_filter_leaves_what_differs_out(root):
    (root / "mine.toml").write_text(BOARD + '[where]\nrecipe = "l16"\n')
    fill(root, GRID)
    assert not build_table("mine", root).measured


def test_each_world_has_its_best_place(root):
    fill(root, GRID)
    table = build_table("mine", root)
    found = worlds(table)
    assert [(world.at, world.best[0].p) for world in found] == sorted(GRID.items())
    first = found[0].best[0]
    assert first.likely == (0.5,) and first.text().startswith("0.5; +1") and first.text().endswith("]*")
    (panel,) = best_places(table)["panels"]
    assert [cell[:3] for cell in panel["cells"]] == [[*world, p] for world, p in sorted(GRID.items())]


def test_the_trend_is_scipys_over_all_resamples_of_seeds(root):
    fill(root, GRID, jitter=0.4)
    table = build_table("mine", root)
    found = worlds(table)
    by_seed = [
        np.array([[cell.record["metrics"]["acc1"]["value"] for cell in row.cells[0].results] for row in world.sweep.rows])
        for world in found
    ]
    for fact in (0, 1):
        rhos = []
        for chosen in itertools.product(range(3), repeat=3):
            best = [PLACES[values[:, list(chosen)].mean(axis=1).argmax()] for values in by_seed]
            if len(set(best)) > 1:
                rhos.append(spearmanr([world.at[fact] for world in found], best).statistic)
        whole = [PLACES[values.mean(axis=1).argmax()] for values in by_seed]
        one = trend(table, found, 0, fact)
        assert one.rho == pytest.approx(spearmanr([world.at[fact] for world in found], whole).statistic)
        ends = np.quantile(rhos, (0.025, 0.975), method="inverted_cdf")
        assert (one.low, one.high) == pytest.approx(tuple(ends))
    assert len(set(rhos)) > 2


def test_nothing_is_said_of_what_does_not_move_or_was_trained_once(root, tmp_path):
    fill(root, dict.fromkeys(GRID, 0.5))
    table = build_table("mine", root)
    assert trend(table, worlds(table), 0, 0) == Trend(None, None, None)
    assert "the best p goes nowhere with noise" in sentences(table, worlds(table))[0]
    other = tmp_path / "once"
    other.mkdir()
    (other / "mine.toml").write_text(BOARD)
    fill(other, GRID, seeds=(0,))
    table = build_table("mine", other)
    one = trend(table, worlds(table), 0, 0)
    assert one.rho is not None and one.low is None and worlds(table)[0].best[0].likely == (0.5,)


def test_one_world_or_facts_in_words_are_no_map(root):
    fill(root, {(0.1, 0.0): 0.5})
    assert worlds(build_table("mine", root)) == [] and best_places(build_table("mine", root)) is None
    fill(root, {("much", 0.0): 0.5, ("little", 0.0): 1.0})
    assert worlds(build_table("mine", root)) == []


def test_reports_tell_it_in_every_form(root):
    fill(root, GRID)
    files = {path.name for path in render_board("mine", root, root / "r").files}
    assert "mine-map.svg" in files and check_board("mine", root, root / "r") is None
    title = "Where the best p lies, by noise and error"
    text, page = (root / "r" / "mine.md").read_text(), (root / "r" / "mine.html").read_text()
    assert f"## {title}" in text and "| 0.1 | 0 | [0.5; +1" in text and "a: the best p goes -0.71" in text
    assert f"<h2>{title}</h2>" in page and "mine-records.html#" in page
    assert title in terminal(build_table("mine", root))
