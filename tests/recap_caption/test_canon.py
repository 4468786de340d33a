"""Images made ready: the pixels of LLaVA-1.5, without loss; and whatever else the web has under the name of an image."""

import base64
import io
import random

import numpy as np
import pytest
from PIL import Image

from recap_caption.canon import LOSSLESS, MOST_PIXELS, BadImage, Canon, data_uri, measured

SIZES = [(500, 375), (375, 500), (336, 336), (37, 211), (2, 9), (640, 3), (1025, 1023)]


def noise(width, height, mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (max(1, height // 3), max(1, width // 3), 4), dtype=np.uint8), "RGBA")
    return image.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def llava():
    """LLaVA-1.5's own image processor, padding and all, at 336 pixels."""
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    sizes = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    return LlavaImageProcessorPil(do_pad=True, **sizes)


def pixels(processor, image):
    return np.asarray(processor(images=[image], return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_llava_s_and_its_processor_leaves_them_alone(size, llava):
    payload = encode(noise(*size))
    made = Canon().make(payload, "x")
    assert (made.width, made.height) == size and made.image.size == (336, 336)
    theirs = pixels(llava, Image.open(io.BytesIO(payload)).convert("RGB"))
    assert np.abs(pixels(llava, made.image) - theirs).max() == 0
    values = np.asarray(made.image, dtype=np.float64).transpose(2, 0, 1) / 255
    mean, std = (np.array(part)[:, None, None] for part in (llava.image_mean, llava.image_std))
    assert np.abs((values - mean) / std - theirs).max() < 1e-5


@pytest.mark.parametrize("crops", [True, False], ids=["crop", "squash"])
def test_a_processor_that_would_crop_leaves_them_alone_too(crops):
    from transformers import CLIPImageProcessor

    sizes = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    sizes = sizes if crops else {"size": {"height": 336, "width": 336}, "do_center_crop": False}
    image = Canon().make(encode(noise(300, 200)), "x").image
    processor = CLIPImageProcessor(**sizes)
    mean, std = (np.array(part)[:, None, None] for part in (processor.image_mean, processor.image_std))
    plain = (np.asarray(image, dtype=np.float64).transpose(2, 0, 1) / 255 - mean) / std
    assert np.abs(pixels(processor, image) - plain).max() < 1e-5


@pytest.mark.parametrize("form", LOSSLESS)
@pytest.mark.parametrize("side", [336, 64, None])
def test_nothing_is_lost_on_the_way_to_a_server(form, side):
    made = Canon(side).make(encode(noise(90, 130)), "x")
    uri = data_uri(made.encoded(form), form)
    head, _, body = uri.partition(",")
    assert head == f"data:image/{form.lower()};base64"
    back = Image.open(io.BytesIO(base64.b64decode(body)))
    assert back.mode == "RGB" and back.format == form and back.tobytes() == made.image.tobytes()
    assert made.image.size == ((side, side) if side else (90, 130))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_kind_of_image_becomes_rgb(form, mode):
    grey = np.asarray(noise(40, 30, "L"))
    image = Image.fromarray(grey.astype(np.uint16)) if mode == "I;16" else noise(40, 30, "RGBA").convert(mode)
    try:
        payload = encode(image, form)
    except (OSError, ValueError, KeyError):
        pytest.skip("there is no such file")
    made = Canon(32).make(payload, "x")
    assert made.image.mode == "RGB" and made.image.size == (32, 32)
    expected = Image.open(io.BytesIO(payload)).convert("RGB")
    square = Image.new("RGB", (40, 40), (122, 116, 104))
    square.paste(expected, (0, 5))
    assert made.image.tobytes() == square.resize((32, 32), Image.Resampling.BICUBIC).tobytes()


def test_an_orientation_is_not_applied_and_the_first_frame_counts():
    image, exif = noise(40, 30), Image.Exif()
    exif[0x0112] = 6
    plain, turned = (Canon(32).make(encode(image, "JPEG", **more), "x") for more in ({}, {"exif": exif}))
    assert plain.image.tobytes() == turned.image.tobytes() and turned.width == 40
    frames = [noise(40, 30, seed=seed) for seed in (1, 2)]
    moving = Canon(32).make(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), "x")
    assert moving.image.tobytes() == Canon(32).make(encode(frames[0], "GIF"), "x").image.tobytes()


def bomb():
    return encode(Image.new("1", (20_000, 20_000)))


def fake_size(width, height):
    """Return a PNG whose head says another size."""
    import struct
    import zlib

    good = encode(noise(9, 9))
    head = b"IHDR" + struct.pack(">II", width, height) + good[24:29]
    return good[:12] + head + struct.pack(">I", zlib.crc32(head)) + good[33:]


BAD = {
    "empty": (b"", "unreadable"),
    "html": (b"<html>not found</html>", "unreadable"),
    "cut jpeg": (encode(noise(90, 90), "JPEG")[:-400], "unreadable"),
    "cut png": (encode(noise(90, 90))[:-400], "unreadable"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unreadable"),
    "one pixel": (encode(Image.new("RGB", (1, 1))), "too_small"),
    "a line": (encode(noise(90, 1)), "too_small"),
    "white": (encode(Image.new("RGB", (90, 60), "white")), "blank"),
    "clear": (encode(Image.new("RGBA", (90, 60))), "blank"),
    "bomb": (bomb(), "too_large"),
    "larger bomb": (fake_size(100_000, 100_000), "too_large"),
    "a long strip": (fake_size(int(MOST_PIXELS**0.5) + 1, 2), "too_large"),
    "no pixels": (fake_size(0, 9), "unreadable"),
}


@pytest.mark.parametrize(("payload", "kind"), BAD.values(), ids=BAD)
def test_what_cannot_be_captioned_is_told_by_kind(payload, kind):
    with pytest.raises(BadImage, match=r"^a/b\.jpg ") as found:
        Canon().make(payload, "a/b.jpg")
    assert found.value.kind == kind and "\n" not in found.value.what


def test_the_longest_side_that_is_allowed_is_allowed():
    assert measured(fake_size(int(MOST_PIXELS**0.5), 2), "x") == (9459, 2)


def test_no_program_is_run_on_an_image(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BadImage):
        Canon().make(encode(noise(40, 30), "EPS"), "x")
    assert not ran.exists()


def test_damage_of_any_kind_is_a_bad_image_or_another_picture():
    rng = random.Random(0)
    files = [encode(noise(37, 24), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "ICO", "JPEG2000")]
    for _ in range(1500):
        payload = bytearray(rng.choice(files))
        for _ in range(rng.randrange(1, 6)):
            payload[rng.randrange(min(len(payload), rng.choice((40, 10**6))))] = rng.randrange(256)
        try:
            assert Canon(32).make(bytes(payload[: rng.randrange(10, 10**5)]), "x").image.size == (32, 32)
        except BadImage as error:
            assert error.kind in ("unreadable", "too_large", "too_small", "blank")


def test_what_is_made_of_images_is_on_record():
    assert Canon().record() == {
        "side": 336, "pad": [122, 116, 104], "resize": "bicubic", "orientation": "as stored", "most_pixels": MOST_PIXELS
    }  # fmt: skip
    assert "pad" not in Canon(None).record()
