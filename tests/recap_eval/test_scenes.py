import io
import json
import tarfile
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import stats

from recap_eval.data.scenes import language, questions
from recap_eval.data.scenes.render import encode_jpeg, render
from recap_eval.data.scenes.world import (
    COLOURS,
    COUNTS,
    GROUNDS,
    KINDS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    decode,
    draw_scenes,
    space_size,
)  # fmt: skip
from recap_eval.data.scenes.write import ALT_NOISE, PRESETS, SPLITS, World, check_manifest, write_shard, write_world
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import Draws

# The frozen world: if one of these changes, every committed figure refers to another data set.
V1_SHARDS = {
    "test": "30b86bdf07cb387dbb21ff160a3201d4ffbbcebe980273ae5fd08fdc2e679fed",
    "val": "e180d762653243fcc703c918219f0bef8fad02cdbfeead8e7fe507ac4dd51e10",
    "train": "516ed3be2216a5787e8e59a1f8cb30c38d143c745b420aff690cd0b892c80eca",
}
V1_DIGEST = "9c793b21c668698dd247dfbba846d059ffc7c5e3fc0c881905fd92a372e90b62"


@pytest.mark.parametrize("split", SPLITS)
def test_preset_v1_is_frozen(split, tmp_path):
    """The first shard of each split: JPEG bytes, ground truth and every text."""
    _, entry = write_shard(split, 0, tmp_path, PRESETS["v1"])
    assert entry["digest"] == V1_SHARDS[split]


@pytest.mark.slow
@pytest.mark.slow
def test_preset_v1_is_frozen_as_a_whole(tmp_path):
    manifest, _ = write_world(tmp_path / "v1", PRESETS["v1"])
    assert manifest["digest"] == V1_DIGEST


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    world = World(n=2100, n_eval=10)
    one, _ = write_world(tmp_path / "one", world, workers=1)
    two, _ = write_world(tmp_path / "two", world, workers=2)
    assert one == two


def test_numbering_is_one_to_one():
    assert space_size(1) == 4 * 4 * 2 * 5 * 64
    seen = {decode(number, 1) for number in range(space_size(1))}
    assert len(seen) == space_size(1)
    some = np.random.default_rng(0).integers(0, space_size(4), 3000)
    assert len({decode(int(number), 4) for number in set(some)}) == len(set(some))


def test_splits_share_no_scene_at_any_seed():
    train = set(draw_scenes("train", 0, 8000, 0)) | set(draw_scenes("train", 0, 8000, 1))
    held = {split: set(draw_scenes(split, 0, 1000, seed)) for split, seed in (("val", 0), ("test", 0))}
    held["test2"] = set(draw_scenes("test", 0, 1000, 5))
    assert len(held["val"]) == len(held["test"]) == 1000
    assert not train & held["val"] and not train & held["test"] and not train & held["test2"]
    assert not held["val"] & held["test"]


def test_a_range_may_be_cut_anywhere():
    assert draw_scenes("train", 0, 50, 3) == draw_scenes("train", 0, 17, 3) + draw_scenes("train", 17, 50, 3)


def test_every_split_is_drawn_from_the_same_distribution():
    """The split is decided by a digit of a scene's ticket; nothing visible may depend on it."""
    for split in SPLITS:
        scenes = draw_scenes(split, 0, 4000, 0)
        columns = {
            "ground": ([s.ground for s in scenes], len(GROUNDS)),
            "texture": ([s.texture for s in scenes], len(TEXTURES)),
            "label": ([s.label for s in scenes], len(KINDS)),
            "size of main": ([s.things[0].size - 1 for s in scenes if len(s.things) == 1], 2),
            "place": ([s.things[0].place for s in scenes if len(s.things) == 1], len(PLACES)),
        }
        for name, (values, options) in columns.items():
            counts = np.bincount(values, minlength=options)
            assert stats.chisquare(counts).pvalue > 1e-4, (split, name, counts)
        assert Counter(len(s.things) for s in scenes)[1] == 4000 * COUNTS.count(1) // 8


