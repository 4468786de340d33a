"""Text-to-image pipelines of diffusers in their real layout, of a few hundred kilobytes, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

LENGTH = 12  # tokens that a prompt may have, with beginning and end
SIZE = 16  # pixels


def make_tokenizer(folder: Path):
    """Make a CLIP tokenizer that knows single letters."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)


def _parts(folder: Path):
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = make_tokenizer(folder / "tokenizer")
    end = len(tokenizer) - 1
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=16, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return vae.eval(), CLIPTextModel(text).eval(), tokenizer


def _scheduler():
    from diffusers import DDIMScheduler

    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def make_stable_diffusion(folder: Path, safety_checker: bool = False, **saving) -> Path:
    """Save a tiny Stable Diffusion."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    vae, text, tokenizer = _parts(folder)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, norm_num_groups=4, attention_head_dim=4,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae, text, tokenizer, unet, _scheduler(), _checker() if safety_checker else None, _extractor(),
        requires_safety_checker=safety_checker,
    )  # fmt: skip
    pipeline.save_pretrained(folder, **saving)
    return folder


def _checker():
    """Return a safety checker that finds everything unsafe: its thresholds are below any cosine."""
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": SIZE, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=small, vision_config=vision, projection_dim=8))
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0)
    return checker.eval()


def _extractor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def make_pixart(folder: Path) -> Path:
    """Save a tiny PixArt-α: a transformer, with CLIP's text encoder."""
    from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel

    vae, text, tokenizer = _parts(folder)
    transformer = PixArtTransformer2DModel(
        sample_size=SIZE // 2, num_layers=2, patch_size=2, attention_head_dim=4, num_attention_heads=2, caption_channels=16,
        in_channels=4, out_channels=4, cross_attention_dim=8, norm_elementwise_affine=False, use_additional_conditions=False,
    )  # fmt: skip
    PixArtAlphaPipeline(tokenizer, text, vae, transformer, _scheduler()).save_pretrained(folder)
    return folder
