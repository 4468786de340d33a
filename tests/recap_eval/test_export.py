"""Boards and models in the forms of others, read back by others' readers where there are any."""

import io
import re

import pandas as pd
import pytest
from records import RUN, put, scores
from support import assert_two_line_error, recap

from recap_eval.leaderboard import build_table
from recap_eval.report.card import card
from recap_eval.report.latex import SPECIAL, escape, latex
from recap_eval.report.text import records
from recap_eval.subjects import find_subjects


@pytest.fixture
def place(tmp_path):
    for p, right in ((0.0, 10), (1.0, 30)):
        for seed in (0, 1):
            values = {"acc1": scores([1.0] * (right + seed) + [0.0] * (40 - right - seed))}
            put(
                tmp_path,
                "scenes-zeroshot",
                f"m_{p:g}&{seed}",
                values,
                meta=RUN | {"p_original": p, "seed": seed, "mix": "draw"},
            )
    return tmp_path


def export(place, *words):
    return recap("recap-eval", "export", *words, "--leaderboards", place)


def test_a_hub_reader_reads_the_card(place):
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import ModelCard

    (subject,) = find_subjects(["m_1&0"], place)
    data = ModelCard(card(subject)).data
    assert isinstance(data, ModelCardData)
    (found,) = data.eval_results
    assert found.metric_type == "acc1" and found.metric_value == 30 / 40 and found.dataset_type == "scenes-zeroshot"
    assert found.dataset_revision == "d" * 64 and found.metric_args["n"] == 40


def test_partial_results_stand_in_no_card(place):
    put(place, "scenes-long", "m_1&0", {"i2t_r1": scores([1.0, 0.0])}, limit=2, meta=RUN | {"p_original": 1.0, "seed": 0})
    assert "scenes-long" not in card(find_subjects(["m_1&0"], place)[0])


def test_every_figure_is_in_the_parquet_and_printed_ones_are_marked(place, tmp_path):
    done = export(place, "board", "clip-mix", "--to", tmp_path / "b.parquet")
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "b.parquet")
    expected = records(build_table("clip-mix", place))
    assert len(found) == len(expected) == 60 and set(found["kind"]) == {"published"}
    assert found["value"].tolist() == [record["value"] for record in expected]


def test_csv_goes_to_the_terminal(place):
    found = pd.read_csv(io.StringIO(export(place, "board", "clip").stdout))
    assert found["value"].tolist() == pytest.approx([21 / 80, 61 / 80], rel=1e-5)


def test_latex_has_the_figures_in_even_columns(place):
    text = latex(build_table("clip", place))
    rows = re.findall(r"^(.*) \\\\$", text, re.MULTILINE)
    assert len({line.count(" & ") for line in rows}) == 1 and len(rows) == 3
    assert r"\textbf{76.2}" in text and r"$\pm$" in text and text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert "not run" in text


def test_printed_figures_are_in_italics_and_said_to_be_printed(tmp_path):
    text = latex(build_table("clip-mix", tmp_path))
    assert r"\textit{69.7}" in text and "not measured here" in text


def test_no_letter_of_a_name_is_a_command():
    hostile = "".join(SPECIAL) + "\\input{/etc/passwd} \x00\u202e"
    shown = escape(hostile)
    assert "\\input" not in shown and "\x00" not in shown and "\u202e" not in shown
    plain = re.sub(r"\\text[a-z]+\{\}|\$[^$]*\$|\\[{}$&#_%]", "", shown)
    assert not set(plain) & set("\\{}$&#_%^~")


def test_wrong_words_are_told(place, tmp_path):
    assert_two_line_error(export(place, "board", "clop"), 2, "clip")
    assert_two_line_error(export(place, "board", "clip", "--to", tmp_path / "b.xlsx"), 2, "none of the endings")
    assert_two_line_error(export(place, "model", "nobody"), 2, "nobody")
    assert export(place, "board", "clip", "--to", tmp_path / "no" / "b.csv").returncode == 2
