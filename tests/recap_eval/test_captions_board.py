"""The captions board: a section for each data set, a row for each model that looked, and nothing across them."""

from __future__ import annotations

import csv
import io

import pytest
from records import put_captions, scores
from support import unlinked

from recap_eval.leaderboard import build_table
from recap_eval.report.render import check_board, render_board

COLUMNS = ("org_caption", "re_caption")


@pytest.fixture
def board(tmp_path):
    root = tmp_path / "lb"
    for column, words, cosine in zip(COLUMNS, ([4, 5, 6], [40, 50, 60]), ([0.2, 0.25, 0.3], [0.3, 0.3, 0.36]), strict=True):
        put_captions(root, "web", column, "captions-length", {"words": scores(words)})
        put_captions(root, "web", column, "captions-clip", {"clip_cosine": scores(cosine)}, reference="3 images of 10 rows")
        put_captions(root, "web", column, "captions-clip@mine", {"clip_cosine": scores([value / 2 for value in cosine])})
        put_captions(root, "drawn", column, "captions-length", {"words": scores(words[:2])}, reference="drawn <scenes>")
        put_captions(root, "drawn", column, "captions-clip@mine", {"clip_cosine": scores(cosine[:2])})
        put_captions(root, "drawn", column, "captions-judge@gpt", {"rating": scores([4, 5])})
    return root


def test_each_data_set_has_a_section_with_its_sets_side_by_side(board, tmp_path):
    render_board("captions", board, tmp_path / "rep")
    text = unlinked((tmp_path / "rep" / "captions.md").read_text())
    assert text.index("## drawn: drawn <scenes>") < text.index("## web: 10 rows of caption files") < text.index("## Published")
    sections = dict(zip(("head", "drawn", "web", "published"), text.split("\n## "), strict=False))
    assert "|  | web:org_caption | web:re_caption |" in sections["web"] and "drawn:" not in sections["web"]
    assert "| words (n=3) | 5.00 ± 2.48 | 50.00 ± 24.84 |" in sections["web"]
    assert "| CLIP cosine, × 100 (n=3) | 25.00 ±" in sections["web"]
    assert "| CLIP cosine by mine, × 100 (n=3) | 12.50 ±" in sections["web"]
    assert "| judge's rating by gpt (n=2) | 4.500" in sections["drawn"] and "| words (n=2) | 4.50" in sections["drawn"]
    assert "CLIP cosine, × 100 (" not in sections["drawn"] and "**" not in text
    assert "Not run:" in sections["drawn"] and "CLIP cosine; " in sections["drawn"].partition("Not run:")[2]
    assert "judge's rating by gpt; " in sections["web"].partition("Not run:")[2]
    assert check_board("captions", board, tmp_path / "rep") is None


def test_the_page_says_the_same_and_names_are_text(board, tmp_path):
    put_captions(board, "<script>x", "caption", "captions-length", {"words": scores([1, 2])})
    page = render_board("captions", board, tmp_path / "rep") and (tmp_path / "rep" / "captions.html").read_text()
    assert "<script>x" not in page and "&lt;script&gt;x:caption" in page and "drawn &lt;scenes&gt;" in page
    assert page.count("Not run:") == 3 and "each training seed" not in page
    for figure in ("25.00", "12.50", "4.500", "50.43", "89.91"):
        assert figure in page


def test_data_of_one_name_and_other_rows_is_left_out_of_its_section_only(board):
    put_captions(board, "web", "other", "captions-length", {"words": scores([1, 2, 3])}, fingerprint="of others")
    table = build_table("captions", board)
    assert [group.title.partition(":")[0] for group in table.groups] == ["drawn", "web"]
    assert [row.label for row in table.groups[1].rows] == ["web:org_caption", "web:re_caption"]
    (sentence,) = table.left_out
    assert sentence.startswith("web:other on captions-length: data is of others")


def test_sets_of_one_name_and_other_captions_have_names_of_their_own(board):
    put_captions(board, "web", "re_caption", "captions-length", {"words": scores([1, 2, 3])}, revision="f" * 64)
    labels = [row.label for row in build_table("captions", board).groups[1].rows]
    assert labels == ["web:org_caption", "web:re_caption (ffffffffffff)", "web:re_caption (rev-web-re_c)"]


def test_csv_names_sections_and_models(board, tmp_path):
    render_board("captions", board, tmp_path)
    rows = [row for row in csv.DictReader(io.StringIO((tmp_path / "captions.csv").read_text())) if row["kind"] == "measured"]
    assert {row["sweep"].partition(":")[0] for row in rows} == {"web", "drawn"} and len(rows) == 12
    assert {row["task"] for row in rows} == {"captions-length", "captions-clip", "captions-clip@mine", "captions-judge@gpt"}
    assert not any(row["best"] == "True" or row["delta"] for row in rows)


def test_published_shares_stand_under_both_readings(tmp_path):
    render_board("captions", tmp_path / "lb", tmp_path / "rep")
    text = (tmp_path / "rep" / "captions.md").read_text()
    for reading in ("softmax", "wins"):
        assert f"| CLIP two-way share ({reading}), % | _50.43_ | _49.57_ |" in text
        assert f"| LongCLIP two-way share ({reading}), % | _10.09_ | _89.91_ |" in text
    assert "the one figure stands under both" in text and "No measured result yet" in text
