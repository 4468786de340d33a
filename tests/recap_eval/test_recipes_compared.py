"""What a recipe gains over another on a board: differences of scipy's, place by place, in every form of the report."""

import numpy as np
import pytest
from records import BOARD_OVER_P, RUN, put, scores
from scipy import stats
from support import recap

from recap_eval.leaderboard import build_table
from recap_eval.report.text import terminal

PLACES, SEEDS = (0.0, 0.5, 1.0), 3


def at(root, recipe, place, seed, values, **other):
    mix = {"p_original": place} if isinstance(place, float) else {"p_original": None, "mix": place}
    made = RUN | mix | {"seed": seed, "recipe": recipe, "recipe_digest": recipe, "parameters": len(recipe)} | other
    name = "-".join(map(str, [recipe, place, seed, *other.values()]))
    put(root, "scenes-zeroshot", name, {"acc1": scores(values)}, meta=made)


@pytest.fixture
def values(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD_OVER_P)
    draw = np.random.default_rng(0)
    found = {
        (recipe, place, seed): draw.random(50) * 0.2 + 0.3 + 0.05 * (recipe == "wide") * (1 - place)
        for recipe in ("wide", "a") for place in PLACES for seed in range(SEEDS)
    }  # fmt: skip
    for (recipe, place, seed), some in found.items():
        at(tmp_path, recipe, place, seed, some)
    return found


def changes(values, place):
    return np.array([values["wide", place, seed].mean() - values["a", place, seed].mean() for seed in range(SEEDS)])


def test_each_place_is_scipys_paired_test_and_the_wider_stands_first(tmp_path, values):
    (gains,) = build_table("mine", tmp_path).gains
    assert (gains.ours, gains.base) == ("wide", "a") and [row.axis for row in gains.rows] == list(PLACES)
    theirs = [stats.ttest_1samp(changes(values, place), 0) for place in PLACES]
    for row, test, place in zip(gains.rows, theirs, PLACES, strict=True):
        found = row.cells[0].to_baseline
        assert found.estimate.value == pytest.approx(changes(values, place).mean())
        assert found.estimate.p_value == pytest.approx(test.pvalue) and found.basis == "seeds"
    least = min(row.cells[0].to_baseline.p_holm for row in gains.rows)
    assert least == pytest.approx(3 * min(test.pvalue for test in theirs))
    mean = stats.ttest_1samp(np.mean([changes(values, place) for place in PLACES], axis=0), 0)
    assert gains.means[0].estimate.p_value == pytest.approx(mean.pvalue)


def test_the_sweeps_of_the_table_keep_their_own_baseline(tmp_path, values):
    table = build_table("mine", tmp_path)
    assert table.gains
    for sweep in table.sweeps:
        base = {seed: found.record["metrics"]["acc1"]["value"] for seed, found in enumerate(sweep.rows[-1].cells[0].results)}
        for row in sweep.rows[:-1]:
            own = [found.record["metrics"]["acc1"]["value"] - base[seed] for seed, found in enumerate(row.cells[0].results)]
            assert row.cells[0].to_baseline.estimate.value == pytest.approx(np.mean(own))
        assert sum(row.cells[0].best for row in sweep.rows) == 1


def test_trainings_that_differ_in_more_than_their_recipe_are_not_compared(tmp_path, values):
    for place in PLACES:
        at(tmp_path, "b", place, 0, values["a", place, 0], samples_seen=7)
        at(tmp_path, "wide", place, 0, values["a", place, 0], samples_seen=9)
    assert len(build_table("mine", tmp_path).gains) == 1


def test_joined_captions_are_compared_too_where_both_recipes_have_them(tmp_path, values):
    at(tmp_path, "wide", "concat", 0, values["a", 0.0, 0])
    assert [row.label for row in build_table("mine", tmp_path).gains[0].rows] == ["0", "0.5", "1"]
    at(tmp_path, "a", "concat", 0, values["a", 0.0, 0])
    assert [row.label for row in build_table("mine", tmp_path).gains[0].rows] == ["0", "0.5", "1", "concat"]


def test_the_report_tells_it_in_all_forms(tmp_path, values):
    found = 100 * changes(values, 0.0).mean()
    assert "What wide gains over a\n" in terminal(build_table("mine", tmp_path))
    done = recap("recap-eval", "report", "mine", "--leaderboards", tmp_path, "--out", tmp_path / "reports")
    assert done.returncode == 0, done.stderr
    text, page = ((tmp_path / "reports" / f"mine.{form}").read_text() for form in ("md", "html"))
    told = text.partition("## What wide gains over a\n")[2]
    row = next(line for line in told.splitlines() if line.startswith("| 0 | 3 |"))
    assert f"{found:+.1f}" in row and "on average over p, over 3 seeds." in told
    assert "<h2>What wide gains over a</h2>" in page and "Δ: to a." in page


def test_one_recipe_is_compared_with_none(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD_OVER_P)
    at(tmp_path, "a", 0.0, 0, np.array([0.1, 0.2]))
    assert build_table("mine", tmp_path).gains == ()
