"""All that studies/paper.yaml reads, in the layouts of the originals and of a few samples each; tiny models by folder."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from captioner_data import make_edits, make_mix, make_pairs, png, said
from PIL import Image
from support import ROOT, write_tar
from tiny_clips import WORDS, make_clip
from tiny_dit import TINY, tiny_vae

SHARDS, EACH = 2, 12  # shards, and samples of each
CLASSES = ("n01440764", "n01443537")  # of ImageNet
CASES = 25  # of VG-Attribution: as many as a pair of attributes needs to count
PROMPTS = 6
SIZES = {"imagenet1k": (4, 1000), "coco-retrieval": (6, 12), "flickr30k-retrieval": (6, 12), "urban1k": (6, 6)}
SIZES |= {"vg-attribution": (0, CASES), "docci": (6, 6)}  # what counts as the whole set here: images, texts
SPOKEN = "a small green star beside the old blue ring, two red circles and some square houses near that quiet river"
CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": 16, "vocab_size": 64, "hf_tokenizer_name": "bert-base-uncased", "width": 32, "heads": 2,
            "layers": 1, "no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"strip_sep_token": True},
        },
    },
    "preprocess_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "tokenizer": "hf",
    "train": {},
    "stages": {
        "1": {"image_size": 16, "samples_seen": 32, "warmup_samples": 8, "batch_size": 8, "lr_per_256": 3e-2},
        "2": {"image_size": 32, "samples_seen": 16, "warmup_samples": 8, "batch_size": 8, "lr_per_256": 1e-2},
    },
}  # fmt: skip


def lay_world(place: Path) -> list[str]:
    """Write everything below a folder.

    Returns:
        What `recap-eval study studies/paper.yaml` is told of it: words of `--set`; paths are relative to the folder.
    """
    for part in (lay_shards, _conversations, lay_photographs, _long_captions, _exams, _prompts, _captioner, _clips, _diffusion):
        part(place)
    told = {
        "gpus": 1, "stages": "captioner.json", "start": "--language-model llama --vision-tower tower",
        "captioner_options": "--reference-tokens words", "analysis_options": "--clip-model clip --longclip-model clip",
        "clip_options": "--templates class-name", "suite": "paper-small.toml", "base": "base.json", "large_text": "large.json",
        "prompts": "--data benchmarks --inception-weights inception.pth", "size": "small.json", "tokenizer": "--tokenizer bert",
        "clip_training": "--grad-checkpointing --micro-batch 4", "autoencoder": "vae", "text_encoder": "clip", "p": "0,1",
        "dit": "dit.json", "dit_large": "dit-large.json", "dit_samples": 32, "dit_training": "--micro-batch 8", "p_dit": "0,1",
        "p_large": "0.5", "p_size": "1",
    }  # fmt: skip
    return [word for name, value in told.items() for word in ("--set", f"{name}={value}")]


def jpeg(number: int, side: int = 48) -> bytes:
    """Return a JPEG whose colours tell its number."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(png(number, side, side))).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def lay_shards(place: Path) -> None:
    """Write DataComp as img2dataset leaves it: tars, and beside each its parquet and its statistics.

    The digest in KEY.json is the download's, which img2dataset has resized since: not that of the JPEG in the tar.
    """
    folder = place / "datacomp/shards"
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        members: dict[str, bytes] = {}
        rows = []
        for number in range(EACH):
            key, which = f"{shard:05d}{number:04d}", shard * EACH + number
            alt = f"{WORDS[which]} {said(which)} for sale, " + " ".join(f"word{which * 7 + n}" for n in range(40))
            digest = hashlib.sha256(f"download {which}".encode()).hexdigest()
            rows.append(
                {
                    "url": f"https://example.org/{which}.jpg", "caption": alt, "key": key, "status": "success",
                    "error_message": None, "width": 48, "height": 48, "original_width": 60, "original_height": 60, "exif": "{}",
                    "sha256": digest,
                }
            )  # fmt: skip
            members |= {f"{key}.jpg": jpeg(which), f"{key}.txt": alt.encode(), f"{key}.json": json.dumps(rows[-1]).encode()}
        write_tar(folder / f"{shard:05d}.tar", members)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        put(folder / f"{shard:05d}_stats.json", json.dumps({"count": EACH, "successes": EACH}))


