"""The looker against scenes whose truth is known, and against pictures of everything else."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from recap_eval.data.scenes.claims import claims
from recap_eval.data.scenes.look import MOST_THINGS, look, working_size
from recap_eval.data.scenes.look_errors import as_set, errors, rates, scene_size
from recap_eval.data.scenes.render import RESOLUTIONS, encode_jpeg, render
from recap_eval.data.scenes.verdict import held_against
from recap_eval.data.scenes.world import COLOURS, GROUNDS, SHAPES, Scene, Thing, draw_scenes

SCENES = draw_scenes("test", 0, 120, 7)
PICTURES = [render(scene, 32, 7, at) for at, scene in enumerate(SCENES)]
ATTRIBUTES = ("wrong_shape", "wrong_colour", "wrong_size", "wrong_place", "wrong_count", "wrong_ground", "wrong_texture")


def blurred(pixels, sigma):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(pixels, sigma):
    return (pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape)).clip(0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(buffer))


def shifted(pixels, levels):
    return (pixels + np.array([levels, -levels, levels // 2])).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("size", "n"), [(32, 200), (64, 60), (128, 20), (256, 10)])
def test_clean_scenes_are_seen_as_they_are(size, n):
    found = errors(size, n)
    assert all(found[name] <= 0.005 for name in ATTRIBUTES) and found["checked"] == n, found


def test_errors_are_counted_by_attribute():
    """A picture of a scene in which one attribute differs is wrong in that attribute, and in the image."""
    scenes = [scene for scene in SCENES if len(scene.things) == 2][:20]
    changed = [
        replace(scene, things=(replace(scene.things[0], colour=(scene.things[0].colour + 1) % 8), scene.things[1]))
        for scene in scenes
    ]
    found = rates(scenes, [render(scene, 32, at) for at, scene in enumerate(changed)])
    assert found["wrong_colour"] == 0.5 and found["wrong_image"] == 1 and found["wrong_shape"] == found["wrong_count"] == 0
    dropped = [replace(scene, things=scene.things[:1]) for scene in scenes]
    found = rates(scenes, [render(scene, 32, at) for at, scene in enumerate(dropped)])
    assert found["wrong_place"] == found["wrong_size"] == 0.5 and found["wrong_count"] == 1
    assert rates(dropped, [render(scene, 32, at) for at, scene in enumerate(scenes)])["wrong_count"] == 1


@pytest.mark.parametrize(
    ("way", "grade", "most"),
    [(blurred, 0.5, 0.02), (noisy, 15, 0.02), (jpeg, 75, 0.02), (shifted, 15, 0.02), (blurred, 0.8, 0.1)],
)
def test_mild_damage_is_borne(way, grade, most):
    found = rates(SCENES, [way(pixels, grade) for pixels in PICTURES])
    assert all(found[name] <= most for name in ATTRIBUTES), found


def test_any_size_will_do():
    scene = SCENES[4]
    for size in (20, 32, 45, 64, 96, 300, 512):
        large = Image.fromarray(render(scene, 256, 1)).resize((size, size), Image.Resampling.LANCZOS)
        seen = look(np.asarray(large)).scene
        assert size == 20 or as_set(seen) == as_set(scene), size
    assert [working_size(*shape) for shape in ((20, 20), (63, 90), (64, 64), (512, 512))] == [32, 32, 64, 64]
    assert [scene_size(pixels) for pixels in (1, 32, 63, 64, 1000)] == [32, 32, 32, 64, RESOLUTIONS[-1]]


@pytest.mark.parametrize("grey", [0, 22, 136, 240, 255])
def test_a_picture_of_nothing_holds_nothing(grey):
    seen = look(np.full((32, 32, 3), grey, dtype=np.uint8))
    assert not seen.things and seen.ground >= 0 and seen.texture == 0


def test_noise_holds_no_shapes():
    rng = np.random.default_rng(0)
    for size in (32, 64):
        for _ in range(10):
            seen = look(rng.integers(0, 256, (size, size, 3)).astype(np.uint8))
            assert not [thing for thing in seen.things if thing.thing.shape >= 0 and thing.thing.colour >= 0]


def test_a_strange_background_is_not_guessed():
    picture = Image.new("RGB", (64, 64), (20, 160, 160))
    ImageDraw.Draw(picture).ellipse((4, 4, 28, 28), fill=(214, 38, 38))
    seen = look(np.asarray(picture)).scene
    assert (seen.ground, seen.texture) == (-1, -1)
    assert [(COLOURS[one.colour], SHAPES[one.shape], one.place) for one in seen.things] == [("red", "circle", 0)]
    assert not held_against(claims("a plain white background"), seen).all_true


def test_a_background_in_a_thing_s_colour():
    picture = Image.new("RGB", (64, 64), (214, 38, 38))
    ImageDraw.Draw(picture).ellipse((36, 36, 60, 60), fill=(36, 84, 212))
    (seen,) = look(np.asarray(picture)).scene.things
    assert (COLOURS[seen.colour], SHAPES[seen.shape], seen.place) == ("blue", "circle", 3)


def test_strange_shapes_and_colours_are_not_guessed():
    picture = Image.new("RGB", (64, 64), (240, 240, 240))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((2, 10, 30, 14), fill=(36, 84, 212))  # a bar
    draw.ellipse((36, 36, 60, 60), fill=(0, 255, 255))
    bar, disc = sorted(look(np.asarray(picture)).scene.things, key=lambda one: one.place)
    assert bar.shape == -1 and bar.colour == COLOURS.index("blue")
    assert disc.colour == -1 and disc.shape == SHAPES.index("circle")


def test_more_than_four_things():
    picture = Image.new("RGB", (64, 64), (240, 240, 240))
    draw = ImageDraw.Draw(picture)
    for row in range(3):
        for column in range(3):
            draw.ellipse((3 + 20 * column, 3 + 20 * row, 17 + 20 * column, 17 + 20 * row), fill=(42, 154, 58))
    seen = look(np.asarray(picture)).scene
    assert len(seen.things) == 9 <= MOST_THINGS and {(one.colour, one.shape) for one in seen.things} == {(3, 0)}
    assert held_against(claims("nine green circles"), seen).of("count") == 1


def test_touching_things_are_told_apart():
    """A large and a medium thing, one covering the rim of the other."""
    right = 0
    pairs = [((0, 0), (4, 1)), ((3, 1), (6, 0)), ((5, 3), (2, 0)), ((7, 0), (4, 4))]
    for (colour, shape), (other, second) in pairs:
        scene = Scene((Thing(colour, shape, 2, 0), Thing(other, second, 1, 4)), 0, 0)
        seen = look(render(scene, 64, 3)).scene
        right += {(one.colour, one.shape) for one in seen.things} == {(colour, shape), (other, second)}
    assert right >= 3


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 4), (0, 32, 3)])
def test_other_arrays_are_refused(shape):
    with pytest.raises(ValueError, match="must be"):
        look(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (700, 40)])
def test_pictures_of_extreme_sizes_give_a_scene(shape):
    found = look(np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8))
    assert -1 <= found.ground < len(GROUNDS) and 0 <= found.ground_share <= 1 and len(found.things) <= 12
    assert all(0 <= seen.x <= 4096 and 0 <= seen.y <= 4096 and seen.fit <= 1 for seen in found.things)


def test_scores_say_how_sure_it_is():
    scene = Scene((Thing(0, 0, 2, 4),), GROUNDS.index("white"), 0)
    clean = look(render(scene, 32, 0)).things[0]
    blurry = look(blurred(render(scene, 32, 0), 2)).things[0]
    assert clean.fit > 0.98 and clean.shape_margin > blurry.shape_margin and clean.colour_margin > 20
    assert abs(clean.x - 2048) < 160 and abs(clean.radius - 960) < 90
    assert look(np.asarray(Image.open(io.BytesIO(encode_jpeg(render(scene, 256, 0)))))).scene == scene
