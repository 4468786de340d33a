"""The paper's findings against boards: differences of others' statistics, verdicts that say no more, pages that follow."""

import numpy as np
import pytest
from records import RUN, put, scores
from scipy import stats
from support import recap

from recap_eval import findings as found
from recap_eval.board import load_board
from recap_eval.errors import DataError
from recap_eval.findings import Check, Checked, Finding, Held, hold, load_findings
from recap_eval.leaderboard import Tables
from recap_eval.report.findings_page import findings_markdown, findings_page, summary
from recap_eval.report.render import board_names
from recap_eval.stats import Estimate
from recap_eval.table import Difference

BOARD = """title = "t"
axis = "p_original"
axis_label = "p"
[[columns]]
task = "scenes-zeroshot"
version = 1
metric = "acc1"
label = "a"
"""
PLAIN = BOARD.replace('axis = "p_original"\naxis_label = "p"\n', "")
CHANCE = 0.001  # of the metrics of `records`
FILE = """source = "a paper"
[[findings]]
says = "More is more | <b>."
paper = "2 against 1"
{}
"""


def check(**other):
    return Check(**({"board": "mine", "column": "a", "expect": "more", "places": (0.0, 1.0)} | other))


def at(root, p, seed, values, n=None, **other):
    items = [f"i{number}" for number in range(len(values))][-(n or len(values)) :]
    meta = RUN | {"p_original": p, "seed": seed} | other
    name = "-".join(map(str, ["m", f"{p:g}", seed, *other.values()]))
    put(root, "scenes-zeroshot", name, {"acc1": scores(values[-len(items) :], items=items)}, meta=meta)


def held(root, *checks):
    return hold([Finding("s", "p", checks, "")], Tables(root), board_names(root))[0]


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD)
    return tmp_path


def test_over_seeds_it_is_scipys_paired_test_corrected_within_the_finding(mine):
    draw = np.random.default_rng(0)
    values = {(p, seed): draw.random(50) * 0.3 + 0.4 * (1 - p) for p in (0.0, 1.0) for seed in range(4)}
    for (p, seed), some in values.items():
        at(mine, p, seed, some)
    one = held(mine, check(), check(places=(1.0, 0.0)))
    means = {p: [values[p, seed].mean() for seed in range(4)] for p in (0.0, 1.0)}
    theirs = stats.ttest_rel(means[0.0], means[1.0])
    first, second = (tested.difference for tested in one.tested)
    assert first.basis == "seeds" and first.estimate.value == pytest.approx(np.mean(means[0.0]) - np.mean(means[1.0]))
    assert first.estimate.p_value == pytest.approx(theirs.pvalue) and first.p_holm == pytest.approx(2 * theirs.pvalue)
    ends = theirs.confidence_interval()
    assert (first.estimate.low, first.estimate.high) == pytest.approx((ends.low, ends.high))
    assert [tested.verdict for tested in one.tested] == ["holds", "the opposite holds"] and second.estimate.value < 0
    assert one.verdict == "mixed"


def test_of_one_seed_it_is_over_items_and_the_page_says_so(mine):
    draw = np.random.default_rng(1)
    ours, base = draw.random(40), draw.random(40) + 0.5
    at(mine, 0.0, 0, ours)
    at(mine, 1.0, 0, base)
    one = held(mine, check(expect="less"))
    assert one.tested[0].difference.estimate.p_value == pytest.approx(stats.ttest_rel(ours, base).pvalue)
    assert one.verdict == "reproduced" and "over 40 items: **holds**" in findings_markdown("s", [one], Tables(mine))


@pytest.mark.parametrize("alone", [False, True])
def test_rows_without_an_axis_are_compared_over_the_items_that_both_have(tmp_path, alone):
    (tmp_path / "mine.toml").write_text(PLAIN)
    draw = np.random.default_rng(2)
    ours, base = draw.random(30), draw.random(20)
    for name, values, first in (("re", ours, 0), ("org", base, 10)):
        items = [f"i{number}" for number in range(first, first + len(values))]
        put(tmp_path, "scenes-zeroshot", name, {"acc1": scores(values, items=items)})
    one = held(tmp_path, check(places=None, rows=("re",) if alone else ("re", "org")))
    theirs = stats.ttest_1samp(ours, CHANCE) if alone else stats.ttest_rel(ours[10:], base)
    assert one.tested[0].difference.estimate.p_value == pytest.approx(theirs.pvalue)
    assert one.tested[0].difference.estimate.n == (30 if alone else 20)