def _conversations(place: Path) -> None:
    """Write LLaVA's two JSON files with their images, and HQ-Edit."""
    (place / "llava").mkdir()
    make_pairs(place / "llava").rename(place / "llava/blip_laion_cc_sbu_558k.json")
    make_mix(place / "llava").rename(place / "llava/llava_v1_5_mix665k.json")
    make_edits(place / "HQ-Edit/data")


def lay_photographs(place: Path) -> None:
    """Write ImageNet's validation set, and COCO and Flickr30K in Karpathy's splits."""
    root = place / "benchmarks"
    for number in range(4):
        put(root / f"imagenet/val/{CLASSES[number % 2]}/ILSVRC2012_val_{number:08d}.JPEG", jpeg(number))
    for name, below, form in (("coco", "val2014", "COCO_val2014_{:012d}.jpg"), ("flickr30k", "", "{}.jpg")):
        images = []
        for number in range(8):
            file, split = form.format(number), "test" if number < 6 else "val"
            sentences = [{"raw": f"{word} number {number}", "tokens": []} for word in ("A card", "A red thing")]
            images.append({"filename": file, "split": split, "sentences": sentences} | ({"filepath": below} if below else {}))
            put(root / name / (below or "flickr30k-images") / file, jpeg(number))
        put(root / name / f"dataset_{name}.json", json.dumps({"dataset": name, "images": images}))


def _long_captions(place: Path) -> None:
    """Write Urban1K, DOCCI and ARO's VG-Attribution."""
    root = place / "benchmarks"
    rows, cases = [], []
    for number in range(6):
        text = f"A small dog number {number} runs over a green lawn near house {number}. It is sunny."
        put(root / f"Urban1k/image/{number}.jpg", jpeg(number))
        put(root / f"Urban1k/caption/{number}.txt", text)
        file = f"test_{number:05d}.jpg"
        put(root / "docci/images" / file, jpeg(number))
        rows.append({"example_id": file[:-4], "split": "test", "image_file": file, "description": text})
    put(root / "docci/docci_descriptions.jsonlines", "".join(f"{json.dumps(row)}\n" for row in rows))
    put(root / "aro/images/7.jpg", jpeg(7))
    for number in range(CASES):
        box = {"bbox_x": number, "bbox_y": 2, "bbox_w": 20, "bbox_h": 20}
        texts = {"true_caption": "the red dog and the old house", "false_caption": "the old dog and the red house"}
        cases.append({"image_id": "7", "image_path": "7.jpg"} | box | texts | {"attributes": ["red", "old"]})
    put(root / "aro/visual_genome_attribution.json", json.dumps(cases))


def _exams(place: Path) -> None:
    """Write MMMU: a subject of three questions."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    names = ("id", "question", "options", "answer", "question_type")
    schema = pa.schema([(name, pa.string()) for name in names] + [(f"image_{n}", image) for n in range(1, 8)])
    rows = [
        {"id": f"validation_Art_{n}", "question": "What is <image 1>?", "options": "['a ring', 'a star']", "answer": "B"}
        | {"question_type": "multiple-choice", "image_1": {"bytes": png(n), "path": f"{n}.png"}}
        for n in range(3)
    ]
    path = place / "benchmarks/mmmu/Art/validation-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _prompts(place: Path) -> None:
    """Write Recap-COCO-30K, and the suite `paper` with fewer steps and pixels."""
    rows = [
        {
            "image_id": n, "coco_url": f"http://images.cocodataset.org/val2014/COCO_val2014_{n:012d}.jpg",
            "image": {"bytes": jpeg(n), "path": None},
            "caption": f"a ring {n}", "recaption": f"A blue ring beside a small star, number {n}.",
        }
        for n in range(PROMPTS)
    ]  # fmt: skip
    path = place / "benchmarks/recap-coco-30k/data/train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    text = (ROOT / "recap_eval/suites/paper.toml").read_text()
    for name, value in {"steps": 2, "height": 32, "width": 32}.items():
        text, found = re.subn(rf"(?m)^{name} = {{ value = \d+", f"{name} = {{ value = {value}", text)
        assert found == 1
    put(place / "paper-small.toml", text)


def _captioner(place: Path) -> None:
    """Write the parts of a LLaVA, and the paper's recipe of it with smaller batches."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from recap_eval.models.llava.tokenizer import read_template
    from recap_train.captioner.tokens import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer([*map(said, range(8)), SPOKEN] * 2, "Please describe it.", 480, read_template("llama-3")[1])
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=False, initializer_range=0.5, **sizes, **ends)
    llama = LlamaForCausalLM(config)
    words = [number for token, number in tokenizer.get_vocab().items() if token.startswith("\u0120") and len(token) > 2]
    silent = [number for number in range(len(tokenizer)) if number not in words]
    llama.lm_head.weight.data[silent] = 0  # it says words and no end, so that there is something to count
    llama.to(torch.bfloat16).save_pretrained(place / "llama")
    tokenizer.save_pretrained(place / "llama")
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(place / "tower")
    shipped = json.loads((ROOT / "recap_train/captioner/recipes/llava.json").read_text())
    small = {"lr": 2e-2, "batch_size": 4}
    changed = {"scaled down": {"stages": {stage: dict(small) for stage in ("projector", "instruct", "hq-edit")}}}
    parts = {name: shipped["parts"][name] for name in ("llava15", "llama3-8b")} | {"small": changed}
    recipe = {"recipes": {"captioner": {"parts": [*parts], "summary": "the paper's captioner, tiny"}}, "parts": parts}
    put(place / "captioner.json", json.dumps(recipe))


