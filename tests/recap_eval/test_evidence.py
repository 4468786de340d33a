"""The records behind a board's figures: found, told whole, and honest about what is not there."""

import json
import re
import shutil

import pytest
from records import RUN, put, put_drawn, scores

from recap_eval.leaderboard import build_table
from recap_eval.models.base import ModelId
from recap_eval.report.cells import coded, escaped
from recap_eval.report.evidence import LOST, NO_ITEMS, anchor, sections
from recap_eval.report.render import check_board, render_board
from recap_eval.tasks.base import Scores

HOSTILE = "x`<script>alert(1)</script>|[a](javascript:b)"


def two_seeds(root):
    for p in (0.0, 1.0):
        for seed in (0, 1):
            values = {"acc1": scores([seed, 1, 0, 1, 1, p])}
            put(root, "scenes-zeroshot", f"m-{p}-{seed}", values, meta=RUN | {"p_original": p, "seed": seed})
    return root


def change(path, edit):
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def rendered(root):
    render_board("clip", root, root / "reports")
    return {path.name: path.read_text() for path in (root / "reports").glob("*.[mh]*")}


def test_every_record_is_told_once_with_its_own_figure(tmp_path):
    found = sections(build_table("clip", two_seeds(tmp_path)))
    assert [one.title for one in found] == ["p = 0: scenes-zeroshot", "p = 1: scenes-zeroshot"]
    entries = [entry for one in found for entry in one.entries]
    assert [entry.name for entry in entries] == ["seed 0", "seed 1"] * 2
    values = [entry.result.record["metrics"]["acc1"]["value"] for entry in entries]
    assert [entry.figures[0][1].split()[0] for entry in entries] == [f"{100 * value:.1f}" for value in values]


def test_what_seeds_share_is_said_once_and_what_not_each(tmp_path):
    facts = {fact.name: fact.texts for fact in sections(build_table("clip", two_seeds(tmp_path)))[0].facts}
    assert facts["Fingerprint"] == (("", "d" * 64),)
    assert "samples_seen 1000" in facts["Made"][0][1] and "seed 0" not in facts["Made"][0][1]
    assert facts["Made apart"] == (("seed 0", "seed 0"), ("seed 1", "seed 1"))
    assert "tie_rule expectation" in facts["Protocol"][0][1] and "Command" not in facts  # these tests typed none


def test_links_of_the_pages_lead_to_files_and_marks(tmp_path):
    files = rendered(two_seeds(tmp_path))
    for name in ("clip-records.md", "clip-records.html"):
        links = re.findall(r'(?:href="|\]\()([^")]+\.(?:json|parquet))', files[name])
        assert len(links) == 2 * 4 and all((tmp_path / "reports" / link).resolve().is_file() for link in links)
        assert str(tmp_path) not in files[name]
    marks = set(re.findall(r'id="([^"]+)"', files["clip-records.html"]))
    for name, kind in (("clip.md", "md"), ("clip.html", "html")):
        asked = re.findall(rf"clip-records\.{kind}#([^)\"]+)", files[name])
        assert asked and set(asked) <= marks


def test_items_are_the_first_of_the_file(tmp_path):
    section = sections(build_table("clip", two_seeds(tmp_path)))[1]
    assert section.items_note == "The first 5 of 6 values:" and section.items[0] == ("metric", "item", "cluster", "value")
    assert [line[3] for line in section.items[1:]] == ["0", "1", "0", "1", "1"]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no parquet")])
def test_items_that_are_lost_or_changed_are_not_shown(tmp_path, damage):
    root = two_seeds(tmp_path)
    damage(next(root.glob("results/m-0.0-0-*/*.parquet")))
    first, second = sections(build_table("clip", root))
    assert first.items == () and first.items_note == LOST and second.items


def test_a_figure_of_the_whole_has_no_items(tmp_path):
    put_drawn(tmp_path, "fid", ModelId("m", "r", {}), Scores({}, corpus={"fd": 30.0}), prompts="recap-coco-30k-recap")
    (section,) = sections(build_table("dit-mix", tmp_path))
    assert section.items == () and section.items_note == NO_ITEMS
    assert section.entries[0].figures == (("recap FID", "30.00"),)


def test_drift_of_the_records_is_found(tmp_path):
    root = two_seeds(tmp_path)
    rendered(root)
    assert check_board("clip", root, root / "reports") is None
    change(next(root.glob("results/m-0.0-1-*/*.json")), lambda one: one["run"].update(command="recap-eval clip --model other"))
    assert re.search(r"clip-records\.md:\d+ does not follow", check_board("clip", root, root / "reports"))


def test_pages_of_failures_are_linked_where_they_are(tmp_path):
    root = two_seeds(tmp_path)
    assert ">failures</a>" not in rendered(root)["clip-records.html"]
    name = anchor(sections(build_table("clip", root))[0].entries[0].result)
    page = root / "reports" / "failures" / f"{name}.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>x</p>")
    files = rendered(root)
    assert f'href="failures/{name}.html">failures</a>' in files["clip-records.html"]
    assert f"[failures](failures/{name}.html)" in files["clip-records.md"]


def test_hostile_text_is_text(tmp_path):
    root = two_seeds(tmp_path)
    for path in root.rglob("*.json"):
        change(path, lambda one: one["run"].update(command=HOSTILE) or one["model"].update(name=HOSTILE))
    files = rendered(root)
    assert "<script>alert" not in files["clip-records.html"] and "&lt;script&gt;alert" in files["clip-records.html"]
    assert f"- Command: `` {HOSTILE} ``" in files["clip-records.md"]
    outside = re.sub(r"``.*?``", "", files["clip-records.md"])
    assert "<script" not in outside.replace("\\<script", "") and "[a]" not in outside


def test_only_one_seed_and_no_seed(tmp_path):
    root = two_seeds(tmp_path)
    for folder in root.glob("results/m-*-1-*"):
        shutil.rmtree(folder)
    put(root, "scenes-zeroshot", "theirs", {"acc1": scores([1, 0])}, meta={})
    found = sections(build_table("clip", root))
    assert [(one.title, [entry.name for entry in one.entries]) for one in found] == [
        ("p = 0: scenes-zeroshot", ["seed 0"]), ("p = 1: scenes-zeroshot", ["seed 0"]),
        ("theirs: scenes-zeroshot", ["theirs"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"), [("plain", "`plain`"), ("a`b", "`` a`b ``"), ("```", "```` ``` ````"), ("two\nlines", "`two lines`")]
)
def test_code_holds_its_backticks(text, shown):
    assert coded(text) == shown


def test_other_peoples_text_has_no_markup():
    assert escaped("a_b <i> [x](y) `c`\n# d") == "a\\_b \\<i\\> \\[x\\](y) \\`c\\` \\# d"
