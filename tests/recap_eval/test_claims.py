"""What captions of scenes claim: on our own languages against the truth they were written from, and on other people's words."""

import itertools
import time
from dataclasses import replace

import pytest

from recap_eval.data.scenes import language, questions
from recap_eval.data.scenes.claims import MOST_MENTIONS, claims
from recap_eval.data.scenes.told import Claims, Count, Mention, Relation
from recap_eval.data.scenes.verdict import KINDS, held_against
from recap_eval.data.scenes.world import COLOURS, GROUNDS, SHAPES, SIZES, TEXTURES, Scene, Thing, draw_scenes
from recap_eval.data.scenes.write import ALT_NOISE
from recap_eval.hashrand import Draws

SCENES = draw_scenes("test", 0, 1500, 0)
NOISELESS = dict.fromkeys(ALT_NOISE, 0.0)
RED, BLUE, GREEN, WHITE = (COLOURS.index("red"), COLOURS.index("blue"), COLOURS.index("green"), 8)
CIRCLE, SQUARE, STAR, RING = (SHAPES.index(name) for name in ("circle", "square", "star", "ring"))
SMALL, MEDIUM, LARGE = range(3)
RED_CIRCLE, BLUE_SQUARE = Mention(RED, CIRCLE), Mention(BLUE, SQUARE)


def verdict(text, scene):
    return held_against(claims(text), scene)


def test_true_captions_hold_and_are_understood_whole():
    for number, scene in enumerate(SCENES):
        draws = Draws(1, number)
        texts = [*language.short_captions(scene, draws), language.recaption(scene, 0, draws)[0]]
        texts.append(language.alt_text(scene, scene, NOISELESS, draws).text)
        for text in texts:
            found = claims(text)
            assert found.n and found.unknown == 0, text
            assert held_against(found, scene).all_true, (text, scene)


def test_the_long_caption_tells_everything():
    for number, scene in enumerate(SCENES):
        found = verdict(language.long_caption(scene, Draws(2, number)), scene)
        assert found.recall == 1 and found.all_true and found.hallucination == 0
        assert len(found.judged) == 4 * len(scene.things) + 3  # and the count, the ground, the texture