def test_what_is_missing_is_not_run(mine):
    at(mine, 0.0, 0, np.ones(5))
    missing = (check(board="none"), check(column="none"), check(), check(places=None, rows=("x", "y")))
    one = held(mine, *missing)
    assert {tested.verdict for tested in one.tested} == {one.verdict} == {"not run"}


def test_a_mix_that_was_not_trained_is_stood_for_by_the_nearest_and_most_seeds_come_first(mine):
    for p, values in ((0.0, [0.1, 0.3]), (0.25, [0.4, 0.5]), (0.7, [0.6, 0.9]), (1.0, [0.2, 0.3])):
        at(mine, p, 0, np.array(values))
    one = held(mine, check(places=(0.4, 1.0)), check(places=(0.5, 0.4)), check(places=(0.1, 0.9)))
    first, second, third = one.tested
    assert first.places == (0.25, 1.0) and first.difference.estimate.value == pytest.approx(0.2)
    assert first.what() == "p = 0.25 less p = 1 (the paper's: 0.4 and 1)"
    assert second.places == (0.7, 0.25) and third.what() == "p = 0.25 less p = 0.7 (the paper's: 0.1 and 0.9)"
    for p, values in ((0.4, [0.6, 0.7]), (1.0, [0.1, 0.2]), (0.9, [0.5, 0.5])):
        at(mine, p, 0, np.array(values), samples_seen=2000)
    assert held(mine, check(places=(0.4, 1.0))).tested[0].difference.estimate.value == pytest.approx(0.5)  # it comes nearer
    for seed in (1, 2):
        for p, value in ((0.25, 0.5), (1.0, 0.25)):
            at(mine, p, seed, np.array([value, value]))
    found = held(mine, check(places=(0.4, 1.0))).tested[0]
    assert found.places == (0.25, 1.0) and found.difference.basis == "seeds"  # it has more seeds


def test_joined_captions_are_held_against_a_mix_by_the_name_of_their_row(mine):
    for p, value in ((0.5, 0.75), (1.0, 0.5)):
        at(mine, p, 0, np.array([value, value + 0.125]))
    at(mine, 0.0, 0, np.array([0.25, 0.5]), p_original=None, mix="concat")
    (found,) = held(mine, check(places=("concat", 0.4), expect="less")).tested
    assert found.places == ("concat", 0.5) and found.difference.estimate.value == pytest.approx(-0.4375)
    assert found.what() == "concat less p = 0.5 (the paper's: concat and 0.4)"
    assert held(mine, check(places=("both", 0.5))).verdict == "not run"


def best_over(place, **other):
    return check(places=None, best_mix_over=place, **other)


def test_the_best_mix_is_chosen_by_the_other_seeds(mine):
    table = {0.0: (2, 2, 3), 0.25: (6, 4, 4), 0.75: (3, 6, 5), 1.0: (4, 3, 3)}  # eighths; by seed
    for p, values in table.items():
        for seed, value in enumerate(values):
            at(mine, p, seed, np.full(2, value / 8))
    (found,) = held(mine, best_over(1.0)).tested
    # seed 0: the others prefer 0.75 (11 to 8), seed 1: 0.25 (10 to 8), seed 2: 0.25 (10 to 9)
    changes = (np.array([3, 4, 4]) - np.array([4, 3, 3])) / 8
    theirs = stats.ttest_1samp(changes, 0)
    assert found.difference.estimate.value == pytest.approx(changes.mean())
    assert found.difference.estimate.p_value == pytest.approx(theirs.pvalue) and found.difference.basis == "seeds"
    assert found.what() == "the best mix (p = 0.25, p = 0.75: chosen by the other seeds) less p = 1"
    flattered = max(np.mean(table[p]) for p in (0.25, 0.75)) - np.mean(table[1.0])
    assert found.difference.estimate.value < flattered / 8


def test_choosing_the_best_mix_where_nothing_differs_flatters_nobody(tmp_path):
    draw, gains, flattered = np.random.default_rng(1), [], []
    for trial in range(40):
        root = tmp_path / str(trial)
        root.mkdir()
        (root / "mine.toml").write_text(BOARD)
        values = draw.random((3, 5))
        for (seed, place), value in np.ndenumerate(values):
            at(root, (0.2, 0.4, 0.6, 0.8, 1.0)[place], seed, np.full(2, value))
        gains.append(held(root, best_over(1.0)).tested[0].difference.estimate.value)
        flattered.append(values[:, :4].mean(axis=0).max() - values[:, 4].mean())
    assert stats.ttest_1samp(gains, 0).pvalue > 0.05 and stats.ttest_1samp(flattered, 0).pvalue < 0.001


