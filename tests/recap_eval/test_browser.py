"""Reports in a real browser: opened from disk, sorted, filtered, dark, narrow, hostile."""

import json
import shutil
from urllib.parse import unquote

import pytest
from browser import Seen, browser
from fakes import Card
from records import RUN, put, scores

from recap_eval.findings import hold, load_findings
from recap_eval.gallery.captions import MISSING, Captions, Row, counted
from recap_eval.leaderboard import Tables
from recap_eval.report.captions_page import write_captions_page
from recap_eval.report.findings_page import findings_page, summary
from recap_eval.report.index import index_page
from recap_eval.report.render import board_names, render_board

pytestmark = [pytest.mark.browser, pytest.mark.serial]
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """All boards: one measured, of nine models and a sweep, one of which has a hostile name."""
    root = tmp_path_factory.mktemp("pages")
    for p in (0.0, 0.5, 1.0):
        for seed in (0, 1):
            right = int(10 + 20 * p + seed)
            values = {"acc1": scores([1.0] * right + [0.0] * (40 - right))}
            put(root, "scenes-zeroshot", f"m-{p}-{seed}", values, meta=RUN | {"p_original": p, "seed": seed, "mix": "draw"})
    for number in range(9):
        name = HOSTILE if number == 4 else f"model-{number}"
        values = {"acc1": scores([1.0] * (5 * number % 37) + [0.0] * (40 - 5 * number % 37))}
        put(root, "scenes-zeroshot", name if number != 4 else "hostile", values, meta={})
        if number == 4:
            (path,) = root.rglob("results/hostile*/*.json")
            record = json.loads(path.read_text())
            record["model"]["name"] = HOSTILE
            path.write_text(json.dumps(record))
    out = root / "reports"
    for name in board_names(root):
        if name in ("clip", "clip-mix"):
            render_board(name, root, out)
    tables, (source, findings) = Tables(root), load_findings()
    helds = hold(findings, tables, board_names(root))
    (out / "findings.html").write_text(findings_page(source, helds, tables))
    (out / "index.html").write_text(index_page([tables.of(name) for name in ("clip", "clip-mix")], summary(helds)))
    return out


def names(seen, table=1):
    return seen.page.locator("table").nth(table).locator("tbody tr:visible th").all_inner_texts()


def figures(seen, table=1):
    cells = seen.page.locator("table").nth(table).locator("tbody tr:visible td:nth-child(3) span:first-child").all_inner_texts()
    return [float(cell) for cell in cells]