VARIANTS = (
    "The {ground} background, which is {texture}, has {full} {place}.",
    "{Place}, {full}. Background: {texture} {ground}.",
    "{full} located {place} of the image, on {ground}",
    "There is {kind}. It is {size}. The backdrop is {texture}.",
    "{kind} ({size}, {place}) against a {texture} {ground} backdrop!",
    "The {shape} is {colour} and {size}; the background is {ground} with a texture",
    "{Place} we can see a very {size} {shape} which is {colour}",
    "This is a picture of {kind}, and the {shape} is {size}.",
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_word_order_claims_the_same(variant):
    for scene in SCENES[:300]:
        thing = scene.things[0]
        words = {"kind": language.article(language.kind_name(thing)), "full": language.article(language.full_name(thing))}
        words |= {"colour": COLOURS[thing.colour], "shape": SHAPES[thing.shape], "size": SIZES[thing.size]}
        place = language.PLACE_PHRASES[thing.place].replace("centre", "center").replace("top", "upper")
        words |= {"place": place, "Place": place.capitalize(), "texture": TEXTURES[scene.texture]}
        text = variant.format(**words, ground=GROUNDS[scene.ground].replace("gray", "grey"))
        found = claims(text)
        assert len(found.mentions) == 1 and found.unknown <= 2, (text, found)
        assert held_against(found, scene).all_true and found.n >= variant.count("{") - 1, (text, found)


def differences(seen, scene):
    """Attributes that differ, at the pairing of things at which fewest do."""
    rows = [(one.colour, one.shape, one.size, one.place) for one in seen.things]
    wrong = [
        sum(a != b for one, other in zip(rows, order, strict=True) for a, b in zip(one, other, strict=True))
        for order in itertools.permutations([(one.colour, one.shape, one.size, one.place) for one in scene.things])
    ]
    return min(wrong) + (seen.ground != scene.ground) + (seen.texture != scene.texture)


@pytest.mark.parametrize("rate", [0.03, 0.2, 0.6])
def test_every_misseen_attribute_is_found(rate):
    """Against brute force over pairings; a single mistake is found with its kind."""
    for number, scene in enumerate(SCENES):
        seen, wrong = language.misseen(scene, rate, Draws(3, number))
        found = verdict(language.long_caption(seen, Draws(4, number)), scene)
        mistakes = [kind for kind, holds in found.judged if not holds]
        assert len(mistakes) == differences(seen, scene) <= wrong
        if wrong == 1:
            names = {"object": "shape"}
            pairs = [(seen, scene), *zip(seen.things, scene.things, strict=True)]
            (kind,) = mistakes
            assert any(getattr(a, names.get(kind, kind), 0) != getattr(b, names.get(kind, kind), 0) for a, b in pairs)


def test_swapped_pairs():
    kinds = []
    for number, scene in enumerate(SCENES):
        for pair in questions.swapped_pairs(scene, Draws(5, number)):
            kinds.append(pair["kind"])
            assert verdict(pair["positive"], scene).all_true
            wrong = [kind for kind, holds in verdict(pair["negative"], scene).judged if not holds]
            assert wrong and set(wrong) <= {"relation"} if pair["kind"] == "relation" else {"colour", "object"} & set(wrong), (
                pair
            )
    assert min(kinds.count("attribute"), kinds.count("relation")) > 500


@pytest.mark.parametrize(
    ("text", "mentions", "more"),
    [
        ("a red circle to the left of a blue square", (RED_CIRCLE, BLUE_SQUARE), {"relations": (Relation(0, "left", 1),)}),
        ("Left of the red circle is a blue square.", (RED_CIRCLE, BLUE_SQUARE), {"relations": (Relation(1, "left", 0),)}),
        ("red circle above blue square", (RED_CIRCLE, BLUE_SQUARE), {"relations": (Relation(0, "above", 1),)}),
        (
            "A red circle is below and right of a blue square",
            (RED_CIRCLE, BLUE_SQUARE),
            {"relations": (Relation(0, "below", 1), Relation(0, "right", 1))},
        ),
        ("two red circles", (RED_CIRCLE, RED_CIRCLE), {"counts": (Count(2, RED_CIRCLE),)}),
        ("three objects on a grey backdrop", (), {"counts": (Count(3),), "ground": 1}),
        ("a single shape", (), {"counts": (Count(1),)}),
        ("no blue squares and without any shapes", (), {"counts": (Count(0, BLUE_SQUARE), Count(0))}),
        (
            "Two circles: one is red, the other is blue",
            (RED_CIRCLE, Mention(BLUE, CIRCLE)),
            {"counts": (Count(2, Mention(shape=CIRCLE)),)},
        ),
        ("a big red disc in the upper-right corner", (Mention(RED, CIRCLE, LARGE, (1,)),), {}),
        ("The circle is red and tiny, and it is in the center", (Mention(RED, CIRCLE, SMALL, (4,)),), {}),
        ("a red circle and a blue square and it is in the center", (RED_CIRCLE, BLUE_SQUARE), {"unknown": 1}),
        ("There is a red circle. It is in the Center.", (Mention(RED, CIRCLE, None, (4,)),), {}),
        ("In the bottom left is a medium-sized ring", (Mention(None, RING, MEDIUM, (2,)),), {}),
        ("a red circle on the left side of the image", (Mention(RED, CIRCLE, None, (0, 2)),), {}),
        ("a red circle in the top left of the picture", (Mention(RED, CIRCLE, None, (0,)),), {}),
        ("The red circle is small. The red circle is in the middle.", (Mention(RED, CIRCLE, SMALL, (4,)),), {}),
        ("a red circle. another red circle", (RED_CIRCLE, RED_CIRCLE), {}),
        ("a red star-shaped object at top left", (Mention(RED, STAR, None, (0,)),), {}),
        ("a white circle", (Mention(WHITE, CIRCLE),), {}),
        ("something red", (), {"unknown": 2}),
        ("red", (Mention(RED),), {}),
        ("a red circle on white", (RED_CIRCLE,), {"ground": 0}),
        ("a gray background with polka dots", (), {"ground": 1, "texture": 3}),
        ("The background is beige and chequered", (), {"ground": 3, "texture": 2}),
        ("a blue background", (), {"ground": 4 + BLUE}),
        ("cheap red stickers shop now", (), {"unknown": 5}),
        ("a red circle, not a blue square", (RED_CIRCLE,), {"unknown": 3}),
        ("top 10 circle designs of the year", (Mention(shape=CIRCLE),), {"unknown": 4}),
        ("a red blue circle", (), {"unknown": 3}),
        ("", (), {}),
        ("!!! ... ,,,", (), {}),
    ],
)  # fmt: skip
def test_other_peoples_words(text, mentions, more):
    expected = {"relations": (), "counts": (), "ground": None, "texture": None, "unknown": 0} | more
    found = claims(text)
    assert found.mentions == mentions
    assert {name: getattr(found, name) for name in expected} == expected


def test_two_words_for_one_thing_do_not_contradict():
    assert claims("The background is white. The background is gray.") == Claims(ground=0, words=8, unknown=1)
    circles = claims("two red circles, one large and one small")
    assert [one.size for one in circles.mentions] == [LARGE, SMALL]


TWO = Scene((Thing(RED, CIRCLE, LARGE, 0), Thing(BLUE, SQUARE, SMALL, 3)), 0, 0)


def wrong(text, scene=TWO):
    return [kind for kind, holds in verdict(text, scene).judged if not holds]


def test_what_is_not_there_is_not_true():
    assert wrong("a blue circle and a red square") == ["colour", "colour"]  # colours are bound to their shapes
    assert wrong("a red circle, a blue square and a green star") == ["object", "colour"]
    assert wrong("three objects") == ["count"] and wrong("two objects") == []
    assert wrong("a white circle") == ["colour"] and wrong("a blue background") == ["ground"]
    assert wrong("a red circle below a blue square") == ["relation"]
    assert wrong("a ring below a circle") == ["object"]  # of the square the relation holds
    found = verdict("a red circle and a small green star", TWO)
    assert (found.invented, found.hallucination, found.told, found.there) == (1, 0.5, 3, 10)
    assert found.of("colour") == 0.5 and found.of("relation") is None


def test_things_alike_are_told_apart_by_their_relations():
    scene = Scene((Thing(RED, CIRCLE, LARGE, 0), Thing(GREEN, CIRCLE, SMALL, 3)), 0, 0)
    for text in ("a circle above another circle", "a circle below another circle", "a circle right of a large circle"):
        assert wrong(text, scene) == []
    assert wrong("a green circle above another circle", scene) == ["relation"]


def test_nothing_recognised_makes_nothing_true():
    nothing = Scene((), -1, -1)
    found = verdict("a red circle above a blue square on a plain white background. two objects", nothing)
    assert found.truth == 0 and found.recall is None and set(found.assigned) == {None}
    unknown = Scene((Thing(-1, -1, 0, 0),), -1, -1)
    assert wrong("a small red circle in the top left", unknown) == ["object", "colour"]
    assert verdict("hello", TWO).truth is None and verdict("hello", TWO).all_true is None


def test_hostile_texts_are_bounded():
    texts = {
        "things": "the red circle " * 50_000, "new": "a red circle and " * 50_000, "relations": "above and left of " * 50_000,
        "adjectives": "red " * 200_000, "digits": "9" * 200_000 + " circles", "marks": "((,.;!" * 50_000,
        "unknown": "\u202e\x00zß𝟛 " * 50_000, "sides": "the left top " * 50_000,
    }  # fmt: skip
    for name, text in texts.items():
        start = time.process_time()
        found = claims(text)
        assert time.process_time() - start < 10, name
        assert len(found.mentions) <= MOST_MENTIONS and found.unknown <= found.words
        held_against(found, TWO)


def test_kinds_are_all_there_is():
    scene = replace(TWO, ground=1)
    text = f"two objects: {language.full_name(scene.things[0])} in the top left above a square on {language.ground_name(scene)}"
    assert {kind for kind, _ in verdict(text, scene).judged} == set(KINDS)