def test_scenes_are_well_formed():
    for scene in draw_scenes("train", 0, 2000, 2):
        main, *others = scene.things
        assert all(main.size > other.size for other in others)
        assert len({thing.kind for thing in scene.things}) == len(scene.things)
        assert len({thing.place for thing in scene.things}) == len(scene.things)
        assert len(scene.things) == 1 or all(thing.place < 4 for thing in scene.things)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("size", [32, 256])
def test_every_shape_is_drawn_where_and_as_large_as_it_says(shape, size):
    scene = next(s for s in draw_scenes("train", 0, 4000, 0) if s.things[0].shape == shape and len(s.things) == 1)
    with_it = render(scene, size, 1).astype(int)
    assert with_it.shape == (size, size, 3)
    from recap_eval.data.scenes.render import COLOUR_RGB

    near = np.abs(with_it - COLOUR_RGB[scene.things[0].colour]).max(axis=2) <= 26
    y, x = np.nonzero(near)
    cx, cy = x.mean() / size, y.mean() / size
    expected = {"top left": (0.25, 0.25), "top right": (0.75, 0.25), "bottom left": (0.25, 0.75), "bottom right": (0.75, 0.75)}
    ex, ey = expected.get(PLACES[scene.things[0].place], (0.5, 0.5))
    assert abs(cx - ex) < 0.12 and abs(cy - ey) < 0.12


def test_a_scene_is_the_same_picture_at_every_size():
    scene = draw_scenes("train", 0, 8, 0)[5]
    small = render(scene, 32, 9).astype(float)
    large = render(scene, 256, 9).reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - large).mean() < 8  # noise of ±10 levels is all that differs


def test_jpeg_keeps_the_pixels():
    pixels = render(draw_scenes("test", 0, 1, 0)[0], 32, 1)
    back = np.asarray(Image.open(io.BytesIO(encode_jpeg(pixels)))).astype(int)
    assert np.abs(back - pixels).mean() < 4


def sees(scene, text):
    """Which (colour, shape) pairs a text names."""
    return {(c, s) for c, colour in enumerate(COLOURS) for s, shape in enumerate(SHAPES) if f"{colour} {shape}" in text}


def test_faithful_texts_are_faithful():
    for number, scene in enumerate(draw_scenes("val", 0, 600, 0)):
        draws = Draws(number)
        kinds = {thing.kind for thing in scene.things}
        assert sees(scene, language.long_caption(scene, draws).lower()) == kinds
        assert GROUNDS[scene.ground] in language.long_caption(scene, draws)
        short = language.short_captions(scene, draws)
        assert len(set(short)) == 5 and all(sees(scene, text) <= kinds for text in short)
        text, wrong = language.recaption(scene, 0.0, draws)
        assert wrong == 0 and sees(scene, text) == kinds


def test_relations_and_pairs_are_true_and_false():
    kinds = Counter()
    for number, scene in enumerate(draw_scenes("val", 0, 600, 0)):
        there = {thing.kind for thing in scene.things}
        for pair in questions.swapped_pairs(scene, Draws(number)):
            kinds[pair["kind"]] += 1
            positive, negative = pair["positive"].split(), pair["negative"].split()
            bags = [sorted(word for word in words if word not in ("a", "an")) for words in (positive, negative)]
            assert bags[0] == bags[1]
            if pair["kind"] == "attribute":
                assert sees(scene, pair["positive"]) <= there and not sees(scene, pair["negative"]) <= there
            else:
                first, second = (
                    pair["positive"].split(word) for word in ("of", "above", "below") if word in positive
                ).__next__()
                a = next(t for t in scene.things if language.kind_name(t) in first)
                b = next(t for t in scene.things if language.kind_name(t) in second)
                across, down = a.place % 2 - b.place % 2, a.place // 2 - b.place // 2
                sign = {"left": across < 0, "right": across > 0, "above": down < 0, "below": down > 0}
                assert next(sign[word] for word in sign if word in positive)
        for question in questions.questions(scene, Draws(number)):
            if question["kind"] == "presence":
                assert (question["answer"] == "yes") == (sees(scene, question["question"]) <= there)
            if question["kind"] == "what":
                assert sees(scene, question["answer"]) <= there
    assert kinds["attribute"] > 200 and kinds["relation"] > 300


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_captioner_errors_have_their_rate(rate):
    scenes = draw_scenes("train", 0, 1500, 0)
    seen = [language.misseen(scene, rate, Draws(number)) for number, scene in enumerate(scenes)]
    attributes = sum(4 * len(scene.things) + 2 for scene in scenes)
    assert stats.binomtest(sum(wrong for _, wrong in seen), attributes, rate).pvalue > 1e-4
    if rate == 1:
        pairs = [pair for (s, _), t in zip(seen, scenes, strict=True) for pair in zip(s.things, t.things, strict=True)]
        assert all(a.colour != b.colour for a, b in pairs)


