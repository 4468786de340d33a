"""Figures of clip_benchmark, written by clip_benchmark itself where it can run here."""

import json
import sys
from pathlib import Path

import pytest
from records import put, scores
from scipy.stats import binomtest
from support import assert_two_line_error, recap

from recap_eval.foreign import DATASETS, METRICS, as_record, read_runs
from recap_eval.imported import read_all, read_imported
from recap_eval.leaderboard import build_table
from recap_eval.tasks.catalog import load_catalog

IMAGENET = {"acc1": 0.7022, "acc5": 0.92, "mean_per_class_recall": 0.7021}
COCO = {"image_retrieval_recall@1": 0.42337, "text_retrieval_recall@1": 0.5936}


def dump(path: Path, dataset="imagenet1k", task="zeroshot_classification", metrics=None, **other) -> Path:
    """Write a file as clip_benchmark eval does."""
    facts = {"dataset": dataset, "model": "ViT-B-16", "pretrained": "laion2b", "task": task, "metrics": metrics or IMAGENET}
    path.write_text(json.dumps(facts | {"language": "en"} | other))
    return path


def build(folder: Path, *files: Path) -> Path:
    """Make the CSV of `clip_benchmark build`, by its own code."""
    from clip_benchmark.cli import main

    before, sys.argv = sys.argv, ["clip_benchmark", "build", *map(str, files), "--output", str(folder / "all.csv")]
    try:
        main()
    finally:
        sys.argv = before
    return folder / "all.csv"


def leaderboard(*words):
    return recap("recap-eval", "leaderboard", *words)


def test_every_data_set_of_the_table_is_a_task_of_ours():
    assert set(DATASETS.values()) <= load_catalog().keys()


def test_winoground_has_all_three_scores(tmp_path):
    metrics = {"acc": 0.5, "text_acc": 0.6, "image_acc": 0.55}
    (run,) = read_runs(dump(tmp_path / "a.json", "winoground", "image_caption_selection", metrics))
    record, left = as_record(run, None, {})
    assert {name: cell["value"] for name, cell in record["metrics"].items()} == {"group": 0.5, "text": 0.6, "image": 0.55}
    assert left == []


def test_intervals_are_wilsons_where_the_number_of_images_is_known(tmp_path):
    (run,) = read_runs(dump(tmp_path / "a.json"))
    metrics = as_record(run, None, {})[0]["metrics"]
    theirs = binomtest(35110, 50_000).proportion_ci(0.95, "wilson")
    assert metrics["acc1"]["n"] == 50_000 and metrics["acc1"]["ci95"] == pytest.approx([theirs.low, theirs.high], rel=1e-9)
    assert metrics["mpcr"] == {"value": 0.7021, "n": None, "ci95": None}


def test_a_figure_that_is_no_whole_number_of_images_gets_no_interval(tmp_path):
    (run,) = read_runs(dump(tmp_path / "a.json", metrics={"acc1": 1 / 3, "acc5": 0.5}))
    assert [cell["ci95"] for cell in as_record(run, None, {})[0]["metrics"].values()] == [None, None]


def test_captions_of_one_image_are_not_independent_and_get_no_interval(tmp_path):
    (run,) = read_runs(dump(tmp_path / "a.json", "wds/mscoco_captions", "zeroshot_retrieval", COCO))
    record, _ = as_record(run, None, {})
    assert record["task"]["name"] == "coco-retrieval"
    assert record["metrics"]["t2i_r1"]["ci95"] is None and record["metrics"]["i2t_r1"]["n"] == 5000


def test_kinds_of_sugarcrepe_come_together_in_one_row(tmp_path):
    for kind, share in (("swap_att", 0.64), ("add_obj", 0.9)):
        metrics = {"image_acc": 1.0, "text_acc": share, "acc": share}
        done = leaderboard(
            "import", dump(tmp_path / f"{kind}.json", f"sugar_crepe/{kind}", "image_caption_selection", metrics),
            "--leaderboards", tmp_path / "lb",
        )  # fmt: skip
        assert done.returncode == 0 and "note" not in done.stderr
    (tmp_path / "lb" / "pairs.toml").write_text(
        'title = "pairs"\n'
        + "".join(
            f'[[columns]]\ntask = "sugarcrepe"\nversion = 1\nmetric = "acc:{kind}"\nlabel = "{kind}"\n'
            for kind in ("swap_att", "add_obj")
        )
    )
    (group,) = build_table("pairs", tmp_path / "lb").published
    (row,) = group.rows
    assert row.values == {("sugarcrepe", "acc:swap_att"): 0.64, ("sugarcrepe", "acc:add_obj"): 0.9}