def test_where_less_is_better_the_best_mix_has_least(mine):
    for p, values in ((0.5, (2, 2)), (0.75, (4, 4)), (1.0, (3, 3))):
        for seed, value in enumerate(values):
            meta = RUN | {"p_original": p, "seed": seed}
            put(
                mine, "scenes-zeroshot", f"m-{p}-{seed}", {"acc1": scores(np.full(2, value / 8))}, meta=meta,
                higher_is_better=False,
            )  # fmt: skip
    (found,) = held(mine, best_over(1.0, expect="less")).tested
    assert found.places == (0.5,) and found.difference.estimate.value == pytest.approx(-1 / 8) and found.verdict == "holds"


@pytest.mark.parametrize(("ps", "seeds"), [((0.5, 1.0), 1), ((0.0, 1.0), 3), ((0.0, 0.5), 3)])
def test_one_seed_or_no_mix_or_no_such_place_tells_of_no_best_mix(mine, ps, seeds):
    for p in ps:
        for seed in range(seeds):
            at(mine, p, seed, np.array([p, 0.5]))
    assert held(mine, best_over(1.0)).verdict == "not run"


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_an_end_is_stood_for_by_nothing(mine, place):
    at(mine, 0.5, 0, np.array([0.1, 0.2]))
    at(mine, 1.0 - place, 0, np.array([0.1, 0.2]))
    assert held(mine, check(places=(place, 0.5))).verdict == "not run"


def of_recipes(of, expect="more"):
    return check(places=None, recipes=("large", "base"), of=of, expect=expect)


@pytest.mark.parametrize("seeds", [1, 4])
def test_what_a_recipe_gains_is_polyfits_and_scipys(mine, seeds):
    draw, places = np.random.default_rng(3), [0.0, 0.1, 0.4, 1.0]
    values = {
        (recipe, p, seed): draw.random(40) * 0.3 + (0.5 - 0.4 * p if recipe == "large" else 0.1)
        for recipe in ("large", "base") for p in places for seed in range(seeds)
    }  # fmt: skip
    for (recipe, p, seed), some in values.items():
        at(mine, p, seed, some, recipe=recipe, recipe_digest=recipe)
    at(mine, 0.7, 0, draw.random(40), recipe="large", recipe_digest="large")  # the other has none there
    at(mine, 0.0, seeds, draw.random(40), recipe="large", recipe_digest="large")  # nor this seed
    one = held(mine, of_recipes("mean"), of_recipes("slope", "less"))
    gains = np.array([[values["large", p, seed] - values["base", p, seed] for p in places] for seed in range(seeds)])
    figures = gains.mean(axis=2) if seeds > 1 else gains[0].T  # (seeds or items, places)
    expected = [figures.mean(axis=1), np.polyfit(places, figures.T, 1)[0]]
    for tested, those in zip(one.tested, expected, strict=True):
        theirs = stats.ttest_1samp(those, 0)
        ends = theirs.confidence_interval()
        found = tested.difference
        assert found.basis == ("seeds" if seeds > 1 else "items") and found.estimate.value == pytest.approx(those.mean())
        assert found.estimate.p_value == pytest.approx(theirs.pvalue)
        assert (found.estimate.low, found.estimate.high) == pytest.approx((ends.low, ends.high))
    assert one.verdict == "reproduced" and one.tested[1].what() == "large less base, slope over p from 0 to 1"


def test_recipes_that_differ_in_more_or_share_too_little_are_not_run(mine):
    for p in (0.0, 1.0):
        at(mine, p, 0, np.array([0.1, 0.4]), recipe="large", recipe_digest="large")
        at(mine, p, 0, np.array([0.1, 0.2]), recipe="base", recipe_digest="base", samples_seen=9)
    assert held(mine, of_recipes("mean")).verdict == "not run"
    at(mine, 0.0, 1, np.array([0.1, 0.2]), recipe="base", recipe_digest="base")
    assert held(mine, of_recipes("mean")).verdict == "not run"  # no seed in common
    at(mine, 0.0, 0, np.array([0.1, 0.2]), recipe="base", recipe_digest="base")
    one = held(mine, of_recipes("mean"), of_recipes("slope"))
    assert [tested.verdict for tested in one.tested] == ["not separable", "not run"]  # a slope needs two places
    assert one.tested[0].difference.estimate.value == pytest.approx(0.1)