def test_alt_text_noise_has_its_rates():
    scenes = draw_scenes("train", 0, 6001, 0)
    alts = [language.alt_text(a, b, ALT_NOISE, Draws(n)) for n, (a, b) in enumerate(pairwise(scenes))]
    counts = Counter(alt.kind for alt in alts)
    for kind, rate in ALT_NOISE.items():
        assert stats.binomtest(counts[kind], len(alts), rate).pvalue > 1e-4, kind
    assert all(alt.text == "" for alt in alts if alt.kind == "missing")
    clean = [(alt.text, scene) for alt, scene in zip(alts, scenes, strict=False) if alt.kind == "clean"]
    assert all(COLOURS[s.things[0].colour] in text and SHAPES[s.things[0].shape] in text for text, s in clean)


def test_shards_have_the_layout_of_img2dataset(world):
    with tarfile.open(world / "train" / "00000.tar") as tar:
        names = tar.getnames()
        meta = json.load(tar.extractfile("000000000.json"))
        text = tar.extractfile("000000000.txt").read().decode()
    assert names[:3] == ["000000000.jpg", "000000000.json", "000000000.txt"] and len(names) == 3 * 96
    assert {"url", "key", "sha256", "org_caption", "re_caption", "status", "width", "height"} <= meta.keys()
    assert text == meta["org_caption"]
    rows = pq.read_table(world / "train.parquet").to_pylist()
    assert len(rows) == 96 and rows[0]["sha256"] == meta["sha256"] and rows[0]["re_caption"] == meta["re_caption"]
    assert rows[0]["objects"][0].keys() == {"colour", "shape", "size", "place"}
    assert SIZES and len(rows[0]["captions"]) == 5


def test_a_world_is_found_again_and_another_is_refused(fresh_world):
    world = World(n=96, n_eval=48)
    assert write_world(fresh_world, world)[1]
    with pytest.raises(UserError, match="another world"):
        write_world(fresh_world, World(n=97, n_eval=48))
    (fresh_world / "val" / "00000.tar").unlink()
    with pytest.raises(DataError, match=r"val/00000\.tar is missing"):
        check_manifest(fresh_world)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        write_world(tmp_path, World(n=1, n_eval=1))


def test_an_interrupted_world_is_taken_up_again(tmp_path, monkeypatch):
    from recap_eval.data.scenes import write

    real = write.write_shard
    monkeypatch.setattr(
        write,
        "write_shard",
        lambda split, *rest, **kw: (_ for _ in ()).throw(KeyboardInterrupt) if split == "val" else real(split, *rest, **kw),
    )
    with pytest.raises(KeyboardInterrupt):
        write_world(tmp_path / "w", World(n=5, n_eval=5), workers=1)
    assert not (tmp_path / "w" / "scenes.json").exists()
    monkeypatch.undo()
    assert not write_world(tmp_path / "w", World(n=5, n_eval=5), workers=1)[1]
    assert not list((tmp_path / "w").rglob("*.part"))


@pytest.mark.parametrize(
    "wrong", [{"size": 48}, {"n": 0}, {"recaption_error": 1.5}, {"alt_noise": dict.fromkeys(ALT_NOISE, 0.3)}]
)
def test_impossible_worlds_are_refused(wrong):
    with pytest.raises(UserError):
        World(**wrong)
