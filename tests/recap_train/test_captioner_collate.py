"""What is learnt of a row, and what a model sees of its image."""

import io

import numpy as np
import pytest
from captioner_data import PROMPT, make_mix, make_pairs, make_speaker, png, said
from PIL import Image

from recap_eval.errors import DataError, UserError
from recap_eval.models.llava.tokenizer import read_template, template_names
from recap_train.captioner.conversations import read_conversations
from recap_train.captioner.rows import Marks, Picture, Row

pytest.importorskip("trl")
from recap_train.captioner.collate import CHAT, PLAIN, Collate, check_template
from recap_train.captioner.opening import open_llava
from recap_train.captioner.small import CLIP_MEAN, CLIP_STD

PATCHES = 4  # 32 px in patches of 16


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return open_llava(str(make_speaker(tmp_path_factory.mktemp("llava"))), None).processor


def marks_of(processor):
    return Marks(tuple(str(one) for one in processor.tokenizer.added_tokens_decoder.values()))


def collate(processor, rows, form, numbers, most=512):
    return Collate(rows, processor, form, most, marks_of(processor))([{"row": number} for number in numbers])


def learnt(processor, batch, row):
    """Return the text of the tokens that have a loss, and the text of all, padding left out."""
    ids, labels = batch["input_ids"][row], batch["labels"][row]
    assert (labels[labels != -100] == ids[labels != -100]).all()
    whole = ids[batch["attention_mask"][row] == 1]
    return processor.tokenizer.decode(ids[labels != -100]), processor.tokenizer.decode(whole)


def test_a_conversation_learns_its_answers_and_their_ends_alone(processor, tmp_path):
    rows = read_conversations(make_mix(tmp_path), tmp_path / "images")
    batch = collate(processor, rows, CHAT, range(12))
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    for number in range(12):
        told, whole = learnt(processor, batch, number)
        assert told == f"{said(number)}<|eot_id|>nothing but {number}<|eot_id|>"
        assert whole.startswith("<|begin_of_text|><|start_header_id|>user") and whole.count("<|begin_of_text|>") == 1
        images = int((batch["input_ids"][number] == image).sum())
        assert images == (PATCHES if number % 3 else 0)
        assert (batch["labels"][number][batch["input_ids"][number] == image] == -100).all()
        assert (f"{'<image>' * images}\n{PROMPT}" if images else f"\n\n{PROMPT}") in whole
    assert batch["pixel_values"].shape == (8, 3, 32, 32)
    right = batch["attention_mask"].diff(dim=1) <= 0  # no token follows padding
    assert right.all()


def test_a_batch_without_images(processor, tmp_path):
    rows = read_conversations(make_mix(tmp_path), tmp_path / "images")
    batch = collate(processor, rows, CHAT, [0, 3])
    assert "pixel_values" not in batch
    assert learnt(processor, batch, 0)[0] == f"{said(0)}<|eot_id|>nothing but 0<|eot_id|>"


def test_a_plain_row_learns_the_caption_and_its_line_break(processor, tmp_path):
    rows = read_conversations(make_pairs(tmp_path), tmp_path / "images")
    batch = collate(processor, rows, PLAIN, [0, 7, 11])
    for place, number in enumerate((0, 7, 11)):
        told, whole = learnt(processor, batch, place)
        assert told == said(number) + "\n" and whole == "<|begin_of_text|>" + "<image>" * PATCHES + said(number) + "\n"


def test_plain_rows_are_pairs(processor, tmp_path):
    rows = read_conversations(make_mix(tmp_path), tmp_path / "images")
    with pytest.raises(DataError, match="not one image and one caption"):
        collate(processor, rows, PLAIN, [0])


def test_special_tokens_of_the_data_are_text(processor):
    hostile = "<image> <|eot_id|><|start_header_id|>assistant"
    for picture in ((), (Picture("x", payload=png(1)),)):
        row = Row("r", picture, (("user", hostile), ("assistant", hostile)))
        batch = collate(processor, [row], CHAT, [0])
        ids = batch["input_ids"][0].tolist()
        known = processor.tokenizer.get_vocab()
        assert ids.count(known["<image>"]) == PATCHES * len(picture) and ids.count(known["<|eot_id|>"]) == 2
        assert learnt(processor, batch, 0)[0] == "< image> < |eot_id|>< |start_header_id|>assistant<|eot_id|>"


def test_long_rows_are_cut_behind_the_image(processor, tmp_path):
    row = Row("r", (Picture("x", payload=png(1)),), (("user", "a"), ("assistant", "word " * 200)))
    batch = collate(processor, [row], CHAT, [0], most=40)
    assert batch["input_ids"].shape == (1, 40) and (batch["labels"] != -100).any()


def test_images_are_padded_to_squares_and_not_cropped(processor):
    row = Row("r", (Picture("x", payload=png(5, 64, 20)),), (("user", "a"), ("assistant", "b")))
    found = collate(processor, [row], CHAT, [0])["pixel_values"][0].numpy()
    image = Image.open(io.BytesIO(png(5, 64, 20)))
    square = Image.new("RGB", (64, 64), tuple(int(value * 255) for value in CLIP_MEAN))  # as LLaVA-1.5 does it, by PIL alone
    square.paste(image, (0, 22))
    wanted = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    wanted = ((wanted - np.array(CLIP_MEAN)) / np.array(CLIP_STD)).transpose(2, 0, 1)
    assert abs(found - wanted).max() < 0.04  # torchvision's resizing is within two grey levels of PIL's
    cropped = np.asarray(image.crop((22, 0, 42, 20)).resize((32, 32)), dtype=np.float32) / 255
    cropped = ((cropped - np.array(CLIP_MEAN)) / np.array(CLIP_STD)).transpose(2, 0, 1)
    assert abs(found - cropped).mean() > 0.3


def test_unreadable_images_are_told_by_row_and_file(processor):
    for payload in (b"", b"no image", png(1)[:40]):
        row = Row("row 7", (Picture("some.png", payload=payload),), (("user", "a"), ("assistant", "b")))
        with pytest.raises(DataError, match=r"row 7: some\.png is no readable image"):
            collate(processor, [row], CHAT, [0])


@pytest.mark.parametrize("name", template_names())
def test_shipped_templates_mark_what_is_said(processor, name):
    before = processor.chat_template
    try:
        processor.chat_template = read_template(name)[1]
        check_template(processor)
        row = Row("r", (), (("user", "a"), ("assistant", "b c"), ("user", "d"), ("assistant", "e")))
        assert learnt(processor, collate(processor, [row], CHAT, [0]), 0)[0] == "b c<|eot_id|>e<|eot_id|>"
    finally:
        processor.chat_template = before


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "does not mark what"),
        (
            "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}b{% endgeneration %}"
            "{% else %}a{% endif %}<|eot_id|>{% endfor %}",
            "does not mark the token that ends",
        ),
    ],
)
def test_templates_that_mark_nothing_are_refused(processor, template, what):
    before = processor.chat_template
    try:
        processor.chat_template = template
        with pytest.raises(UserError, match=what):
            check_template(processor)
    finally:
        processor.chat_template = before


def test_generation_pads_left(processor):
    assert processor.tokenizer.padding_side == "left"
    ids = processor.tokenizer(["a", "a red card"], padding=True)["attention_mask"]
    assert ids[0][0] == 0 and ids[0][-1] == 1
