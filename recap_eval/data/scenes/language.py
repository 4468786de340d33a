"""What is said about a scene: alt-text as the web has it, human-like captions, a faithful long one, and a recaption.

Every function takes the scene and a `Draws`; the same draws give the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recap_eval.data.scenes.world import CENTRE, COLOURS, GROUNDS, SHAPES, SIZES, TEXTURES, Scene, Thing
from recap_eval.hashrand import Draws

COUNT_WORDS = ("no", "one", "two", "three", "four")
ALT_KINDS = ("missing", "generic", "wrong", "spammy", "partial")
PLACE_PHRASES = (
    "in the top left",
    "in the top right",
    "in the bottom left",
    "in the bottom right",
    "in the centre",
)

GENERIC = ("image", "photo", "picture", "untitled", "img 2381", "dsc 0042", "thumbnail", "logo", "banner", "click to enlarge")
SPAM = (
    "buy {colour} {shape} online free shipping",
    "best price {shape} sale 50 off",
    "{shape} wallpaper hd free download",
    "cheap {colour} stickers shop now",
    "top 10 {shape} designs of the year",
    "{colour} {shape} vector stock royalty free",
)
CLEAN_ALT = (
    "{colour} {shape}",
    "{colour} {shape}",
    "{size} {colour} {shape}",
    "photo of a {colour} {shape}",
    "a picture of {an_colour} {shape}",
    "{colour} {shape} on {ground}",
    "{colour} {shape} clipart",
)


def article(word: str) -> str:
    """Return the word with its indefinite article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def kind_name(thing: Thing) -> str:
    """Return colour and shape, such as "red circle"."""
    return f"{COLOURS[thing.colour]} {SHAPES[thing.shape]}"


def full_name(thing: Thing) -> str:
    """Return size, colour and shape, such as "large red circle"."""
    return f"{SIZES[thing.size]} {kind_name(thing)}"


def ground_name(scene: Scene) -> str:
    """Return the background, such as "a striped gray background"."""
    return f"a {TEXTURES[scene.texture]} {GROUNDS[scene.ground]} background"


