"""What reports say in words: their opening, what follows from printed tables, the page of all boards, the README's block."""

import json
from pathlib import Path

import numpy as np
import pytest
from records import RUN, put, scores
from support import assert_two_line_error, recap

from recap_eval.errors import DataError
from recap_eval.leaderboard import build_table
from recap_eval.report.index import BEGIN, END, with_block
from recap_eval.report.opening import opening
from recap_eval.report.printed import derived
from recap_eval.report.support import spans, support
from recap_eval.stats import pooled_differences

NOWHERE = Path("/nowhere")


def fill(root, values, task="scenes-zeroshot", metric="acc1", n=40):
    """Put a model for each (p, seed), right on the first so many of n items."""
    for (p, seed), right in values.items():
        meta = RUN | {"p_original": p, "seed": seed, "mix": "draw"}
        put(root, task, f"m-p{p:g}-s{seed}", {metric: scores([1.0] * right + [0.0] * (n - right))}, meta=meta)
    return build_table("clip", root)


def test_a_sure_difference_is_supported_and_its_direction_said(tmp_path):
    table = fill(tmp_path, {(0.0, 0): 10, (0.0, 1): 11, (0.0, 2): 10, (1.0, 0): 30, (1.0, 1): 31, (1.0, 2): 31})
    what, supported, not_supported = opening(table)
    assert "p = 0, 1 with 3 training seeds each" in what
    assert "some p is worse than p = 1 in zero-shot acc@1" in supported and "better" not in supported
    assert "small differences (3 seeds)" in not_supported and "zero-shot" not in not_supported


def test_an_unsure_difference_is_not_supported(tmp_path):
    table = fill(tmp_path, {(0.0, 0): 10, (0.0, 1): 31, (1.0, 0): 30, (1.0, 1): 11})
    _, supported, not_supported = opening(table)
    assert supported == "Supported: no p is separable from p = 1 in any column."
    assert "any difference to p = 1 in zero-shot acc@1" in not_supported


def test_one_seed_says_nothing_of_other_trainings(tmp_path):
    _, supported, not_supported = opening(fill(tmp_path, {(0.0, 0): 5, (1.0, 0): 35}))
    assert "worse than p = 1" in supported and "one seed for some p" in not_supported


def test_without_a_baseline_no_difference_is_claimed(tmp_path):
    _, supported, _ = opening(fill(tmp_path, {(0.0, 0): 5, (0.0, 1): 6, (0.5, 0): 35, (0.5, 1): 36}))
    assert "no difference to p = 1 could be tested" in supported


def test_with_noise_pooled_over_p_a_sweep_sees_more_and_says_what_it_assumes(tmp_path):
    right = {0.0: (17, 26, 20), 0.3: (24, 27, 25), 0.6: (30, 31, 33), 1.0: (30, 32, 31)}
    values = {(p, seed): some[seed] for p, some in right.items() for seed in range(3)}
    table = fill(tmp_path, values)
    lines = support(table, table.sweeps[0])
    draw = np.array([right[p] for p in right]).T / 40
    tests = [pooled_differences(draw, 3)[place].p_value for place in range(3)]
    assert max(tests[:2]) * 3 < 0.05 < tests[2]
    assert lines[0].endswith("Worse than p = 1: p = 0.3. With noise pooled over p, worse: 0, 0.3.")
    assert any("residual (6 degrees of freedom)" in line and "scatter alike at every p" in line for line in lines)


@pytest.mark.parametrize("left", [(0.0, 1.0), (0.0, 0.3, 0.6)])
def test_two_places_or_no_baseline_are_not_pooled(tmp_path, left):
    table = fill(tmp_path, {(p, seed): 20 + seed + int(10 * p) for p in left for seed in range(3)})
    assert "ooled" not in "".join(support(table, table.sweeps[0]))


def test_a_rowless_axis_lists_models(tmp_path):
    put(tmp_path, "scenes-zeroshot", "somebody", {"acc1": scores([1.0, 0.0, 1.0])})
    what, _, ranked = opening(build_table("clip", tmp_path))
    assert what.startswith("One model is measured in 1 of 7 cells") and "listed, not ranked" in ranked


