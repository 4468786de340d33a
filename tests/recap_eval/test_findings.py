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


def at(root, p, seed, values, n=None):
    items = [f"i{number}" for number in range(len(values))][-(n or len(values)) :]
    meta = RUN | {"p_original": p, "seed": seed}
    put(root, "scenes-zeroshot", f"m-{p:g}-{seed}", {"acc1": scores(values[-len(items) :], items=items)}, meta=meta)


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
    one = held(tmp_path, check(places=(), rows=("re",) if alone else ("re", "org")))
    theirs = stats.ttest_1samp(ours, CHANCE) if alone else stats.ttest_rel(ours[10:], base)
    assert one.tested[0].difference.estimate.p_value == pytest.approx(theirs.pvalue)
    assert one.tested[0].difference.estimate.n == (30 if alone else 20)


def test_what_is_missing_is_not_run(mine):
    at(mine, 0.0, 0, np.ones(5))
    missing = (check(board="none"), check(column="none"), check(), check(places=(), rows=("x", "y")))
    one = held(mine, *missing)
    assert {tested.verdict for tested in one.tested} == {one.verdict} == {"not run"}


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
