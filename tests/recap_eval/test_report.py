import csv
import io
import json
import re
import shutil

import pytest
from records import RUN, put
from records import scores as scores_of
from scipy import stats
from support import assert_two_line_error, foreign, recap

from recap_eval.board import load_board
from recap_eval.errors import DataError
from recap_eval.leaderboard import build_table
from recap_eval.report.render import check_board, render_board
from recap_eval.report.support import support


@pytest.fixture(scope="module")
def board(models, world, tmp_path_factory):
    """Results of two mixes at two seeds each."""
    root = tmp_path_factory.mktemp("board")
    words = [word for folder in models.values() for word in ("--model", folder)]
    done = recap("recap-eval", "clip", *words, "--data", world, "--out", root / "lb", "--no-report")
    assert done.returncode == 0, done.stderr
    return root


def rendered(board, tmp_path):
    render_board("clip", board / "lb", tmp_path)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_rendered_twice_is_byte_identical(board, tmp_path):
    first = rendered(board, tmp_path / "a")
    plots = {f"clip{name}.{kind}" for name in ("", "-gain", "-trade-off") for kind in ("svg", "png")}
    assert set(first) == plots | {"clip.md", "clip.csv", "clip.html", "clip-records.md", "clip-records.html"}
    shutil.rmtree(tmp_path / "a")
    assert rendered(board, tmp_path / "a") == first


def test_figures_are_the_records_and_intervals_are_scipys(board, tmp_path):
    rows = list(csv.DictReader(io.StringIO(rendered(board, tmp_path)["clip.csv"].decode())))
    assert len(rows) == 2 * 7
    values = {}
    for path in (board / "lb").rglob("scenes-relations-*.json"):
        record = json.loads(path.read_text())
        meta = record["model"]["meta"]
        values[meta["p_original"], meta["seed"]] = record["metrics"]["acc"]["value"]
    ours = {float(row["p_original"]): row for row in rows if row["task"] == "scenes-relations"}
    for p in (0.0, 1.0):
        sample = [values[p, 0], values[p, 1]]
        interval = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        assert float(ours[p]["value"]) == pytest.approx(sum(sample) / 2, rel=1e-5)
        assert (float(ours[p]["low"]), float(ours[p]["high"])) == pytest.approx((interval.low, interval.high), rel=1e-4)
        assert ours[p]["seeds"] == "0 1"
    paired = stats.ttest_rel([values[0.0, 0], values[0.0, 1]], [values[1.0, 0], values[1.0, 1]])
    interval = paired.confidence_interval(0.95)
    assert float(ours[0.0]["delta"]) == pytest.approx(values_mean(values), abs=1e-5)
    assert (float(ours[0.0]["delta_low"]), float(ours[0.0]["delta_high"])) == pytest.approx(
        (interval.low, interval.high), rel=1e-3, abs=1e-5
    )
    assert ours[0.0]["delta_basis"] == "seeds" and ours[1.0]["delta"] == ""


def values_mean(values):
    return sum(values[0.0, seed] - values[1.0, seed] for seed in (0, 1)) / 2


def test_markdown_says_what_it_must(board, tmp_path):
    text = rendered(board, tmp_path)["clip.md"].decode()
    assert "n=48" in text and "chance 1.6" in text and "**" in text and " ± " in text
    assert "Paired difference to p = 1" in text and "2 training seeds" in text
    assert "laboratory" in text and "fingerprint" in text
    links = re.findall(r"\]\(clip-records\.md#([^)]+)\)", text)
    assert len(links) == 2 * 7 + 7  # every figure, and every difference of the row that is not the baseline
    marks = re.findall('<a id="([^"]+)">', (tmp_path / "clip-records.md").read_text())
    assert len(marks) == 4 * 5 and set(links) <= set(marks)


def test_with_one_seed_the_difference_is_over_items_and_says_so(board, tmp_path):
    for folder in (board / "lb" / "results").iterdir():
        if "-s0-" in folder.name:
            shutil.copytree(folder, tmp_path / "lb" / "results" / folder.name)
    text = rendered(tmp_path, tmp_path / "rep")["clip.md"].decode()
    assert "do not cover training randomness" in text
    cell = build_table("clip", tmp_path / "lb").sweeps[0].rows[0].cells[0]
    assert cell.to_baseline.basis == "items" and cell.to_baseline.estimate.n == 48