def test_json_and_csv_of_one_run_are_the_same_figures(tmp_path):
    files = [dump(tmp_path / "a.json"), dump(tmp_path / "b.json", "mscoco_captions", "zeroshot_retrieval", COCO)]
    assert leaderboard("import", *files, "--leaderboards", tmp_path / "lb").returncode == 0
    before = {found.path: found.record["metrics"] for found in read_all(tmp_path / "lb")}
    done = leaderboard("import", build(tmp_path, *files), "--leaderboards", tmp_path / "lb", "--json")
    assert [one["state"] for one in json.loads(done.stdout)["records"]] == ["there already"] * 2
    assert {found.path: found.record["metrics"] for found in read_all(tmp_path / "lb")} == before


def test_other_figures_of_one_run_need_replace(tmp_path):
    where = ("--leaderboards", tmp_path / "lb")
    leaderboard("import", dump(tmp_path / "a.json"), *where)
    other = dump(tmp_path / "b.json", metrics=IMAGENET | {"acc1": 0.71})
    assert_two_line_error(leaderboard("import", other, *where), 1, "has other figures", "--replace")
    assert leaderboard("import", other, *where, "--replace", "--dry-run").stdout.startswith("would be replaced")
    assert read_all(tmp_path / "lb")[0].record["metrics"]["acc1"]["value"] == 0.7022
    assert leaderboard("import", other, *where, "--replace").returncode == 0
    assert read_all(tmp_path / "lb")[0].record["metrics"]["acc1"]["value"] == 0.71


def test_columns_of_a_csv_that_are_no_figure_of_ours_are_told(tmp_path):
    (tmp_path / "a.csv").write_text(
        "dataset,model,pretrained,task,language,acc1,mean_average_precision,templates\n"
        'imagenet1k,A,b,zeroshot_classification,en,0.5,0.25,"a {}\nthe {}"\n'
        "imagenet1k,B,b,zeroshot_classification,en,0.5,,\n"
    )
    done = leaderboard("import", tmp_path / "a.csv", "--leaderboards", tmp_path / "lb")
    assert done.returncode == 0 and len(read_all(tmp_path / "lb")) == 2
    assert done.stderr.count("note:") == 1 and "imagenet1k has nothing like mean_average_precision" in done.stderr
    assert [found.record["from"]["line"] for found in read_all(tmp_path / "lb")] == [3, 4]


def test_a_path_of_weights_stays_with_who_has_it(tmp_path):
    path = dump(tmp_path / "a.json", pretrained="/data/somebody/runs/epoch_3.pt")
    leaderboard("import", path, "--leaderboards", tmp_path / "lb")
    (found,) = read_all(tmp_path / "lb")
    assert found.model == "ViT-B-16/epoch_3.pt" and "somebody" not in found.path.read_text()


def test_boards_show_imports_in_a_table_of_their_own_and_rank_nothing_by_them(tmp_path):
    root = tmp_path / "lb"
    put(root, "imagenet1k", "ours", {"acc1": scores([1, 0, 0, 0])})
    leaderboard("import", dump(tmp_path / "a.json", model="<script>alert(1)</script>"), "--leaderboards", root)
    assert recap("recap-eval", "report", "clip-mix", "--leaderboards", root, "--out", tmp_path / "rep").returncode == 0
    table = build_table("clip-mix", root)
    assert [group.kind for group in table.published] == ["published", "imported"]
    assert not any(cell.best or cell.tied for part in table.parts for row in part.rows for cell in row.cells.values())
    text = (tmp_path / "rep" / "clip-mix.md").read_text()
    assert "## Imported: clip_benchmark" in text and "_70.2 ± 0.4_" in text and "in no rank or difference" in text
    assert "Imported rows are of no known protocol: they are shown, never compared" in text
    lines = (tmp_path / "rep" / "clip-mix.csv").read_text().splitlines()
    assert sum(line.startswith("imported,") for line in lines) == 1
    page = (tmp_path / "rep" / "clip-mix.html").read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert(1)" not in page
    done = recap("recap-eval", "export", "board", "clip-mix", "--leaderboards", root, "--to", tmp_path / "a.tex")
    assert done.returncode == 0 and r"by clip\_benchmark" in (tmp_path / "a.tex").read_text()


