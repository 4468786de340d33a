"""Boards and comparisons of generated images: each metric in its own scale and direction, and nothing unlike in one column."""

import json
from pathlib import Path

import numpy as np
import pytest
from painters import Painter
from records import RUN, put_drawn, scores
from support import unlinked
from tiny_pipelines import make_stable_diffusion

from recap_eval.artifact import RUN_FACTS, write_artifact
from recap_eval.board import load_board
from recap_eval.compare import compare
from recap_eval.errors import DataError
from recap_eval.extractors.base import Extraction
from recap_eval.extractors.frame import Frame
from recap_eval.generate.base import Running, Sampling
from recap_eval.generate.finish import finish
from recap_eval.generate.images import read_images
from recap_eval.generate.loading import load
from recap_eval.generate.own import OwnImageModel
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.generate.run import Job, generate_images
from recap_eval.leaderboard import build_table
from recap_eval.models.base import ModelId
from recap_eval.report import text
from recap_eval.report.forms import Form, decimals_of, form_of
from recap_eval.report.plots.over_axis import scores as over_axis
from recap_eval.report.render import check_board, render_board
from recap_eval.report.support import support
from recap_eval.runner import Options
from recap_eval.scoring import Bench, measure_images
from recap_eval.subjects import find_subjects
from recap_eval.suite import load_suite
from recap_eval.tasks.base import Scores
from recap_eval.tasks.generation import TABLE, find_metrics

ONE_COLUMN = (
    'title = "t"\naxis = "p_original"\naxis_label = "p"\n[[columns]]\nversion = 1\nlabel = "{}"\ntask = "{}"\nmetric = "{}"\n'
)


def draw(root, word, p=0.0, seed=0, values=(30.0, 31.0, 35.0, 40.0), **other):
    """Write a result of generated images; `other`: name, prompts, fingerprint, settings, corpus, meta."""
    task = TABLE[word]
    name = other.get("name", f"dit-p{p:g}-s{seed}")
    prompts = other.get("prompts", "recap-coco-30k-recap")
    maker = {"name": name, "revision": f"w-{name}"}
    meta = {"model": maker, "sampled": "4 steps, 1234abcd"} | RUN | {"p_original": p, "seed": seed} | other.get("meta", {})
    who = ModelId(
        f"{name}/{prompts}", f"rev-{name}-{prompts}-{other.get('n', '')}", {k: v for k, v in meta.items() if v is not None}
    )
    keys = [f"i{number}" for number in range(len(values))]
    items = {metric.name: scores(values, items=keys) for metric in task.metrics}
    found = Scores({}, corpus={task.primary.name: float(np.mean(values))}) if other.get("corpus") else Scores(items)
    given = {name: value for name, value in other.items() if name in ("fingerprint", "settings")}
    return put_drawn(root, word, who, found, prompts=prompts, **given)


def board(root, label="FID", task="t2i-fid", metric="fd", more=""):
    root.mkdir(parents=True, exist_ok=True)
    (root / "one.toml").write_text(ONE_COLUMN.format(label, task, metric) + more)
    return build_table("one", root)


DIFFERENT = {
    "N": ("settings.n is 30, not 40", {"settings": {"n": 30}}),
    "extractor": ("settings.extractor is dinov2, not inception", {"settings": {"extractor": "dinov2"}}),
    "resize": ("settings.extractor.resize is tf1, not clean", {"settings": {"extractor.resize": "tf1"}}),
    "framing": ("settings.extractor.frame is none, not crop:256:bicubic", {"settings": {"extractor.frame": "none"}}),
    "reference": (
        "settings.reference.digest is wwwwwwwwwwww…, not vvvvvvvvvvvv…",
        {"settings": {"reference.digest": "w" * 64}},
    ),
    "size of the reference": ("settings.n_reference is 400, not 500", {"settings": {"n_reference": 400}}),
    "precision": ("settings.extractor.precision is bf16, not fp32", {"settings": {"extractor.precision": "bf16"}}),
    "prompts": ("data is eeeeeeeeeeee…, not dddddddddddd…", {"fingerprint": "e" * 64}),
}


