"""A trained folder in other hands: `transformers serve` answers as plain transformers does, alone and in a batch."""

import base64

import pytest
import torch
from captioner_data import make_speaker, png
from openai import OpenAI
from PIL import Image
from serving import serving
from transformers import AutoModelForImageTextToText, AutoProcessor

pytestmark = [pytest.mark.serial, pytest.mark.slow]

PROMPTS = ("What is shown?", "a", "Please generate a detailed caption of this image. Please be as descriptive as possible.")
MOST = 12


def conversation(prompt):
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


def answers(folder, images, prompts):
    """Return what plain transformers says, all in one batch."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    texts = [processor.apply_chat_template(conversation(prompt), add_generation_prompt=True) for prompt in prompts]
    inputs = processor(images=images, text=texts, padding=True, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        ids = model.generate(**inputs, max_new_tokens=MOST)
    return processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_served_and_plain_say_the_same(tmp_path):
    folder = make_speaker(tmp_path / "llava", seed=3)
    payloads = [png(number, 32, 32) for number in (1, 6, 9)]
    images = []
    for number, payload in enumerate(payloads):
        (tmp_path / f"{number}.png").write_bytes(payload)
        images.append(Image.open(tmp_path / f"{number}.png").convert("RGB"))
    batch = answers(folder, images, PROMPTS)
    alone = [answers(folder, [image], [prompt])[0] for image, prompt in zip(images, PROMPTS, strict=True)]
    assert batch == alone and len(set(batch)) > 1  # prompts of other lengths are padded on the left, and nothing sees it
    with serving(folder) as url:
        client = OpenAI(base_url=url, api_key="none", max_retries=0)
        for payload, prompt, wanted in zip(payloads, PROMPTS, alone, strict=True):
            shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(payload).decode()}"}}
            content = [shown, {"type": "text", "text": prompt}]
            reply = client.chat.completions.create(
                model=str(folder), messages=[{"role": "user", "content": content}], max_tokens=MOST, temperature=0
            )
            assert reply.choices[0].message.content == wanted
