"""Published figures stand beside measured ones: as printed, with their source, in no statistic."""

import csv
import io
import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from records import RUN, put, scores
from support import assert_two_line_error, foreign, recap

from recap_eval.board import Column, board_files, comparable, load_board
from recap_eval.commands.clip import report_after
from recap_eval.errors import DataError
from recap_eval.leaderboard import build_table
from recap_eval.published import load_published, published_files, read_source
from recap_eval.report.cells import published_grid
from recap_eval.report.plots.over_axis import DRAWINGS, curves
from recap_eval.report.render import boards_of, check_board, render_board

NOWHERE = Path("/nowhere")
WEB = ("clip-long", "clip-mix", "clip-mix-large-text", "clip-text-encoder")
DRAWN = ("dit-mix", "dit-scale")
COLUMNS = [("imagenet1k", "acc1"), ("coco-retrieval", "i2t_r1"), ("coco-retrieval", "t2i_r1")]
COLUMNS += [("flickr30k-retrieval", "i2t_r1"), ("flickr30k-retrieval", "t2i_r1")]


def printed(table, label, columns=tuple(COLUMNS)):
    """Return a row's figures as the paper prints them."""
    (row,) = [row for row in load_published(f"recap-datacomp-1b:{table}", NOWHERE).rows if row.label == label]
    return [f"{100 * row.values[column]:.1f}" for column in columns]


def test_figures_are_the_papers():
    """Typed by hand from a transcription of v2's tables, not from the file under test."""
    assert printed("clip_mix", "p = 0") == ["36.0", "53.0", "34.1", "74.1", "53.5"]
    assert printed("clip_mix", "p = 0.8") == ["69.2", "61.5", "42.2", "85.2", "66.9"]
    assert printed("clip_mix", "p = 1") == ["69.7", "57.3", "37.7", "84.2", "63.0"]
    assert printed("clip_mix", "concat") == ["43.3", "57.8", "35.6", "80.2", "56.4"]
    assert printed("clip_mix_large_text", "p = 0.6") == ["69.2", "64.4", "43.2", "87.5", "68.8"]
    assert printed("clip_text_encoder", "L/16, H text, p = 0.8") == ["74.2", "66.0", "46.6", "89.9", "72.7"]
    assert printed("clip_text_encoder", "S/16, S text, p = 1") == ["60.7", "49.2", "30.1", "73.5", "53.3"]
    long = (("urban1k", "i2t_r1"), ("urban1k", "t2i_r1"), ("vg-attribution", "macro"))
    assert printed("clip_long", "Recap-CLIP L/16, recaptioned", long) == ["89.0", "91.8", "66.8"]
    assert printed("clip_long", "OpenAI CLIP B/16", long) == ["67.4", "53.3", "62.6"]
    rows = {row.label: row for row in load_published("recap-datacomp-1b:captions", NOWHERE).rows}
    assert [rows[name].figure("captions-length", "words") for name in ("original", "recaption")] == [10.22, 49.43]
    assert rows["recaption"].figure("captions-vocabulary", "union_share") == 0.8286
    captioners = (("mmmu", "acc"), ("mm-vet", "grade"))
    assert printed("captioner", "LLaVA-1.5-LLaMA3-8B, v2", captioners) == ["45.2", "37.8"]
    assert printed("captioner", "LLaVA-1.5-LLaMA3-8B, later text", captioners) == ["37.5", "36.5"]
    assert printed("captioner", "LLaVA-1.5-13B", captioners) == ["36.4", "36.3"]