@pytest.mark.parametrize(("sentence", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_unlike_distances_are_never_in_one_column(tmp_path, sentence, other):
    for p in (0.0, 0.5):
        draw(tmp_path, "fid", p)
    draw(tmp_path, "fid", 1.0, **other)
    table = board(tmp_path)
    assert [row.axis for row in table.sweeps[0].rows] == [0.0, 0.5]
    assert table.left_out == (f"dit-p1-s0/recap-coco-30k-recap on t2i-fid: {sentence}",)
    assert sentence in text.markdown(
        table, {}, {str(r.path): "x" for row in table.sweeps[0].rows for r in row.cells[0].results}
    )
    with pytest.raises(DataError, match="Nothing can be compared") as caught:
        compare(find_subjects(["dit-p0-s0", "dit-p1-s0"], tmp_path))
    assert sentence in caught.value.what or sentence.split(" is ")[0] in caught.value.what


@pytest.mark.parametrize("name", ["dit-mix", "dit-scale"])
def test_the_papers_boards_pin_what_the_papers_suite_says(name):
    suite, columns = load_suite("paper"), load_board(name, Path("/nowhere")).columns
    sets = {one.name: f"{one.prompts}-{one.column}" for one in suite.sets}
    asked = [(sets[one.set], find_metrics(one.metric)[0].name if one.metric else "t2i-judge") for one in suite.columns]
    assert [(column.data_name, column.task) for column in columns] == asked
    for column in columns:
        if column.task == "t2i-fid":
            assert column.settings["extractor.resize"] == suite.score["resize"].value
            framed = Frame.parse(suite.score["frame"].value).name  # a record holds the framing in full
            assert column.settings["extractor.frame"] == framed
            assert column.settings["reference"] == suite.score["reference"].value


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scorer": "other"}, "settings.scorer is other, not ViT-B-32/openai"),
        ({"scorer.precision": "bf16"}, "settings.scorer.precision is bf16, not fp32"),
    ],
)
def test_scores_by_other_scorers_are_left_out(tmp_path, settings, sentence):
    for p in (0.0, 0.5):
        draw(tmp_path, "clip", p, values=(0.2, 0.3, 0.4))
    draw(tmp_path, "clip", 1.0, values=(0.2, 0.3, 0.4), settings=settings)
    assert [line for line in board(tmp_path, "CLIP", "t2i-clip", "clip_score").left_out if sentence in line]


def test_a_column_pins_prompts_by_name_and_what_stands_beside_it_is_not_left_out(tmp_path):
    pin = 'data_name = "{}"\nsettings = {{ "extractor.resize" = "tf1" }}\n'
    raw = '[[columns]]\nversion = 1\nlabel = "raw"\ntask = "t2i-fid"\nmetric = "fd"\n' + pin.format("recap-coco-30k-raw")
    for p in (0.0, 1.0):
        for prompts, digest in (("recap-coco-30k-raw", "a" * 64), ("recap-coco-30k-recap", "b" * 64)):
            draw(tmp_path, "fid", p, prompts=prompts, fingerprint=digest, settings={"extractor.resize": "tf1"})
    draw(tmp_path, "fid", 0.5, fingerprint="b" * 64, settings={"extractor.resize": "clean"})
    draw(tmp_path, "fid", 0.7, prompts="mine", fingerprint="b" * 64, settings={"extractor.resize": "tf1"})
    table = board(tmp_path, more=pin.format("recap-coco-30k-recap") + raw)
    rows = {row.axis: sorted(row.cells) for row in table.sweeps[0].rows}
    assert rows == {0.0: [0, 1], 1.0: [0, 1]}
    assert {found.record["data"]["name"] for row in table.sweeps[0].rows for found in row.cells[1].results} == {
        "recap-coco-30k-raw"
    }
    assert sorted(line.partition(": ")[2] for line in table.left_out) == [
        "data is bbbbbbbbbbbb…, not aaaaaaaaaaaa…, data name is mine, not recap-coco-30k-raw",
        "data name is mine, not recap-coco-30k-recap",
        "settings.extractor.resize is clean, not tf1",
    ]


def test_distances_are_told_in_their_own_scale_and_less_is_better(tmp_path):
    for p, base in ((0.0, 28.0), (1.0, 36.0)):
        for seed in (0, 1, 2):
            draw(tmp_path, "fid", p, seed, values=np.array([-1.0, 0.0, 1.0]) + base + 0.1 * seed)
    table = board(tmp_path)
    assert (table.board.columns[0].scale, table.board.columns[0].unit, table.board.columns[0].higher_is_better) == (
        1.0,
        "distance",
        False,
    )
    lines = "\n".join(support(table, table.sweeps[0]))
    assert "FID: best at p = 0 (28.10), separable from every other p" in lines and "Better than p = 1: p = 0" in lines
    assert "other items alone would move FID by up to ± 2.48." in lines and "guessing" not in lines
    files = {path.suffix: path for path in render_board("one", tmp_path, tmp_path / "rep").files if path.stem == "one"}
    markdown = unlinked(files[".md"].read_text())
    assert "| p | seeds | FID ↓ (n=3) |" in markdown and "| 0 | 3 | **28.10** ± 0.25 |" in markdown
    assert "-8.00 [-8.00, -8.00]*" in markdown and "Figures are unscaled, mean over training seeds" in markdown
    assert "× 100" not in markdown and "%," not in markdown and "points" not in markdown
    page = files[".html"].read_text()
    assert '>28.10</a></span><span class="half"> ± 0.25</span>' in page and "× 100" not in page
    assert "distance,1.0,False" in files[".csv"].read_text() and "28.1," in files[".csv"].read_text()
    assert check_board("one", tmp_path, tmp_path / "rep") is None


