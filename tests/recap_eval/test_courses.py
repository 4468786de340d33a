"""Trainings on their way: apart from finished models, a section each, over samples seen."""

import re

import numpy as np
import pytest
from records import RUN, put, scores

from recap_eval.holdings import losses
from recap_eval.leaderboard import build_table
from recap_eval.report.latex import latex
from recap_eval.report.opening import opening
from recap_eval.report.plots.progress import over_samples
from recap_eval.report.render import check_board, render_board
from recap_eval.report.text import records, terminal
from recap_eval.results import read_results

BOARD = """title = "t"
{axis}
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
"""
ALONG = 'axis = "p_original"\naxis_label = "p"'


def board(root, axis=""):
    root.mkdir(parents=True, exist_ok=True)
    (root / "mine.toml").write_text(BOARD.format(axis=axis))


def train(root, p=None, seed=0, limit=None, stages=(250, 500), total=1000, end=None, recipe="b16"):
    """Put what a training is measured at: on its way, of `limit` items, and at its end, of `end`."""
    draw = np.random.default_rng(seed)
    for seen in (*stages, total):
        meta = RUN | {"recipe": recipe, "samples_seen": seen, "seed": seed} | ({} if p is None else {"p_original": p})
        meta |= {} if seen == total else {"samples_total": total}
        name = f"{recipe}-{p}-{seed}-{total}" + ("" if seen == total else f"@{seen}")
        few = end if seen == total else limit
        acc = scores((draw.random(few or 100) < seen / total * 0.8).astype(float))
        put(root, "scenes-zeroshot", name, {"acc1": acc}, meta=meta, limit=few)


def rows(table):
    return [(course.axis, [(row.label, row.seen, row.seeds) for row in course.rows]) for course in table.courses]


def test_models_on_the_way_stand_apart_and_end_in_the_finished_one(tmp_path):
    board(tmp_path)
    train(tmp_path)
    table = build_table("mine", tmp_path)
    assert [[row.label for row in group.rows] for group in table.groups] == [["b16-None-0-1000"]] and not table.sweeps
    assert rows(table) == [(None, [("250 samples", 250, (0,)), ("500 samples", 500, (0,)), ("1,000 samples", 1000, (0,))])]
    assert table.courses[0].title == f"b16, 1,000 samples seen, bf16, training data {RUN['train_data'][:8]}"
    assert "One model is measured" in opening(table)[0] and not table.left_out
    values = {found.meta["samples_seen"]: found.record["metrics"]["acc1"]["value"] for found in read_results(tmp_path)}
    (panel,) = over_samples(table)["panels"]
    assert [point[:2] for point in panel["curves"][0]["points"]] == [[seen, 100 * values[seen]] for seen in (250, 500, 1000)]
    assert panel["label"] == "a, % (n=100)"


def test_one_measured_on_other_items_does_not_end_it(tmp_path):
    board(tmp_path)
    train(tmp_path, limit=100)
    table = build_table("mine", tmp_path)
    assert [row.seen for row in table.courses[0].rows] == [250, 500] and not table.left_out
    assert "One model is measured" in opening(table)[0]


def test_a_plot_counts_the_items_of_what_it_draws(tmp_path):
    board(tmp_path, ALONG)
    train(tmp_path, 0.0, limit=40)
    assert over_samples(build_table("mine", tmp_path))["panels"][0]["label"].endswith("(n=40)")  # and not those of the end


def test_seeds_are_averaged_and_other_trainings_are_not(tmp_path):
    board(tmp_path, ALONG)
    for p in (0.0, 1.0):
        for seed in (0, 1):
            train(tmp_path, p, seed)
    train(tmp_path, 0.0, total=2000)
    train(tmp_path, 0.0, recipe="another", stages=(250,))
    table = build_table("mine", tmp_path)
    both = [(250, (0, 1)), (500, (0, 1)), (1000, (0, 1))]
    found = [(course.axis, [row[1:] for row in some]) for course, (_, some) in zip(table.courses, rows(table), strict=True)]
    assert sorted(found, key=str) == sorted(
        [
            (0.0, both), (1.0, both), (0.0, [(250, (0,)), (500, (0,)), (2000, (0,))]), (0.0, [(250, (0,)), (1000, (0,))]),
        ],
        key=str,
    )  # fmt: skip
    first = next(course for course in table.courses if course.axis == 1.0)
    alike = [one for one in read_results(tmp_path) if one.meta["samples_seen"] == 250 and one.meta["p_original"] == 1.0]
    mean = np.mean([one.record["metrics"]["acc1"]["value"] for one in alike])
    assert len(alike) == 2 and first.rows[0].cells[0].estimate.value == pytest.approx(mean)
    assert first.title.endswith(", p = 1")
    labels = {curve["label"] for curve in over_samples(table)["panels"][0]["curves"]}
    trainings = {"another, 1,000 samples seen, p = 0", "b16, 1,000 samples seen, p = 0", "b16, 2,000 samples seen, p = 0"}
    assert labels == {*trainings, "b16, 1,000 samples seen, p = 1", "p = 0, trained as long"}  # p alone does not tell all apart


