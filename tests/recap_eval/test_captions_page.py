"""A page to look through captions: which rows, what is said of each, with and without images, hostile text."""

import json
import re

import pytest
from pictured import as_shards, text, write_captions
from records import put_captions, scores
from support import assert_two_line_error, foreign, recap

from recap_eval.captions.sample import Drawn, Sample
from recap_eval.gallery.captions import MISSING, MORE, Row, choose, counted, find_scores, rows_of_texts
from recap_eval.report.captions_page import named
from recap_eval.results import read_results

HOSTILE = "<script>document.title='taken'</script> & <img src=x onerror=alert(1)> \x1b[31m"


def row(name, *flags):
    return Row(name, None, ("a",) * len(flags), tuple(flags))


def drawn(*rows, size=4):
    """A sample that saw more than it kept if `size` says so."""
    found = Sample(size)
    found.seen, found.drawn = size + (len(rows) == size), [Drawn(rank, f"k{rank}", text) for rank, text in rows]
    return found


def whole(*rows):
    found = drawn(*rows)
    found.seen = len(rows)
    return found


def test_the_first_rows_and_some_of_each_flag_after_them():
    rows = [row(f"plain{n}", (), ()) for n in range(5)] + [row(f"r{n}", ("refusal",), ()) for n in range(30)]
    rows += [row("late", (), ("copied", "refusal"))]
    names = [one.name for one in choose(rows, 3)]
    assert names == ["plain0", "plain1", "plain2", *(f"r{n}" for n in range(MORE)), "late"]
    assert choose(rows, 100) == rows and choose([], 3) == []
    assert counted(rows, 0) == {"refusal": 30} and counted(rows, 1) == {"copied": 1, "refusal": 1}


def test_rows_of_texts_end_where_a_sample_that_left_captions_out_ends():
    ours = drawn((1, "a"), (2, "b c d."), (5, "e"), (9, "f"))
    theirs = drawn((1, "alt"), (3, "x"), (4, "y"), (6, "z"))
    found = rows_of_texts([ours, theirs])
    assert [one.name for one in found] == ["k1", "k2", "k3", "k4", "k5", "k6"]
    assert found[1].texts == ("b c d.", None) and found[1].flags[1] == (MISSING,)
    assert [one.name for one in rows_of_texts([whole((1, "a")), theirs])][-1] == "k6"
    assert rows_of_texts([whole(), whole()]) == []


def test_flags_are_those_of_the_definition_and_only_captions_copy():
    (found,) = rows_of_texts([whole((1, "a red square on grass.")), whole((1, "a red square on grass."))])
    assert found.flags == (("copied",), ())


def test_scores_are_of_these_captions_only(tmp_path):
    put_captions(tmp_path, "web", "re", "captions-clip", {"clip_cosine": scores([0.2, 0.4])}, revision="mine")
    put_captions(tmp_path, "web", "re", "captions-clip", {"clip_cosine": scores([0.9])}, revision="other")
    put_captions(tmp_path, "web", "re", "captions-judge@gpt", {"rating": scores([4, 5])}, revision="mine")
    put_captions(tmp_path, "web", "re", "captions-length", {"words": scores([4, 5])}, revision="mine")
    found = {one.label: one.values for one in find_scores(read_results(tmp_path), "web:re", "mine")}
    assert found == {"CLIP cosine": {"i0": 0.2, "i1": 0.4}, "rating (1-5) by gpt": {"i0": 4.0, "i1": 5.0}}


@pytest.fixture
def shards(tmp_path):
    return as_shards(tmp_path / "shards", range(30))


def look(tmp_path, *words):
    return recap(
        "recap-eval", "captions", "--column", "json:re_caption", "--against", "json:org_caption", "--metrics", "length",
        "--out", tmp_path / "lb", "--cache", tmp_path / "cache", *words, "--page", tmp_path / "page.html",
    )  # fmt: skip


def test_the_command_shows_images_and_both_captions(tmp_path, shards):
    done = look(tmp_path, "--captions", shards, "--page-rows", "5")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    cards = page.split('<li class="card')[1:]
    assert "5 rows drawn at random of 30" in page and len(cards) >= 5 and page.count("data:image/jpeg") == len(cards)
    for card in cards:
        number = int(re.search(r"</?h2>\d+\. k(\d+)<", card)[1])
        assert text(number) in card and card.index(text(number, "alt")) < card.index(text(number) + "</bdi>")
    assert str(tmp_path) not in page and "Page: " in done.stderr


def test_captions_in_parquet_have_no_images_and_it_says_so(tmp_path):
    files = write_captions(tmp_path / "a.parquet", range(6), re_caption=[HOSTILE, None, " ", *map(text, range(3, 6))])
    done = recap(
        "recap-eval", "captions", "--captions", files, "--column", "re_caption", "--metrics", "length", "--out", tmp_path,
        "--page", tmp_path / "p.html", "--json",
    )  # fmt: skip
    page = (tmp_path / "p.html").read_text()
    assert json.loads(done.stdout)["page"].endswith("p.html")
    assert "No image is at hand" in page and "<img" not in foreign(page) and "<script" not in foreign(page)
    assert "&lt;script&gt;" in page and "\x1b" not in page and "\\x1b[31m" in page


def test_images_from_elsewhere(tmp_path, shards):
    files = write_captions(tmp_path / "a.parquet", range(12))
    words = ("recap-eval", "captions", "--captions", files, "--column", "re_caption", "--metrics", "length", "--out", tmp_path)
    assert recap(*words, "--images", shards, "--page", tmp_path / "p.html").returncode == 0
    assert (tmp_path / "p.html").read_text().count("data:image/jpeg") == 12
    assert_two_line_error(recap(*words, "--images", shards), 2, "--images is given")


def test_many_images_lie_beside_the_page_and_are_lazy(tmp_path, shards, monkeypatch):
    monkeypatch.setattr("recap_eval.report.captions_page.EMBEDDED", 10)
    assert look(tmp_path, "--captions", shards).returncode == 0
    page = (tmp_path / "page.html").read_text()
    sources = re.findall(r'<img src="([^"]+)"[^>]* loading="lazy"', page)
    assert len(sources) == 30 and all((tmp_path / source).is_file() for source in sources)


def test_wrong_requests_are_refused_before_anything_is_counted(tmp_path, shards):
    words = ("recap-eval", "captions", "--captions", shards, "--column", "json:re_caption", "--out", tmp_path)
    assert_two_line_error(recap(*words, "--page", tmp_path / "page.txt"), 2, "is no name of a page")
    assert_two_line_error(recap(*words, "--page", tmp_path / "p.html", "--shard", "0/2"), 2, "no page")
    assert not (tmp_path / "results").exists()


def test_an_unreadable_image_is_a_grey_field(tmp_path):
    from recap_eval.data.items import FileImage
    from recap_eval.gallery.captions import Captions
    from recap_eval.report.captions_page import write_captions_page

    (tmp_path / "bad.jpg").write_bytes(b"no image")
    rows = (Row("k", FileImage("k", tmp_path / "bad.jpg"), ("a b c.",), ((),)),)
    written = write_captions_page(tmp_path / "p.html", Captions("x", ("c",), ("r",), rows, 1, 1, 1, ({},), ((),)))
    page = written.path.read_text()
    assert written.unread == 1 and 'class="lost"' in page and "1 images cannot be read" in page


def test_flags_in_words():
    assert [named(one) for one in (MISSING, "prompt_echo")] == ["no caption", "prompt echo"]