def test_plots_are_in_the_scale_of_their_column(tmp_path):
    shown = {}
    for word, label, values in (
        ("kid", "KID × 1000", (0.001, 0.003)),
        ("clip", "CLIP score", (0.2, 0.3)),
        ("prdc", "precision", (0, 1)),
    ):
        root = tmp_path / word
        for p in (0.0, 1.0):
            draw(root, word, p, values=values)
        table = board(root, label, TABLE[word].name, TABLE[word].primary.name)
        (panel,) = over_axis(table)["panels"]
        shown[word] = (panel["label"], panel["curves"][0]["points"][0][1])
    assert shown == {
        "kid": ("KID × 1000 ↓ (n=2)", pytest.approx(2)), "clip": ("CLIP score, × 100 (n=2)", pytest.approx(25)),
        "prdc": ("precision, % (n=2)", pytest.approx(50)),
    }  # fmt: skip


def test_a_distance_without_an_error_is_a_row_without_a_difference(tmp_path):
    for p in (0.0, 1.0):
        draw(tmp_path, "fid", p, corpus=True, values=(30.0 + p, 40.0 + p))
    table = board(tmp_path)
    (low, high) = table.sweeps[0].rows
    assert low.cells[0].n == 40 and low.cells[0].best and low.cells[0].to_baseline is None and high.cells[0].tied
    assert "| 0 | 1 | [**35.00**](x) |" in text.markdown(table, {}, dict.fromkeys(map(str, (tmp_path).rglob("*.json")), "x"))


def test_models_without_a_mix_have_one_row_for_all_prompts(tmp_path):
    for prompts, digest in (("recap-coco-30k-raw", "a" * 64), ("recap-coco-30k-recap", "b" * 64)):
        draw(tmp_path, "fid", name="theirs", prompts=prompts, fingerprint=digest, meta={"p_original": None})
    render_board("dit-mix", tmp_path, tmp_path / "rep")
    table = build_table("dit-mix", tmp_path)
    (row,) = table.groups[0].rows
    assert row.label == "theirs" and sorted(row.cells) == [0, 2] and not table.left_out
    draw(tmp_path, "fid", name="theirs", meta={"p_original": None, "sampled": "8 steps, 9"}, fingerprint="b" * 64, n="8")
    assert [row.label for row in build_table("dit-mix", tmp_path).groups[0].rows] == [
        "theirs (w-theirs, 4 steps, 1234abcd)",
        "theirs (w-theirs, 8 steps, 9)",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [((34.5213,), "34.52"), ((512.34, 3.0), "512.3"), ((2.5,), "2.500"), ((0.02,), "0.0200"), ((0.0,), "0.000"), ((), "1.000")],
)
def test_figures_have_four_digits(values, shown):
    from recap_eval.board import Column

    column = Column("t", 1, "m", "l", scale=1.0, unit="distance")
    assert form_of(column, values).figure(values[0] if values else 1.0) == shown
    assert form_of(Column("t", 1, "m", "l"), values).figure(0.345) == "34.5"


def test_printed_figures_keep_their_decimals():
    assert [decimals_of(value) for value in (36.0, 29.2, 100 * 0.292, 25.14, 34.82, 0.0)] == [1, 1, 1, 2, 2, 1]
    assert Form(1.0, 2).printed(1.4) == "1.40" and Form(1.0, 1).printed(25.14) == "25.14"


MODEL = """
import torch
class Model:
    revision = "1"
    def encode_images(self, images):
        return torch.tensor([image.resize((1, 1)).getpixel((0, 0)) for image in images]) / 255 + 0.01
    def encode_texts(self, texts):
        return torch.tensor([[len(text) % 7 + 1.0, text.count("e") + 1.0, 2.0] for text in texts])
"""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """A pipeline at each of two mixes, as training will leave them: artifacts of kind `diffusion`."""
    root = tmp_path_factory.mktemp("dits")
    (root / "mine.py").write_text(MODEL)
    for p in (0.0, 1.0):
        folder = make_stable_diffusion(root / f"p{p:g}")
        made = {"recipe": "dit-tiny", "recipe_digest": "c" * 8, "samples_seen": 512, "train_data": "f" * 64} | {
            "p_original": p,
            "seed": 3,
        }
        (folder / "p.txt").write_text(f"{p}")
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        write_artifact(folder, "diffusion", f"dit-p{p:g}-s3", files, made, {})
    return root