def _clips(place: Path) -> None:
    """Write BERT's kind of tokenizer, and three recipes in two stages."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "card", "red", "ring", *"bcdefghijklmnopqrstuvwxyz"]
    put(place / "bert/vocab.txt", "\n".join(words))
    made = BertWordPieceTokenizer(str(place / "bert/vocab.txt"), lowercase=True)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, **special).save_pretrained(place / "bert")
    for name, heads in {"base": 2, "large": 4, "small": 1}.items():
        text = CLIP["model_cfg"]["text_cfg"] | {"heads": heads}
        put(place / f"{name}.json", json.dumps(CLIP | {"model_cfg": CLIP["model_cfg"] | {"text_cfg": text}}))


def _diffusion(place: Path) -> None:
    """Write an auto-encoder, a CLIP, two recipes, and a file that stands for the Inception's weights."""
    import torch

    tiny_vae(place / "vae")
    make_clip(place / "clip")
    parts = json.loads((ROOT / "recap_train/diffusion/recipes/dit.json").read_text())["parts"]
    for name, layers in {"dit": 1, "dit-large": 2}.items():
        small = {"scaled down": {"model_cfg": TINY | {"layers": layers}, "train": {"batch_size": 8, "lr": 5e-2, "ema": 0.5}}}
        recipe = {"recipes": {name: {"parts": ["dit", "small"]}}, "parts": {"dit": parts["dit"], "small": small}}
        put(place / f"{name}.json", json.dumps(recipe))
    torch.save({}, place / "inception.pth")


def small_catalog(place: Path) -> Path:
    """Write the table of tasks with the sizes of the sets here, so that their results are whole and boards show them."""
    from recap_eval.tasks.catalog import CATALOG

    found, name = [], ""
    for line in CATALOG.read_text().splitlines():
        name = line[1:-1] if line.startswith("[") and "." not in line else name
        for field, size in zip(("images", "texts"), SIZES.get(name, ()), strict=False):
            line = f"{field} = {size}" if line.startswith(f"{field} = ") else line
        found.append(line)
    path = place / "catalog.toml"
    path.write_text("\n".join(found))
    return path


class SmallInception:
    """Stands for the Inception: a picture's colour, as it comes to the network."""

    DIM = 3

    def __init__(self, *given: object) -> None:
        pass

    def features(self, images):
        import torch

        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 1).flatten(1)


def stand_in(load: Callable) -> Callable:
    """Return open_clip's loader as it is, but for models of the hub and of OpenAI: these are the CLIP that lies here."""

    def loaded(spec: str, how):
        if not spec.startswith("hf-hub:") and not spec.endswith("/openai"):
            return load(spec, how)
        from recap_eval.models import transformers
        from recap_eval.models.base import ModelId

        model = transformers.load("clip", how)
        model.id = ModelId(spec.removeprefix("hf-hub:"), "tiny", protocol=model.id.protocol)
        return model

    return loaded