def test_missing_cells_are_not_run(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    for path in (tmp_path / "lb").rglob("scenes-long-*"):
        if "p0-" in path.parent.name:
            path.unlink()
    files = rendered(tmp_path, tmp_path / "rep")
    assert "not run" in files["clip.md"].decode() and "not run" in files["clip.html"].decode()


def test_check_finds_drift_and_names_it(board, tmp_path):
    render_board("clip", board / "lb", tmp_path)
    assert check_board("clip", board / "lb", tmp_path) is None
    page = tmp_path / "clip.md"
    page.write_text(page.read_text().replace("seeds", "sedes", 1))
    assert re.search(r"clip\.md:\d+ does not follow", check_board("clip", board / "lb", tmp_path))
    render_board("clip", board / "lb", tmp_path)
    svg = tmp_path / "clip.svg"
    svg.write_text(re.sub("sha256:.", "sha256:x", svg.read_text()))
    assert "clip.svg is missing or stale" in check_board("clip", board / "lb", tmp_path)
    svg.unlink()
    done = recap("recap-eval", "report", "clip", "--check", "--leaderboards", board / "lb", "--out", tmp_path)
    assert done.returncode == 1 and "clip.svg" in done.stdout


def test_hostile_names_are_text(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    for path in (tmp_path / "lb").rglob("*-s0-*/*.json"):
        record = json.loads(path.read_text())
        record["model"]["meta"]["recipe"] = '<script>alert("x")</script>|'
        path.write_text(json.dumps(record))
    page = rendered(tmp_path, tmp_path / "rep")["clip.html"].decode()
    assert "<script" not in foreign(page) and "&lt;script&gt;" in page


def test_the_page_asks_no_network(board, tmp_path):
    page = rendered(board, tmp_path)["clip.html"].decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", page) and "<script" not in foreign(page)
    assert "default-src 'none'" in page


def test_models_without_a_mix_stand_apart(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    for path in (tmp_path / "lb").rglob("*-p0-s0-*/*.json"):
        record = json.loads(path.read_text())
        record["model"] |= {"meta": {}, "name": "ViT-X/someone"}
        path.write_text(json.dumps(record))
    text = rendered(tmp_path, tmp_path / "rep")["clip.md"].decode()
    assert "Models without a mix" in text and "| ViT-X/someone | – |" in text


def test_no_results_and_no_board(tmp_path):
    empty = recap("recap-eval", "report", "clip", "--leaderboards", tmp_path, "--out", tmp_path / "r")
    assert_two_line_error(empty, 1, "holds no result")
    assert_two_line_error(recap("recap-eval", "report", "clipp", "--leaderboards", tmp_path), 2, "'clip'")
    (tmp_path / "mine.toml").write_text("title = ")
    assert_two_line_error(recap("recap-eval", "report", "mine", "--leaderboards", tmp_path), 1, "mine.toml is not a board")


def test_a_board_that_extends_another_is_that_one_but_for_what_it_says(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "clip"\ntitle = "Mine"\nwhere = { recipe = "x" }\n')
    mine, clip = load_board("mine", tmp_path), load_board("clip", tmp_path)
    assert (mine.columns, mine.note, mine.title, mine.where) == (clip.columns, clip.note, "Mine", {"recipe": "x"})
    for text, why in (('extends = "none"', "which is no board"), ('extends = "mine"', "which extends another")):
        (tmp_path / "odd.toml").write_text(text)
        with pytest.raises(DataError, match=why):
            load_board("odd", tmp_path)


def test_other_data_is_not_joined(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    path = next((tmp_path / "lb").rglob("*-p0-s0-*/scenes-long-*.json"))
    record = json.loads(path.read_text())
    record["data"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(record))
    table = build_table("clip", tmp_path / "lb")
    (sentence,) = table.left_out
    assert "scenes-long" in sentence and "data is 000000000000…" in sentence


def test_two_runs_of_one_seed_do_not_pass_for_one(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    folder = next((tmp_path / "lb" / "results").glob("*-p0-s0-*"))
    shutil.copytree(folder, folder.with_name("zz-again"))
    table = build_table("clip", tmp_path / "lb")
    assert len(table.left_out) == 5 and all("same run and seed" in line for line in table.left_out)
    assert all(len(cell.results) == 2 for row in table.sweeps[0].rows for cell in row.cells.values())


def test_where_less_is_better_the_lowest_is_best(board, tmp_path):
    shutil.copytree(board / "lb", tmp_path / "lb")
    for path in (tmp_path / "lb").rglob("*.json"):
        record = json.loads(path.read_text())
        for metric in record["metrics"].values():
            metric["higher_is_better"] = False
        path.write_text(json.dumps(record))
    table = build_table("clip", tmp_path / "lb")
    cells = [row.cells[6] for row in table.sweeps[0].rows]
    assert next(cell for cell in cells if cell.best).estimate.value == min(cell.estimate.value for cell in cells)
    assert "relation pairs ↓" in rendered(tmp_path, tmp_path / "rep")["clip.md"].decode()


def sweep_support(tmp_path, scores, upward=True, seeds=None):
    """Return what the report supports of one column: scores by p, one a seed."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "one.toml").write_text(
        'title = "t"\naxis = "p_original"\nbaseline = 1.0\n[[columns]]\ntask = "t"\nversion = 1\nmetric = "m"\nlabel = "col"\n'
    )
    for p, values in scores.items():
        for seed, value in enumerate(values):
            if seeds is None or seed in seeds.get(p, (seed,)):
                meta = RUN | {"p_original": p, "seed": seed}
                items = scores_of([value, value, value - 0.1, value + 0.1])
                put(tmp_path, "t", f"m-p{p}-s{seed}", {"m": items}, meta=meta, higher_is_better=upward)
    table = build_table("one", tmp_path)
    return support(table, table.sweeps[0])


def test_where_the_best_p_lies_is_said_with_shares_and_ends(tmp_path):
    lines = sweep_support(tmp_path, {0.2: [0.3, 0.3, 0.3], 0.5: [0.4, 0.4, 0.5], 0.8: [0.7, 0.8, 0.2], 1.0: [0.1, 0.1, 0.1]})
    # 0.8 leads by 0.3 and 0.4 at two seeds and trails by 0.3 at the third: it loses where the third is drawn two times or more
    # (1 of 27 all three, 6 of 27 two of three: -0.6 + 0.3 or 0.4 < 0)
    assert "Resampled seeds put it at p = 0.8 (74 %), 0.5 (26 %); 95 % set: 0.5, 0.8." in lines[0]
    assert "Better than p = 1: p = 0.2" in lines[0]
    told = "\n".join(lines)
    assert "all 27 resamples of 3 seeds" in told and "understate how far the best may move" in told


def test_a_best_at_an_end_of_the_grid_may_lie_beyond(tmp_path):
    inner = sweep_support(tmp_path / "a", {0.2: [0.3, 0.3], 0.5: [0.4, 0.4], 0.8: [0.7, 0.8]})
    assert "95 % set: 0.8, which holds an end of what was trained (0.8): the true best may lie beyond." in inner[0]
    assert "than p = 1" not in inner[0] and any("no baseline" in line for line in inner)
    outer = sweep_support(tmp_path / "b", {0.0: [0.3, 0.3], 0.5: [0.4, 0.4], 1.0: [0.7, 0.8]})
    assert "95 % set: 1, which holds an end of p's range (1)." in outer[0] and "beyond" not in outer[0]
    lower = sweep_support(tmp_path / "c", {0.0: [0.3, 0.3], 0.5: [0.4, 0.4], 1.0: [0.7, 0.8]}, upward=False)
    assert "put it at p = 0 (100 %); 95 % set: 0, which holds an end of p's range (0)" in lower[0]


def test_one_common_seed_says_nothing_of_where_the_best_lies(tmp_path):
    nothing = "nothing can be said of where the best p lies"
    one = sweep_support(tmp_path / "a", {0.0: [0.3], 1.0: [0.7]})
    assert any(nothing in line for line in one) and "Resampled" not in "".join(one)
    apart = sweep_support(tmp_path / "b", {0.0: [0.3, 0.3, 0.3], 1.0: [0.7, 0.7, 0.7]}, seeds={0.0: (0, 1), 1.0: (1, 2)})
    assert any(nothing in line for line in apart)


def test_the_page_says_where_the_best_lies(board, tmp_path):
    files = rendered(board, tmp_path)
    for name in ("clip.md", "clip.html"):
        text = files[name].decode()
        assert text.count("Resampled seeds put it at p = ") == 7 and "all 4 resamples of 2 seeds" in text