def test_figures_of_another_version_of_a_task_are_left_out_and_told(tmp_path):
    root = tmp_path / "lb"
    leaderboard("import", dump(tmp_path / "a.json"), "--leaderboards", root)
    (found,) = read_all(root)
    found.path.write_text(json.dumps(found.record | {"task": {"name": "imagenet1k", "version": 0}}))
    table = build_table("clip-mix", root)
    assert [group.kind for group in table.published] == ["published"]
    assert table.left_out == ("ViT-B-16/laion2b on imagenet1k, from clip_benchmark: task version is 0, not 1",)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"metrics": {"acc1": float("nan")}}, "acc1 is nan, which is no share"),
        ({"metrics": {"acc1": 70.2}}, "acc1 is 70.2, which is no share"),
        ({"metrics": {"acc1": "good"}}, "acc1 is 'good', not a number"),
        ({"metrics": {"lp_acc1": 0.5}}, "none of its figures (lp_acc1) is one of imagenet1k"),
        ({"task": "linear_probe"}, "is of 'linear_probe', which we do not measure"),
        ({"dataset": "no-such-set"}, "no task of ours is on 'no-such-set'"),
        ({"language": "jp"}, "is in 'jp'"),
    ],
)
def test_what_cannot_be_taken_over_is_told(tmp_path, facts, told):
    done = leaderboard("import", dump(tmp_path / "a.json", **facts), "--leaderboards", tmp_path / "lb")
    assert_two_line_error(done, 1, told, "a.json")
    assert not read_all(tmp_path / "lb")


def test_of_several_files_the_good_ones_are_taken(tmp_path):
    good, bad = dump(tmp_path / "a.json"), dump(tmp_path / "b.json", "no-such-set")
    (tmp_path / "c.json").write_text("{")
    done = leaderboard("import", tmp_path / "c.json", bad, good, "--leaderboards", tmp_path / "lb")
    assert "c.json is not readable JSON" in done.stderr
    assert done.returncode == 1 and "no-such-set" in done.stderr and len(read_all(tmp_path / "lb")) == 1


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("a.json", "{", 1, "is not readable JSON"),
        ("a.json", "[]", 1, "it has no metrics"),
        ("a.json", '{"metrics": {}}', 1, "it has no dataset"),
        ("a.csv", "", 1, "holds no run"),
        ("a.csv", "dataset,acc1\nimagenet1k,0.5\n", 1, "line 2 is not what clip_benchmark writes: it has no model"),
        ("a.txt", "", 2, "neither .json nor .csv"),
    ],
)
def test_files_of_another_shape_are_told(tmp_path, name, content, code, told):
    (tmp_path / name).write_text(content)
    assert_two_line_error(leaderboard("import", tmp_path / name, "--leaderboards", tmp_path / "lb"), code, told)


def test_a_missing_file_and_a_wrong_pair_of_names_are_told(tmp_path):
    assert_two_line_error(leaderboard("import", tmp_path / "no.json"), 1, "no.json does not exist")
    path = dump(tmp_path / "a.json", "cifar10x")
    assert_two_line_error(leaderboard("import", path, "--as", "cifar10x"), 2, "is no DATASET=TASK")
    wrong = leaderboard("import", path, "--as", "cifar10x=wds-cifar", "--leaderboards", tmp_path / "lb")
    assert_two_line_error(wrong, 2, "'wds-cifar'", "wds-cifar1")
    named = leaderboard("import", path, "--as", "cifar10x=wds-cifar10", "--leaderboards", tmp_path / "lb")
    assert named.returncode == 0 and read_all(tmp_path / "lb")[0].task == "wds-cifar10"


def test_a_damaged_record_is_told_where_boards_read_it(tmp_path):
    from recap_eval.errors import DataError

    root = tmp_path / "lb"
    leaderboard("import", dump(tmp_path / "a.json"), "--leaderboards", root)
    (found,) = read_all(root)
    for change in (
        {"kind": "measured"},
        {"schema_version": 7},
        {"metrics": {"acc1": {"value": 2.0, "ci95": None}}},
        {"task": 1},
    ):
        found.path.write_text(json.dumps(found.record | change))
        with pytest.raises(DataError, match="imagenet1k"):
            read_imported(found.path)


def test_the_three_tasks_are_those_that_clip_benchmark_has():
    from clip_benchmark.datasets.builder import get_dataset_default_task

    theirs = {get_dataset_default_task(name) for name in (*DATASETS, "sugar_crepe/swap_att")}
    assert theirs == METRICS.keys()