def relation(a: Thing, b: Thing, draws: Draws) -> str:
    """Return a true spatial relation of `a` to `b`; they stand in different quadrants."""
    true = []
    if a.place % 2 != b.place % 2:
        true.append("to the left of" if a.place % 2 == 0 else "to the right of")
    if a.place // 2 != b.place // 2:
        true.append("above" if a.place // 2 == 0 else "below")
    return draws.pick(true)


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


@dataclass(frozen=True)
class AltText:
    """An alt-text and which kind of noise it carries ("clean" for none)."""

    text: str
    kind: str


def alt_text(scene: Scene, stranger: Scene, noise: dict[str, float], draws: Draws) -> AltText:
    """Write the alt-text a web page might have.

    Args:
        scene: The scene shown.
        stranger: Another scene, described by a "wrong" alt-text.
        noise: Rate of each kind in ALT_KINDS; what is left is clean.
        draws: The draws of this alt-text.
    """
    rest = draws.bits() / 2**64
    kind = "clean"
    for name in ALT_KINDS:
        if rest < noise[name]:
            kind = name
            break
        rest -= noise[name]
    return AltText(_alt_words(kind, scene, stranger, draws), kind)


def _alt_words(kind: str, scene: Scene, stranger: Scene, draws: Draws) -> str:
    told = stranger if kind == "wrong" else scene
    main = told.things[0]
    colour, shape, ground = COLOURS[main.colour], SHAPES[main.shape], GROUNDS[told.ground]
    words = {"colour": colour, "shape": shape, "size": SIZES[main.size], "ground": ground, "an_colour": article(colour)}
    templates = {
        "missing": ("",),
        "generic": GENERIC,
        "spammy": SPAM,
        "partial": ("{colour}", "{shape}", "{shape}", "{shape} clipart"),
    }
    return draws.pick(templates.get(kind, CLEAN_ALT)).format(**words)


def short_captions(scene: Scene, draws: Draws, count: int = 5) -> list[str]:
    """Write `count` different short captions, as five annotators would: each says a part of what is there."""
    main = scene.things[0]
    counted = f"{COUNT_WORDS[len(scene.things)]} {'shapes' if len(scene.things) > 1 else 'shape'}"
    options = [
        article(kind_name(main)),
        f"{article(full_name(main))} {PLACE_PHRASES[main.place]}",
        f"{article(kind_name(main))} on {ground_name(scene)}",
        f"{article(full_name(main))} on a {GROUNDS[scene.ground]} background",
        f"there is {article(kind_name(main))} {PLACE_PHRASES[main.place]} of the picture",
        f"a picture with {counted} on {ground_name(scene)}",
    ]
    for other in scene.things[1:]:
        options.append(f"{article(kind_name(main))} and {article(kind_name(other))}")
        options.append(f"{article(kind_name(other))} {relation(other, main, draws)} {article(kind_name(main))}")
        options.append(f"{article(full_name(other))} {PLACE_PHRASES[other.place]} and {article(kind_name(main))}")
    chosen: list[str] = []
    while len(chosen) < count:
        chosen.append(options.pop(draws.below(len(options))))
    return chosen


def long_caption(scene: Scene, draws: Draws) -> str:
    """Describe everything in the scene, correctly, as a careful person would."""
    sentences = []
    for thing in scene.things:
        if draws.chance(0.25):
            sentences.append(f"{PLACE_PHRASES[thing.place]} there is {article(full_name(thing))}")
        else:
            sentences.append(f"{article(full_name(thing))} is {PLACE_PHRASES[thing.place]}")
    number = len(scene.things)
    who = "the only object is" if number == 1 else f"the {COUNT_WORDS[number]} objects are"
    sentences.append(f"{who} on {ground_name(scene)}")
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def misseen(scene: Scene, rate: float, draws: Draws) -> tuple[Scene, int]:
    """Return the scene as a fallible captioner sees it, and how many attributes it got wrong.

    Args:
        scene: The true scene.
        rate: Probability that one attribute (colour, shape, size, place, ground, texture) is mistaken for another value.
        draws: The draws of this captioner on this scene.
    """
    wrong = 0

    def see(value: int, options: int) -> int:
        nonlocal wrong
        if not draws.chance(rate):
            return value
        wrong += 1
        return (value + 1 + draws.below(options - 1)) % options

    things = []
    for thing in scene.things:
        things.append(
            replace(
                thing,
                colour=see(thing.colour, len(COLOURS)),
                shape=see(thing.shape, len(SHAPES)),
                size=see(thing.size, len(SIZES)),
                place=see(thing.place, CENTRE),
            )
        )
    ground, texture = see(scene.ground, len(GROUNDS)), see(scene.texture, len(TEXTURES))
    return Scene(tuple(things), ground, texture), wrong


RECAPTION_HEADS = ("The image shows", "The image features", "This picture depicts", "We can see")
RECAPTION_JOINS = ("with", "next to", "accompanied by", "along with")
RECAPTION_GROUNDS = (
    "The background is {texture} {ground}.",
    "The scene is set against a {texture} {ground} background.",
    "Everything is on a {ground} background that is {texture}.",
)
TELLS_SIZE, TELLS_PLACE, TELLS_GROUND = 0.8, 1.0, 0.7  # how often the captioner mentions what it saw


def _recaption_thing(thing: Thing, draws: Draws) -> str:
    name = full_name(thing) if draws.chance(TELLS_SIZE) else kind_name(thing)
    place = f" {PLACE_PHRASES[thing.place]}" if draws.chance(TELLS_PLACE) else ""
    return article(name) + place


def recaption(scene: Scene, rate: float, draws: Draws) -> tuple[str, int]:
    """Describe the scene as a captioner with a given error rate would.

    It names every object, and often but not always sizes, places and the background: were the background always told, a
    contrastive model would tell a batch's images apart by it and never learn shapes.

    Args:
        scene: The true scene.
        rate: Error rate per attribute, see `misseen`.
        draws: The draws of this recaption.

    Returns:
        The caption and the number of wrong attributes in what the captioner saw.
    """
    seen, wrong = misseen(scene, rate, draws)
    parts = [_recaption_thing(thing, draws) for thing in seen.things]
    text = f"{draws.pick(RECAPTION_HEADS)} {parts[0]}"
    if len(parts) > 1:
        text += f", {draws.pick(RECAPTION_JOINS)} {_listing(parts[1:])}"
    if not draws.chance(TELLS_GROUND):
        return text + ".", wrong
    ground = draws.pick(RECAPTION_GROUNDS).format(ground=GROUNDS[seen.ground], texture=TEXTURES[seen.texture])
    return f"{text}. {ground}", wrong
