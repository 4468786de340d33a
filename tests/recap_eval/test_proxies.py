"""Cheap measures of captions against gains: whose results count, how they join trainings, the correlation, the report."""

import csv
import itertools

import numpy as np
import pytest
from records import RUN, put, put_captions, scores
from scipy.stats import spearmanr

from recap_eval.board import load_board
from recap_eval.leaderboard import build_table
from recap_eval.report.evidence import anchor
from recap_eval.report.moves import EMPTY, Trend, worlds
from recap_eval.report.plots.proxies import against_proxies
from recap_eval.report.proxies import TITLE, gain, grid, proxy_trend, sentences, shown, values
from recap_eval.report.render import check_board, render_board
from recap_eval.report.text import terminal
from recap_eval.tasks.captions import FAMILIES

BOARD = """title = "t"
axis = "p_original"
axis_label = "p"
facts = ["noise", "error"]
[[columns]]
task = "scenes-zeroshot"
version = 1
metric = "acc1"
label = "a"
[[proxies]]
task = "captions-truth"
version = 1
metric = "truth"
label = "true"
of = "re_caption"
[[proxies]]
task = "captions-truth"
version = 1
metric = "truth"
label = "truer"
of = "re_caption"
minus = "org_caption"
[[proxies]]
task = "captions-clip"
version = 1
metric = "clip_cosine"
label = "closer"
of = "re_caption"
minus = "org_caption"
[[proxies]]
task = "captions-judge"
version = 1
metric = "rating"
label = "liked"
of = "re_caption"
minus = "org_caption"
"""
WORLDS = [(0.1, 0.0), (0.1, 0.4), (0.8, 0.0), (0.8, 0.4), (0.4, 0.2)]
PLACES = (0.0, 0.5, 1.0)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mine.toml").write_text(BOARD)
    return tmp_path


def said(world):
    return {"facts": dict(zip(("noise", "error"), world, strict=True))}


def train(root, right, seeds=(0, 1, 2), places=PLACES):
    """Put trainings; right(world, p, seed) of 100 items are answered rightly."""
    for world, seed, p in itertools.product(WORLDS, seeds, places):
        meta = RUN | said(world) | {"p_original": p, "seed": seed, "train_data": f"{world}"}
        n = int(right(world, p, seed))
        found = scores([1.0] * n + [0.0] * (100 - n))
        put(root, "scenes-zeroshot", f"m-{world}-{p}-{seed}", {"acc1": found}, meta=meta)


def measure(root, world, column, figure, task="captions-truth", metric="truth", **other):
    """Put a figure of the captions of a world, mean of two captions."""
    meta = {"column": f"json:{column}"} | said(world)
    other = {"fingerprint": "same images", "meta": meta, "settings": {"truth": f"{world}"}} | other
    return put_captions(root, f"w-{world}", column, task, {metric: scores([figure - 0.01, figure + 0.01])}, **other)


def drawn(seed=3):
    draw = np.random.default_rng(seed)
    known = {key: 40 + int(draw.integers(0, 25)) for key in itertools.product(WORLDS, PLACES, (0, 1, 2))}
    return lambda world, p, seed: known[world, p, seed]


def by_hand(proxy, right, best, seeds=(0, 1, 2)):
    """Return the correlation and all those of resampled seeds, the long way."""

    def rho(chosen):
        means = [{p: np.mean([right(world, p, s) for s in chosen]) for p in PLACES} for world in proxy]
        gains = [round((max(one.values()) if best else one[0.0]) - one[1.0], 9) for one in means]
        constant = len(set(gains)) < 2
        return None if constant else spearmanr(list(proxy.values()), gains).statistic

    drawn = [one for chosen in itertools.product(seeds, repeat=len(seeds)) if (one := rho(chosen)) is not None]
    return rho(seeds), np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("figures", [[0.2, 0.5, 0.3, 0.9, 0.7], [0.5, 0.5, 0.3, 0.3, 0.3]], ids=["distinct", "ties"])
def test_the_correlation_is_scipys_over_all_resamples_of_seeds(root, figures, best):
    right, proxy = drawn(), dict(zip(WORLDS, figures, strict=True))
    train(root, right)
    for world, figure in proxy.items():
        measure(root, world, "re_caption", figure)
    table = build_table("mine", root)
    one, n = proxy_trend(table, worlds(table), table.proxies[0], 0, best)
    rho, ends = by_hand(proxy, right, best)
    assert n == 5 and one.rho == pytest.approx(rho) and (one.low, one.high) == pytest.approx(tuple(ends))
    assert one.low < one.high