@pytest.mark.parametrize("name", ["clip.html", "clip-records.html", "clip-mix.html", "index.html", "findings.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_an_error_and_ask_nobody(chromium, pages, name, scheme):
    with Seen(chromium, pages / name, color_scheme=scheme) as seen:
        assert seen.errors == [] and seen.elsewhere == []
        paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 24, 29)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_a_click_on_a_header_sorts_and_again_the_other_way(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        head = seen.page.locator("table").nth(1).locator("thead th").nth(2)
        head.locator("button").click()
        assert figures(seen) == sorted(figures(seen), reverse=True) and head.get_attribute("aria-sort") == "descending"
        head.locator("button").press("Enter")
        assert figures(seen) == sorted(figures(seen)) and len(figures(seen)) == 9


def test_names_sort_as_words(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        seen.page.locator("table").nth(1).locator("thead th").first.locator("button").click()
        plain = [name for name in names(seen) if name.startswith("model")]
        assert plain == sorted(plain)


def test_the_filter_leaves_rows_that_have_all_words_and_counts_them(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        seen.page.get_by_role("searchbox").fill("MODEL-7")
        assert names(seen) == ["model-7"] and "1 of 12 rows" in seen.page.locator("output").inner_text()
        seen.page.get_by_role("searchbox").fill("")
        assert len(names(seen)) == 9


def test_a_hostile_name_is_text(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        assert HOSTILE in "".join(names(seen)) and seen.page.title() != "taken"


def test_another_script_than_ours_does_not_run(chromium, pages, tmp_path):
    shutil.copytree(pages, tmp_path / "reports")
    page = tmp_path / "reports" / "clip.html"
    page.write_text(page.read_text().replace("</main>", "<script>document.title = 'taken'</script></main>"))
    with Seen(chromium, page) as seen:
        assert seen.page.title() != "taken" and any("Content Security Policy" in line for line in seen.errors)


def test_colours_can_be_chosen(chromium, pages):
    with Seen(chromium, pages / "clip.html", color_scheme="dark") as seen:
        seen.page.get_by_role("button", name="Colours").click()
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", ["clip.html", "clip-records.html", "clip-mix.html", "index.html"])
def test_a_phone_scrolls_tables_and_not_the_page(chromium, pages, name):
    with Seen(chromium, pages / name, viewport={"width": 360, "height": 740}) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_it_is_a_plain_table(chromium, pages):
    with Seen(chromium, pages / "clip.html", java_script_enabled=False) as seen:
        assert seen.page.locator("table").nth(1).locator("tbody tr").count() == 9
        assert seen.page.locator("button").count() == 0 and seen.errors == []


def test_the_keyboard_reaches_headers_and_tables(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        reached = set()
        for _ in range(60):
            seen.page.keyboard.press("Tab")
            reached.add(seen.page.evaluate("document.activeElement.closest('th, .scroll, .filter, .shade')?.className ?? ''"))
        assert {"scroll", "filter", "shade"} <= reached


def test_a_figure_is_two_clicks_from_command_data_and_items(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        links = seen.page.locator("td a")
        assert links.count() == 3 + 9
        links.first.click()
        assert "/clip-records.html#" in seen.page.url
        mark = unquote(seen.page.url.partition("#")[2])
        section = seen.page.locator("section", has=seen.page.locator(f'[id="{mark}"]'))
        assert section.locator("h2").inner_text() == "p = 0: scenes-zeroshot" and "d" * 64 in section.inner_text()
        assert section.get_by_text("The first 5 of 40 values:").is_visible()
        hrefs = section.get_by_role("link", name="record").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        assert len(hrefs) == 2
        assert all(json.loads((pages / href).read_text())["metrics"]["acc1"]["n"] == 40 for href in hrefs)
        assert seen.errors == [] and seen.elsewhere == []


def test_hostile_names_are_text_among_the_records_too(chromium, pages):
    with Seen(chromium, pages / "clip-records.html") as seen:
        assert HOSTILE in seen.page.locator("main").inner_text() and seen.page.title() != "taken" and seen.errors == []


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A page of captions: nine plain ones, one that refuses, one that is hostile, one that is none."""
    path = tmp_path_factory.mktemp("captions") / "page.html"
    odd = [("I cannot see it.", ("refusal",)), (HOSTILE, ()), (None, (MISSING,))]
    said = [*((f"a plain caption {n}.", ()) for n in range(9)), *odd]
    rows = tuple(Row(f"k{n}", Card("", n), (text, f"alt {n}"), (flags, ())) for n, (text, flags) in enumerate(said))
    counts = (counted(rows, 0), counted(rows, 1))
    write_captions_page(path, Captions("set", ("re <b>", "org"), ("a" * 64, "b" * 64), rows, 12, 12, 40, counts, ((), ())))
    return path


def shown(seen):
    return [text.split(". ")[1] for text in seen.page.locator(".card:visible h2").all_inner_texts()]


def test_captions_are_filtered_by_flag_and_by_words(chromium, captions):
    with Seen(chromium, captions) as seen:
        offered = seen.page.locator("select option").all_inner_texts()
        assert offered == ["all (12)", "re <b>: any flag (2)", "re <b>: missing (1)", "re <b>: refusal (1)"]
        seen.page.get_by_label("Flag").select_option(label="re <b>: refusal (1)")
        assert shown(seen) == ["k9"] and "1 of 12 rows" in seen.page.locator("output").inner_text()
        seen.page.get_by_label("Flag").select_option("")
        seen.page.get_by_label("Words").fill("PLAIN K7")
        assert shown(seen) == ["k7"]
        assert seen.errors == [] and seen.elsewhere == []


def test_a_caption_with_a_script_is_text(chromium, captions):
    with Seen(chromium, captions) as seen:
        assert HOSTILE in seen.page.locator(".card").nth(10).inner_text() and seen.page.title() == "Captions: set"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_captions_fit_a_phone_and_need_no_script(chromium, captions, scheme):
    how = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with Seen(chromium, captions, java_script_enabled=False, **how) as seen:
        assert seen.page.locator(".card:visible").count() == 12 and seen.page.locator("select").count() == 0
    with Seen(chromium, captions, **how) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
        ink, paper = (seen.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
        assert ink != paper and paper == ("rgb(20, 24, 29)" if scheme == "dark" else "rgb(255, 255, 255)")


def colours(seen, selector):
    return seen.page.locator(selector).first.evaluate("one => getComputedStyle(one).filter")


def test_plots_are_turned_dark_with_the_page_and_light_in_print(chromium, pages):
    with Seen(chromium, pages / "clip.html", color_scheme="dark") as seen:
        assert "invert" in colours(seen, ".plot object")
        seen.page.get_by_role("button", name="Colours").click()  # light
        assert colours(seen, ".plot object") == "none"
        seen.page.get_by_role("button", name="Colours").click()  # dark
        assert "invert" in colours(seen, ".plot object")
        seen.page.emulate_media(media="print")
        assert colours(seen, ".plot object") == "none"
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not seen.page.locator(".shade, .filter").first.is_visible()


def test_points_of_a_plot_say_their_figures(chromium, pages):
    with Seen(chromium, pages / "clip.html") as seen:
        (plot,) = [frame for frame in seen.page.frames if frame.url.endswith("/clip.svg")]
        told = plot.locator("use > title").all_text_contents()
        assert len(told) == 3 and told[1].startswith("p = 0.5: 51.25 [") and told[1].endswith("], b16")
        box = seen.page.locator(".plot object").first.bounding_box()
        assert box["width"] > 600 and 0.2 < box["height"] / box["width"] < 0.8  # as wide as the page, in its own proportions


def test_on_a_phone_names_stay_in_sight_while_figures_are_scrolled(chromium, pages):
    with Seen(chromium, pages / "clip.html", viewport={"width": 360, "height": 740}) as seen:
        table = seen.page.locator(".scroll").first
        name = table.locator("tbody th").first
        before = name.bounding_box()["x"]
        table.evaluate("one => { one.scrollLeft = 200; }")
        assert table.evaluate("one => one.scrollLeft") > 0 and name.bounding_box()["x"] == before
        assert seen.page.locator(".plot object").first.evaluate("one => one.getBoundingClientRect().width") >= 640


def test_the_keyboard_filters_captions_and_follows_a_figure(chromium, pages, captions):
    with Seen(chromium, captions) as seen:
        seen.page.locator("select").focus()
        seen.page.keyboard.press("End")
        assert shown(seen) == ["k9"]
    with Seen(chromium, pages / "clip.html") as seen:
        seen.page.locator("td a").first.focus()
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/clip-records.html#**")