def test_recipes_measured_on_other_items_have_no_difference(mine):
    at(mine, 0.0, 0, np.array([0.1, 0.4]), recipe="large", recipe_digest="large")
    at(mine, 0.0, 0, np.array([0.1, 0.2]), n=1, recipe="base", recipe_digest="base")
    assert held(mine, of_recipes("mean")).verdict == "not run"


def test_one_item_and_equal_scores_are_no_difference(mine):
    for p in (0.0, 1.0):
        at(mine, p, 0, np.array([0.5, 0.5]), n=1 if p else None)
    assert held(mine, check()).verdict == "not run"  # not of the same items
    at(mine, 1.0, 0, np.array([0.5, 0.5]))
    assert held(mine, check()).verdict == "not separable"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([], "not testable here"), ([0, 0], "not run"), ([2, 0], "not separable"), ([1, 1], "reproduced"),
        ([1, 0], "reproduced in part"),
        ([1, 2], "reproduced in part"), ([1, -1], "mixed"), ([-1, 2], "not reproduced"), ([-1, 1, 2, 0], "mixed"),
    ],
)  # fmt: skip
def test_a_finding_is_what_all_its_tests_say(said, verdict):
    def tested(sign):
        if sign == 0:
            return Checked(check(), None)
        p = 0.5 if sign == 2 else 0.001
        return Checked(check(), Difference(Estimate(float(sign), 0.1, 0.0, 1.0, 9, 9, p), "seeds", p), 0)

    assert Held(Finding("s", "p", (), "why"), tuple(map(tested, said))).verdict == verdict


TEST = '[[findings.tests]]\nboard = "mine"\ncolumn = "a"\nexpect = "more"\n'


@pytest.mark.parametrize(
    "body",
    [
        "", 'untestable = "w"\n' + TEST + "places = [0, 1]", TEST, TEST + "places = [0]", TEST + 'sets = ["a", "b", "c"]',
        TEST.replace("more", "most") + "places = [0, 1]", TEST + "places = [0, 1]\nwhat = 1",
        TEST + 'places = [0, 1]\nof = "mean"', TEST + 'recipes = ["a", "b"]\nof = "best"', TEST + 'recipes = ["a"]',
        TEST + 'recipes = ["a", "b"]\nplaces = [0, 1]', TEST + "best_mix_over = 0\nplaces = [0, 1]",
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_is_refused(tmp_path, body):
    (tmp_path / "f.toml").write_text(FILE.format(body))
    with pytest.raises(DataError, match=r"f\.toml holds no findings"):
        load_findings(tmp_path / "f.toml")


def test_pages_escape_and_follow_from_the_boards(mine):
    (mine / "f.toml").write_text(FILE.format(TEST + "places = [0, 1]"))
    source, some = load_findings(mine / "f.toml")
    for p in (0.0, 1.0):
        at(mine, p, 0, np.random.default_rng(int(p)).random(30) - p)
    tables = Tables(mine)
    helds = hold(some, tables, board_names(mine))
    text, page = findings_markdown(source, helds, tables), findings_page(source, helds, tables)
    assert (
        "More is more \\| \\<b\\>." in text
        and "<b>" not in text
        and "&lt;b&gt;" in page
        and '<a href="mine.html">mine</a>' in page
    )
    assert summary(helds) == "Of 1 findings: 1 reproduced." and summary(helds) in page
    assert (text, page) == (findings_markdown(source, helds, tables), findings_page(source, helds, tables))


def test_those_of_the_paper_name_columns_that_there_are_and_its_page_is_checked(mine):
    _, shipped = load_findings()
    for finding in shipped:
        for one in finding.tests:
            columns = [column.label for column in load_board(one.board, mine).columns]
            assert any(one.column == label or one.column.startswith(f"{label} by ") for label in columns), one
    (mine / "mine.toml").unlink()
    for p in (0.0, 0.5, 1.0):
        at(mine, p, 0, np.random.default_rng(int(4 * p)).random(30) + p)
    out = mine / "reports"
    assert recap("recap-eval", "report", "--leaderboards", mine, "--out", out).returncode == 0
    assert "p = 1 less p = 0.5" in (out / "findings.md").read_text() and "findings.html" in (out / "index.html").read_text()
    (out / "findings.md").write_text("else")
    done = recap("recap-eval", "report", "--leaderboards", mine, "--out", out, "--check")
    assert done.returncode == 1 and "findings.md:1 does not follow" in done.stdout
    assert found.SHIPPED.is_file()