def test_tied_gains_share_a_rank_however_their_means_are_summed(root):
    sums = {
        WORLDS[0]: (41, 42, 43),
        WORLDS[1]: (43, 42, 41),
        WORLDS[2]: (42, 42, 42),
        WORLDS[3]: (50, 49, 48),
        WORLDS[4]: (1, 2, 3),
    }
    train(root, lambda world, p, seed: sums[world][seed] if p == 0 else 7 * seed)
    for rank, world in enumerate(WORLDS):
        measure(root, world, "re_caption", 0.1 + rank / 10)
    table = build_table("mine", root)
    found = worlds(table)
    gains = {world.at: gain(table, world, 0).of(np.ones(3), (0, 1, 2)) for world in found}
    assert len(set(gains.values())) == 3 and gains == pytest.approx(
        dict(zip(WORLDS, (0.35, 0.35, 0.35, 0.42, -0.05), strict=True))
    )
    one, _ = proxy_trend(table, found, table.proxies[0], 0, best=False)
    assert one.rho == pytest.approx(spearmanr(range(5), [35, 35, 35, 42, -5]).statistic)


def test_nothing_is_told_of_a_constant_or_of_too_few_worlds(root):
    train(root, drawn())
    for world in WORLDS:
        measure(root, world, "re_caption", 0.5)
    for world in WORLDS[:2]:
        measure(root, world, "org_caption", 0.1 + world[1])
    table = build_table("mine", root)
    found, (same, few, *_) = worlds(table), table.proxies
    assert proxy_trend(table, found, same, 0, best=False) == (Trend(None, None, None), 5)
    assert proxy_trend(table, found, few, 0, best=False) == (Trend(None, None, None), 2)
    assert grid(table, found)[1:4:2] == [["true", "p = 0", "5 (1 value)", EMPTY], ["truer", "p = 0", "2", EMPTY]]


def test_a_world_without_captions_or_without_the_places_is_left_out(root):
    right = drawn()
    train(root, right)
    for rank, world in enumerate(WORLDS[1:]):
        measure(root, world, "re_caption", 0.1 + rank / 10)
    table = build_table("mine", root)
    one, n = proxy_trend(table, worlds(table), table.proxies[0], 0, best=False)
    rho, _ = by_hand({world: rank for rank, world in enumerate(WORLDS[1:])}, right, best=False)
    assert n == 4 and one.rho == pytest.approx(rho)
    assert [line[-1] for line in values(table, worlds(table))[1:]].count("not run") == 1


def test_trainings_without_the_ends_have_no_gain_and_one_seed_no_interval(root, tmp_path):
    train(root, drawn(), places=(0.5, 1.0))
    assert gain(build_table("mine", root), worlds(build_table("mine", root))[0], 0) is None
    other = tmp_path / "once"
    other.mkdir()
    (other / "mine.toml").write_text(BOARD)
    train(other, drawn(), seeds=(0,))
    for rank, world in enumerate(WORLDS):
        measure(other, world, "re_caption", 0.1 + rank / 10)
    table = build_table("mine", other)
    one, n = proxy_trend(table, worlds(table), table.proxies[0], 0, best=False)
    assert n == 5 and one.rho is not None and one.low is None
    assert all(point[2] is None for point in against_proxies(table)["rows"][0]["panels"][0]["points"])


def test_the_commonest_way_of_measuring_counts_and_partial_results_never(root):
    train(root, drawn())
    for rank, world in enumerate(WORLDS):
        measure(root, world, "re_caption", 0.1 + rank / 10)
    measure(root, WORLDS[0], "re_caption", 0.9, fingerprint="other images")
    measure(root, WORLDS[1], "re_caption", 0.9, settings={"limit": 1})
    table = build_table("mine", root)
    assert table.proxies[0].values == pytest.approx({world: 0.1 + rank / 10 for rank, world in enumerate(WORLDS)})
    assert table.left_out == ("2 results on captions-truth: measured otherwise than most, or a second time",)


def test_differences_are_taken_world_by_world_and_each_who_measures_stands_alone(root):
    train(root, drawn())
    for rank, world in enumerate(WORLDS):
        for column, base in (("re_caption", 0.5), ("org_caption", 0.2)):
            how = {"task": "captions-clip@small", "metric": "clip_cosine", "settings": {"pair": f"{world}", "scorer": "small"}}
            measure(root, world, column, base + rank * base / 10, **how)
    table = build_table("mine", root)
    true, _, closer, liked = table.proxies
    assert closer.proxy.label == "closer by small" and (closer.scale, closer.unit) == (100, "cosine")
    assert closer.values == pytest.approx({world: 0.3 + rank * 0.03 for rank, world in enumerate(WORLDS)})
    assert true.values == {} and liked.values == {} and sentences(table, worlds(table))[-1] == "Not run: true, truer, liked."
    assert [line[-1] for line in grid(table, worlds(table)) if line[0] == "liked"] == ["not run"]


def test_a_judges_ratings_join_by_themselves(root):
    train(root, drawn())
    for rank, world in enumerate(WORLDS):
        for column, base in (("re_caption", 4), ("org_caption", 3)):
            measure(root, world, column, base + rank * base / 10, task="captions-judge@llm", metric="rating")
    table = build_table("mine", root)
    assert table.proxies[-1].proxy.label == "liked by llm" and table.proxies[-1].scale == 1
    assert values(table, worlds(table))[1][-1] == "1.000"