def test_tables_are_whole_and_agree_where_they_repeat_a_run():
    tables = read_source(published_files(NOWHERE)["recap-datacomp-1b"])
    assert {name: len(table.rows) for name, table in tables.items()} == {
        "captioner": 5, "clip_mix": 12, "clip_text_encoder": 9, "clip_mix_large_text": 4, "clip_long": 6, "captions": 2,
        "dit_mix": 8, "dit_scale": 2,
    }  # fmt: skip
    places = ["Table 1", "Table 3", "Table 4", "Table 5", "Table 6", "Section 4", "Table 7", "Section 6"]
    assert [table.place for table in tables.values()] == [f"v2 {place}" for place in places]
    assert [row.place("p_original") for row in tables["clip_mix"].rows] == [*(round(0.1 * i, 1) for i in range(11)), None]
    assert tables["clip_mix"].rows[-1].meta["mix"] == "concat"
    assert printed("clip_mix", "p = 0.8") == printed("clip_text_encoder", "B/16, B text, p = 0.8")
    assert printed("clip_mix", "p = 1") == printed("clip_text_encoder", "B/16, B text, p = 1")
    assert printed("clip_mix_large_text", "p = 0.8") == printed("clip_text_encoder", "B/16, L text, p = 0.8")


def drawn(table):
    """Return a table of generated images as it is shown, by row."""
    head, *rows = published_grid(build_table(table, NOWHERE), build_table(table, NOWHERE).published[0])
    return head, {label: cells for label, *cells in rows}


def test_figures_of_generated_images_are_the_papers():
    """Typed by hand from a transcription of v2's Table 7 and section 6: FID, CLIP | FID, CLIP, Recap-CLIP, GPT-4V."""
    head, rows = drawn("dit-mix")
    assert head == [
        "p",
        "raw FID ↓",
        "raw CLIP score",
        "recap FID ↓",
        "recap CLIP score",
        "recap Recap-CLIP score",
        "recap GPT-4V rating",
    ]
    assert rows == {
        "0": ["37.6", "29.2", "27.8", "32.5", "28.3", "2.53"], "0.05": ["38.5", "29.1", "27.9", "32.5", "28.0", "2.51"],
        "0.1": ["36.0", "29.7", "27.2", "32.7", "28.2", "2.51"], "0.15": ["35.8", "29.9", "28.2", "33.0", "28.1", "2.45"],
        "0.2": ["35.8", "29.8", "28.4", "32.7", "28.0", "2.53"], "0.5": ["35.3", "29.3", "30.2", "31.9", "26.7", "2.13"],
        "0.75": ["31.3", "29.4", "32.7", "31.2", "25.8", "1.89"], "1": ["32.5", "28.9", "36.2", "29.3", "19.9", "1.40"],
    }  # fmt: skip
    _, scale = drawn("dit-scale")
    assert scale == {"DiT-B/4, p = 0": rows["0"], "DiT-L/2, p = 0": ["–", "–", "25.14", "34.82", "–", "–"]}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_of_generated_images_say_their_scale(name, tmp_path):
    render_board(name, tmp_path / "lb", tmp_path)
    text = (tmp_path / f"{name}.md").read_text()
    assert "unscaled (raw FID, recap FID, recap GPT-4V rating); × 100 (raw CLIP score," in text and "±" not in text
    assert "`recap-eval t2i --model M --suite paper --images DIR`" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / f"{name}.csv").read_text())))
    units = {(row["label"], row["data"]): (row["unit"], row["table_scale"], row["higher_is_better"]) for row in rows}
    assert units["recap FID", "recap-coco-30k-recap"] == ("distance", "1.0", "False")
    assert units["raw CLIP score", "recap-coco-30k-raw"] == ("cosine", "100.0", "True")
    assert {row["value"] for row in rows if row["label"] == "raw FID"} >= {"37.6"}


@pytest.mark.parametrize("name", WEB)
def test_every_shipped_row_fills_every_column_of_its_board(name):
    board = load_board(name, NOWHERE)
    for reference in board.published:
        for row in load_published(reference, NOWHERE).rows:
            assert {(column.task, column.metric) for column in board.columns} == row.values.keys()


