"""How fast one training step of scenes-tiny is with torch's fused CPU attention and with plain matrix products.

All in one run, alternating, median of five rounds; prints samples per second and the ratio.

    python -m benchmarks.attention
"""

from __future__ import annotations

import statistics
import time

import open_clip
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from recap_eval.models.text import encode_text_trimmed
from recap_train.recipes import load_recipe

BATCH, STEPS, ROUNDS = 128, 6, 5


def make_step() -> tuple[open_clip.CLIP, torch.optim.Optimizer, torch.Tensor, torch.Tensor]:
    """Return a model, its optimiser, and a batch: half short texts, half long ones."""
    torch.manual_seed(0)
    config = load_recipe("scenes-tiny").model_cfg
    config["text_cfg"].pop("hf_tokenizer_name")
    model = open_clip.CLIP(**config)
    size = config["text_cfg"]["vocab_size"]
    tokens = torch.randint(3, size - 1, (BATCH, config["text_cfg"]["context_length"]))
    for row, end in enumerate([6] * (BATCH // 2) + [44] * (BATCH // 2)):
        tokens[row, end], tokens[row, end + 1 :] = size - 1, 0
    return model, torch.optim.AdamW(model.parameters(), fused=True), torch.randn(BATCH, 3, 32, 32), tokens


def rate(backend: SDPBackend, chunks: int) -> float:
    """Return samples per second of a few steps in bf16 autocast."""
    model, optimizer, pixels, tokens = make_step()
    criterion = open_clip.loss.ClipLoss()
    start = 0.0
    with sdpa_kernel(backend):
        for number in range(STEPS + 2):
            if number == 2:
                start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                image, text = model.encode_image(pixels), encode_text_trimmed(model, tokens, chunks)
            unit = torch.nn.functional.normalize
            loss = criterion(unit(image.float(), dim=-1), unit(text.float(), dim=-1), model.logit_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return STEPS * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    cases = {
        "fused attention, texts in one part": (SDPBackend.FLASH_ATTENTION, 1),
        "plain attention, texts in one part": (SDPBackend.MATH, 1),
        "plain attention, texts in four parts": (SDPBackend.MATH, 4),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            rates[name].append(rate(*case))
    base = statistics.median(next(iter(rates.values())))
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:<38} {middle:7.0f} samples/s  (min {min(values):.0f}, max {max(values):.0f})  ratio {middle / base:.2f}")


if __name__ == "__main__":
    main()