def test_captions_of_other_facts_or_none_are_of_other_boards(root):
    train(root, drawn())
    for world in WORLDS:
        measure(root, world, "re_caption", 0.5, meta={"column": "re_caption"})
        measure(root, world, "re_caption", 0.6, meta={"column": "re_caption", "facts": {"noise": world[0]}}, revision="r")
    table = build_table("mine", root)
    assert table.proxies == () and shown(table, worlds(table)) == [] and against_proxies(table) is None
    render_board("mine", root, root / "r")
    assert TITLE not in (root / "r" / "mine.md").read_text() + (root / "r" / "mine.html").read_text()
    assert not (root / "r" / "mine-proxies.svg").exists()


def test_reports_tell_it_in_every_form_and_always_alike(root):
    odd = "<b>$x|y</b>"
    (root / "mine.toml").write_text(
        BOARD.replace('label = "true"', f'label = "{odd}"').replace('label = "a"', f'label = "{odd}"')
    )
    train(root, drawn())
    for rank, world in enumerate(WORLDS):
        measure(root, world, "re_caption", 0.1 + rank / 10)
        measure(root, world, "org_caption", 0.5 - rank / 20)
    files = {path.name: path.read_bytes() for path in render_board("mine", root, root / "r").files}
    assert "mine-proxies.svg" in files and check_board("mine", root, root / "r") is None
    again = {path.name: path.read_bytes() for path in render_board("mine", root, root / "again").files}
    moved = {name for name in files if files[name] != again[name]}
    assert not {"mine.md", "mine.html", "mine.csv", "mine-proxies.svg", "mine-proxies.png"} & moved
    text, page, plot = (files[name].decode() for name in ("mine.md", "mine.html", "mine-proxies.svg"))
    assert f"## {TITLE}" in text and "| truer | p = 0 | 5 |" in text and "<b>$x\\|y</b> | p = 0" in text
    assert f"<h2>{TITLE}</h2>" in page and "&lt;b&gt;$x|y&lt;/b&gt;" in page and odd not in page
    assert odd not in plot and plot.count("noise 0.1, error 0.4</title>") == 2
    assert TITLE in terminal(build_table("mine", root))
    measure(root, WORLDS[0], "re_caption", 0.95)
    assert check_board("mine", root, root / "r") is not None


def test_the_shipped_board_holds_truth_clip_and_judges_against_the_gain(tmp_path):
    asked = [(one.task, one.minus) for one in load_board("best-mix", tmp_path).proxies]
    families = (FAMILIES[key].name for key in ("truth", "truth", "clip", "judge"))
    assert asked == list(zip(families, ("", *["org_caption"] * 3), strict=True))


def test_each_figure_of_the_captions_leads_to_its_records_and_stands_in_the_csv(root):
    train(root, drawn())
    for rank, world in enumerate(WORLDS[1:]):
        measure(root, world, "re_caption", 0.1 + rank / 10)
        measure(root, world, "org_caption", 0.5)
    render_board("mine", root, root / "r")
    texts = {form: (root / "r" / f"mine.{form}").read_text() for form in ("md", "html")}
    records = {form: (root / "r" / f"mine-records.{form}").read_text() for form in ("md", "html")}
    table = build_table("mine", root)
    for figures in table.proxies[:2]:
        for results in figures.results.values():
            at = anchor(results[0])
            assert f"mine-records.md#{at}" in texts["md"] and f"mine-records.html#{at}" in texts["html"]
            for one in results:  # those that it is less, too
                assert records["md"].count(f'<a id="{anchor(one)}"></a>') == 1 == records["html"].count(f'id="{anchor(one)}"')
    assert "## Captions of noise 0.8, error 0.4: captions-truth" in records["md"]
    rows = [row for row in csv.DictReader((root / "r" / "mine.csv").open()) if row["kind"] == "proxy"]
    assert [(row["label"], row["sweep"], float(row["value"])) for row in rows] == [
        (label, f"noise {world[0]:g}, error {world[1]:g}", pytest.approx(0.1 + rank / 10 - less))
        for label, less in (("true", 0), ("truer", 0.5))
        for world, rank in sorted((world, rank) for rank, world in enumerate(WORLDS[1:]))
    ]
    assert rows[-1]["source"].split()[0] != rows[-1]["source"].split()[1]


def test_captions_of_a_world_that_is_told_in_words_or_was_not_trained_are_in_no_page_of_records(root):
    train(root, drawn())
    for world in (*WORLDS[:3], (0.9, 0.9), ("none", "some")):
        measure(root, world, "re_caption", 0.5)
    render_board("mine", root, root / "r")
    records = (root / "r" / "mine-records.md").read_text()
    assert records.count("## Captions of ") == 3