def sample(root, p, prompts, steps=2):
    out = root / f"images-p{p:g}-{prompts.name}-{steps}"
    job, model = Job(out, prompts), load(str(root / f"p{p:g}"), Sampling(steps=steps), Running())
    generate_images(model, job, progress=False)
    finish(model, job, 1.0)
    return out


def prompt_set(name, n=6):
    return PromptSet(name, tuple(Prompt(f"i{k}", f"{name} {'e' * k}") for k in range(n)), {"preset": name})


def test_training_facts_reach_the_axis(pipelines, tmp_path):
    for p in (0.0, 1.0):
        for name in ("raw", "recap"):
            options = Options(tmp_path, tmp_path, progress=False)
            bench = Bench(read_images(sample(pipelines, p, prompt_set(name))), None, Extraction(), options)
            outcome = measure_images(bench, find_metrics(f"clip:{pipelines / 'mine.py'}:Model"))
            assert not outcome.failed
            meta = outcome.results[0].meta
            assert meta["p_original"] == p and meta["seed"] == 3 and meta["recipe"] == "dit-tiny"
            assert meta["sampled"].startswith("2 steps, guidance 7.5, seed 0, ")
    column = '[[columns]]\nversion = 1\nlabel = "{0}"\ntask = "t2i-clip"\nmetric = "clip_score"\ndata_name = "{0}"\n'
    table = board(tmp_path, "raw", "t2i-clip", "clip_score", 'data_name = "raw"\n' + column.format("recap"))
    (sweep,) = table.sweeps
    assert [(row.axis, row.seeds, sorted(row.cells)) for row in sweep.rows] == [(0.0, (3,), [0, 1]), (1.0, (3,), [0, 1])]
    assert (
        sweep.title.startswith("dit-tiny, 512 samples seen, training data ffffffff, sampled with 2 steps")
        and not table.left_out
    )
    assert sweep.rows[0].cells[0].to_baseline.basis == "items"


def test_another_sampling_is_another_sweep(pipelines, tmp_path):
    for steps in (2, 3):
        images = read_images(sample(pipelines, 0.0, prompt_set("raw"), steps))
        bench = Bench(images, None, Extraction(), Options(tmp_path, tmp_path, progress=False))
        measure_images(bench, find_metrics(f"clip:{pipelines / 'mine.py'}:Model"))
    assert len(board(tmp_path, "raw", "t2i-clip", "clip_score").sweeps) == 2


def test_a_model_of_no_artifact_has_no_place_on_the_axis(tmp_path):
    painter = OwnImageModel(Painter(), "Painter", Path(__file__))
    job = Job(tmp_path / "out", prompt_set("raw"))
    generate_images(painter, job, progress=False)
    made = json.loads((finish(painter, job, 1.0) and job.out / "artifact.json").read_text())["made"]
    from recap_eval.generate.origin import facts_of

    facts = facts_of(made)
    assert not {"p_original", "seed", *RUN_FACTS[:-1]} & facts.keys() and facts["sampled"].startswith("seed 0, ")
    assert facts_of({"sampling": made["sampling"] | {"weights": "x", "prompts": "y"}})["sampled"] == facts["sampled"]
    assert facts_of({"sampling": made["sampling"] | {"seed": 1}})["sampled"] != facts["sampled"]


def test_images_of_a_model_on_its_way_are_known_as_that():
    from recap_eval.generate.origin import facts_of

    made = {"model": {"trained": {"samples_seen": 60, "samples_total": 300, "p_original": 0.0, "seed": 1}}}
    assert facts_of(made).items() >= made["model"]["trained"].items()


def test_results_of_data_that_a_board_does_not_name_are_told_in_one_line(tmp_path):
    for number in range(5):
        for prompts in ("scenes-raw", "scenes-recap"):
            draw(tmp_path, "clip", number / 4, prompts=prompts)
    draw(tmp_path, "clip", 0.5, settings={"scorer": "ViT-B-32/openai"})
    table = build_table("dit-mix", tmp_path)
    assert table.left_out == ("10 results on t2i-clip: of scenes-raw, scenes-recap, for which this board does not ask",)
    assert [row.axis for row in table.sweeps[0].rows] == [0.5]