def test_printed_rows_alone_support_nothing_but_arithmetic():
    what, _, not_supported = opening(build_table("clip-mix", NOWHERE))
    assert "all 12 rows are printed" in what and "nothing can be said" in not_supported


def test_the_papers_means_come_out_and_its_text_is_held_against_its_table():
    table = build_table("clip-mix", NOWHERE)
    mean, text = derived(table, table.published[0])
    rows = {
        row.meta["p_original"]: list(row.values.values())[1:] for row in table.published[0].rows if "p_original" in row.meta
    }
    means = {p: 100 * sum(values) / 4 for p, values in rows.items()}
    assert max(means, key=means.get) == 0.4 and means[0.4] - means[1.0] == pytest.approx(4.5, abs=0.051)
    assert "largest at p = 0.4, 65.0, +4.5 over p = 1" in mean
    assert "does not agree" in text and "COCO I→T R@1 at 0.3 (62.7)" in text and "COCO T→I R@1 at 0.5 (42.7)" in text


def test_a_mean_over_a_column_that_is_none_is_an_error(tmp_path):
    columns = '[[columns]]\ntask = "t"\nversion = 1\nmetric = "m"\nlabel = "a"\n'
    (tmp_path / "mine.toml").write_text(f'title = "T"\n{columns}[[means]]\nlabel = "x"\nover = ["b"]\n')
    with pytest.raises(DataError, match="no column is called 'b'"):
        build_table("mine", tmp_path)


@pytest.fixture
def place(tmp_path):
    """A leaderboards folder with one measured board, and a README with marks beside the reports."""
    fill(tmp_path / "lb", {(0.0, 0): 10, (0.0, 1): 11, (1.0, 0): 30, (1.0, 1): 31})
    (tmp_path / "README.md").write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    done = recap("recap-eval", "report", "--leaderboards", tmp_path / "lb", "--out", tmp_path / "reports")
    assert done.returncode == 0, done.stderr
    return tmp_path


def check(place):
    return recap("recap-eval", "report", "--check", "--leaderboards", place / "lb", "--out", place / "reports", "--json")


def test_all_boards_have_a_page_and_the_readme_its_block(place):
    page, readme = (place / "reports" / "index.html").read_text(), (place / "README.md").read_text()
    assert page.index('href="clip.html"') < page.index('href="clip-mix.html"'), "measured boards come first"
    assert readme.startswith("# Mine") and readme.endswith("after\n") and "old" not in readme
    assert "(reports/clip.md)" in readme and "[clip-mix](reports/clip-mix.md)" in readme
    assert check(place).returncode == 0


@pytest.mark.parametrize("name", ["README.md", "reports/index.html"])
def test_drift_of_what_follows_from_all_boards_is_found(place, name):
    path = place / name
    path.write_text(path.read_text().replace("clip-mix", "clip-mixed"))
    done = check(place)
    assert done.returncode == 1 and path.name in json.loads(done.stdout)["drift"][0]


def test_a_readme_with_one_mark_is_refused_and_without_any_left_alone(place, tmp_path):
    (place / "README.md").write_text(BEGIN)
    done = recap("recap-eval", "report", "--leaderboards", place / "lb", "--out", place / "reports")
    assert_two_line_error(done, 1, "has not one block of results")
    (place / "README.md").write_text("mine")
    assert with_block(place / "README.md", "block") is None and check(place).returncode == 0


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([], ""), (["0"], "0"), (["0", "0.1"], "0, 0.1"), (["0", "0.1", "0.2"], "0 to 0.2"), (["0", "0.2", "1"], "0, 0.2, 1"),
        (["1", "0.5", "0.2", "0"], "0, 0.2 to 1"), (["0.2", "0.5", "1", "concat"], "0.2 to 1, concat"),
    ],
)  # fmt: skip
def test_places_that_follow_each_other_are_told_by_their_ends(labels, told):
    assert spans(labels, ["0", "0.1", "0.2", "0.5", "1"]) == told