def test_two_measurements_that_differ_are_not_drawn_as_one(tmp_path):
    board(tmp_path)
    train(tmp_path, stages=(250, 500, 750), limit=100)
    train(tmp_path, seed=1, stages=(250,), limit=50)
    table = build_table("mine", tmp_path)
    assert [row.seeds for row in table.courses[0].rows] == [(0,)] * 3
    assert len(table.left_out) == 1 and "@250" in table.left_out[0] and "limit" in table.left_out[0]


def test_every_form_of_a_report_tells_of_them(tmp_path):
    board(tmp_path)
    train(tmp_path)
    table = build_table("mine", tmp_path)
    render_board("mine", tmp_path, tmp_path / "r")
    assert check_board("mine", tmp_path, tmp_path / "r") is None
    text, page = (tmp_path / "r" / "mine.md").read_text(), (tmp_path / "r" / "mine.html").read_text()
    title = f"On the way: {table.courses[0].title}"
    assert f"## {title}" in text and "| 250 samples | 1 |" in text and "mine-samples.svg" in text
    assert f"<h2>{title}</h2>" in page and "250 samples" in page
    assert title in terminal(table) and "On the way: b16" in latex(table) and "250 samples" in latex(table)
    told = [record["row"] for record in records(table) if record["sweep"] == title]
    assert told == ["250 samples", "500 samples", "1,000 samples"]
    anchors = re.findall(r'id="([^"]+/[^"]+)"', (tmp_path / "r" / "mine-records.html").read_text())
    assert len(anchors) == len(set(anchors)) == 3  # the finished model's record is told once
    linked = set(re.findall(r'mine-records\.html#([^"]+)"', page))
    assert linked == set(anchors)


def test_with_nothing_finished_the_report_says_so(tmp_path):
    board(tmp_path)
    train(tmp_path)
    (finished,) = [one for one in read_results(tmp_path) if not one.on_the_way]
    assert [(loss.row, loss.left) for loss in losses([finished], tmp_path) if loss.board == "mine"] == [
        ("b16-None-0-1000", 0), (f"{build_table('mine', tmp_path).courses[0].title}, 1,000 samples", 0),
    ]  # fmt: skip
    finished.path.unlink()
    table = build_table("mine", tmp_path)
    assert table.measured and "No finished model is measured: one training on the way" in opening(table)[0]
    assert "No finished model" in (render_board("mine", tmp_path, tmp_path / "r").files[0]).read_text()


def test_trainings_that_differ_in_their_mix_alone_share_a_section(tmp_path):
    board(tmp_path, ALONG)
    for p in (0.0, 0.5):
        train(tmp_path, p, stages=(250,))
    train(tmp_path, 1.0, total=2000)
    table = build_table("mine", tmp_path)
    run = "b16, {} samples seen, bf16, training data " + RUN["train_data"][:8]
    render_board("mine", tmp_path, tmp_path / "r")
    text, page = (tmp_path / "r" / "mine.md").read_text(), (tmp_path / "r" / "mine.html").read_text()
    for told in (text, page, terminal(table), latex(table)):
        lines = [line for line in told.replace("\\_", "_").splitlines() if "On the way: " in line]
        titles = dict.fromkeys(line.partition("On the way: ")[2][: len(run)] for line in lines)  # a page says each twice
        assert [*titles] == [run.format("1,000")[: len(run)], run.format("2,000")[: len(run)]]
    labels = ("p = 0, 250 samples", "p = 0, 1,000 samples", "p = 0.5, 250 samples", "p = 0.5, 1,000 samples", "250 samples")
    assert all(f"| {label} |" in text for label in labels)