def test_without_a_result_the_published_rows_render_and_nothing_is_claimed(tmp_path):
    render_board("clip-mix", tmp_path / "lb", tmp_path / "rep")
    made = {path.suffix for path in (tmp_path / "rep").iterdir()}
    assert made == {".md", ".csv", ".html", ".svg", ".png"}
    text, page = ((tmp_path / "rep" / f"clip-mix.{end}").read_text() for end in ("md", "html"))
    for content in (text, page):
        assert "No measured result yet" in content and "https://arxiv.org/abs/2406.08478" in content
        assert "no error was published" in content and "single training seed" in content
        assert "separable" not in content and "±" not in content and 'class="best"' not in content
        assert "recap-eval clip --model M --tasks imagenet1k,coco-retrieval,flickr30k-retrieval" in content
    assert "| 0.8 | _69.2_ | _61.5_ | _42.2_ | _85.2_ | _66.9_ |" in text and "| concat | _43.3_ |" in text
    assert check_board("clip-mix", tmp_path / "lb", tmp_path / "rep") is None


def test_a_board_without_an_axis_has_no_plot(tmp_path):
    render_board("clip-long", tmp_path / "lb", tmp_path / "rep")
    assert {path.suffix for path in (tmp_path / "rep").iterdir()} == {".md", ".csv", ".html"}
    assert "| Recap-CLIP B/16, recaptioned | _85.0_ | _87.3_ | _66.4_ |" in (tmp_path / "rep" / "clip-long.md").read_text()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Mixes far below the paper's, two seeds each, and a model of somebody else's."""
    root, rng = tmp_path_factory.mktemp("measured"), np.random.default_rng(0)
    for p in (0.0, 0.8, 1.0):
        for seed in (0, 1):
            meta = RUN | {"p_original": p, "seed": seed}
            put(root, "imagenet1k", f"b16-p{p:g}-s{seed}", {"acc1": scores(rng.random(60) < 0.1 + 0.1 * p)}, meta=meta)
    put(root, "imagenet1k", "ViT-B-16/openai", {"acc1": scores(rng.random(60) < 0.5)})
    return root


def statistics(table):
    cells = [(row.label, number, cell) for row in table.sweeps[0].rows for number, cell in row.cells.items()]
    return [(label, number, cell.estimate, cell.best, cell.tied, cell.to_baseline) for label, number, cell in cells]


def test_published_rows_are_in_no_statistic(measured, tmp_path):
    alone = (board_files(NOWHERE)["clip-mix"]).read_text().replace("published =", "# published =")
    (tmp_path / "mine.toml").write_text(alone)
    (tmp_path / "results").symlink_to(measured / "results")
    ours, bare = build_table("clip-mix", measured), build_table("mine", tmp_path)
    assert statistics(ours) == statistics(bare)
    assert len(ours.published) == 1 and not bare.published and ours.groups[0].rows[0].label == "ViT-B-16/openai"


def test_csv_tells_published_from_measured(measured, tmp_path):
    render_board("clip-mix", measured, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "clip-mix.csv").read_text())))
    kinds = [row["kind"] for row in rows]
    assert kinds.count("measured") == 4 and kinds.count("published") == 12 * 5
    for row in rows:
        if row["kind"] == "published":
            assert row["source"] == "https://arxiv.org/abs/2406.08478 v2 Table 3"
            assert not any(row[name] for name in ("low", "high", "n", "best", "tied_with_best", "delta", "seeds"))
        else:
            assert row["n"] == "60" and row["low"] and not row["source"]
    concat = [row for row in rows if row["row"] == "concat"]
    assert len(concat) == 5 and all(row["p_original"] == "" for row in concat)


def test_page_and_plot_keep_them_apart(measured, tmp_path):
    render_board("clip-mix", measured, tmp_path)
    page = (tmp_path / "clip-mix.html").read_text()
    section = re.search(r'<section class="published">.*?</section>', page, re.S).group()
    assert "Published: v2 Table 3" in section and "69.2" in section and 'class="best"' not in section and "±" not in section
    assert "No measured result yet" not in page and "<script" not in foreign(page)
    table = build_table("clip-mix", measured)
    sweeps, groups = curves(table)
    assert len(sweeps) == 1 and len(groups) == 1
    (plot,) = DRAWINGS
    kinds = [[curve["kind"] for curve in panel["curves"] if curve["points"]] for panel in plot.find(table)["panels"]]
    assert kinds[0] == ["measured", "published"] and kinds[-1] == ["published"]
    assert plot.digest(plot.find(table)) in (tmp_path / "clip-mix.svg").read_text()


def test_the_plot_draws_published_figures_hollow_dashed_and_without_a_band():
    from matplotlib.figure import Figure

    (plot,), figure = DRAWINGS, Figure()
    plot.paint(figure, plot.find(build_table("clip-mix", NOWHERE)))
    axis = figure.axes[0]
    line, felt = axis.lines
    assert line.get_markerfacecolor() == "white" and line.get_linestyle() == "--" and not axis.collections
    assert line.get_label() == "published (v2 Table 3)" and felt.get_alpha() == 0
    assert [round(y, 1) for y in line.get_ydata()][-3:] == [69.2, 69.2, 69.7] and list(line.get_xdata())[:2] == [0.0, 0.1]


def own(root, name="mine", **changes):
    """Write a source beside results; `changes` replace its fields."""
    row = {"label": "r", "meta": {"p_original": 0.5}, "values": {"imagenet1k": {"acc1": 0.5}}}
    record = {"schema_version": 1, "kind": "published", "title": "T", "url": "https://example.org", "version": "v1"}
    record |= {"tables": {"t": {"caption": "Table 1", "rows": [row]}}} | changes
    (root / "published").mkdir(parents=True, exist_ok=True)
    (root / "published" / f"{name}.json").write_text(json.dumps(record))


def test_a_users_source_adds_and_comes_first(tmp_path):
    own(tmp_path)
    assert set(published_files(tmp_path)) == {"mine", "recap-datacomp-1b"}
    assert load_published("mine:t", tmp_path).rows[0].values == {("imagenet1k", "acc1"): 0.5}
    own(tmp_path, "recap-datacomp-1b")
    with pytest.raises(DataError, match="clip_mix"):
        load_published("recap-datacomp-1b:clip_mix", tmp_path)


def table_of(value, **more):
    return {"tables": {"t": {"caption": "Table 1", "rows": [{"label": "r", "values": {"coco": {"fid": value}}}]} | more}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "result"}, "does not hold published figures"),
        ({"schema_version": 2}, "schema version 2"),
        ({"url": "javascript:alert(1)"}, "not an https address"),
        (table_of(27.8), r"Table 1, r, coco/fid is 27.8: not a share"),
        (table_of("27.8"), "not a number"),
        (table_of(float("nan")), "not a number"),
        (table_of(True), "not a number"),
        ({"tables": {"t": {"rows": []}}}, "'caption' is missing"),
        ({"tables": []}, "mine.json"),
        (table_of(0.5, notes="one"), "list of sentences"),
    ],
)
def test_damaged_sources_are_named(tmp_path, changes, message):
    own(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_published("mine:t", tmp_path)
    assert "mine.json" in caught.value.what


def test_figures_that_are_no_shares_fit_if_they_are_named(tmp_path):
    own(tmp_path, **table_of(27.8, not_shares=["fid"]))
    (row,) = load_published("mine:t", tmp_path).rows
    assert row.values == {("coco", "fid"): 27.8}
    assert row.figure("coco", "fid") == 27.8 and row.figure("coco", "fid", "val") is None


def test_hostile_labels_are_text(tmp_path):
    row = {"label": "<script>x</script>|", "values": {"imagenet1k": {"acc1": 0.5}}}
    own(tmp_path, tables={"t": {"caption": "Table 1", "notes": ["<b>"], "rows": [row]}})
    toml = board_files(NOWHERE)["clip-text-encoder"].read_text()
    (tmp_path / "mine.toml").write_text(toml.replace("recap-datacomp-1b:clip_text_encoder", "mine:t"))
    render_board("mine", tmp_path, tmp_path / "rep")
    page = (tmp_path / "rep" / "mine.html").read_text()
    assert "<script" not in foreign(page) and "<b>" not in page and "&lt;script&gt;" in page
    assert r"</script>\|" in (tmp_path / "rep" / "mine.md").read_text()


def test_a_board_that_asks_for_nothing_there_is_told_the_nearest(tmp_path):
    toml = board_files(NOWHERE)["clip-mix"].read_text()
    (tmp_path / "mine.toml").write_text(toml.replace(":clip_mix", ":clip_mx"))
    done = recap("recap-eval", "report", "mine", "--leaderboards", tmp_path, "--out", tmp_path / "rep")
    assert_two_line_error(done, 1, "recap-datacomp-1b:clip_mx", "'recap-datacomp-1b:clip_mix'")


def test_all_boards_are_rendered_and_those_without_a_row_are_told(tmp_path):
    done = recap("recap-eval", "report", "--leaderboards", tmp_path / "lb", "--out", tmp_path / "rep")
    assert done.returncode == 0 and "clip: passed over" in done.stderr
    assert {path.stem for path in (tmp_path / "rep").glob("*.md")} == {*WEB, *DRAWN, "captions", "captioner"}
    check = recap("recap-eval", "report", "--check", "--leaderboards", tmp_path / "lb", "--out", tmp_path / "rep")
    assert check.returncode == 0 and check.stdout.startswith("up to date: captioner, captions, clip-long")
    (tmp_path / "rep" / "clip.md").write_text("old")
    stale = recap("recap-eval", "report", "--check", "--leaderboards", tmp_path / "lb", "--out", tmp_path / "rep")
    assert_two_line_error(stale, 1, "holds no result for board 'clip'")


def test_after_a_measurement_every_board_of_its_tasks_is_rendered(measured, tmp_path, capsys):
    some = [("urban1k", {}), ("vg-attribution", {})]
    assert boards_of(some, NOWHERE) == {"clip-long": {"urban1k", "vg-attribution"}}
    worlds = [("scenes-long", {"facts": {"alt_noise": 0.4, "recaption_error": 0.0}})]
    assert boards_of(worlds, NOWHERE) == {"best-mix": {"scenes-long"}}
    assert boards_of([("scenes-long", {})], NOWHERE).keys() == {"clip"}
    args = Namespace(out=measured, reports=tmp_path, json=False)
    report_after(args, [Namespace(task=task, meta={}) for task in ("imagenet1k", "scenes-long", "sugarcrepe")])
    boards = {path.stem for path in tmp_path.glob("*.md") if not path.stem.endswith("-records")}
    assert boards == {"clip-mix", "clip-mix-large-text", "clip-text-encoder"}
    told = capsys.readouterr()
    assert told.out.count("Report: ") == 3
    assert "clip: not rendered" in told.err and "No board shows sugarcrepe" in told.err


def test_a_column_may_pin_settings_and_data(tmp_path):
    values = {"acc1": scores([1, 0, 1])}
    many = [put(tmp_path, "t", f"m{i}", values, settings={"templates": "simple-1"}) for i in range(3)]
    few = put(tmp_path, "t", "m9", values, settings={"templates": "openai-80"}, fingerprint="e" * 64)
    limited = put(tmp_path, "t", "m8", values, settings={"templates": "openai-80"}, limit=2)
    results = [*many, few, limited]
    kept, left = comparable(results, Column("t", 1, "acc1", "T"))
    assert kept == many and "settings.templates is openai-80, not simple-1" in left[0] and "part of the items only" in left[1]
    kept, left = comparable(results, Column("t", 1, "acc1", "T", {"templates": "openai-80"}, "eeee"))
    assert kept == [few] and len(left) == 4 and "settings.templates is simple-1, not openai-80" in left[0]
    kept, left = comparable(results, Column("t", 1, "acc1", "T", {}, "abc"))
    assert kept == [] and "data is dddddddddddd…, not abc" in left[0]
    assert comparable(results, Column("t", 2, "acc1", "T"))[0] == []
