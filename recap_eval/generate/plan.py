"""What is to be made: one item an image, with its seed and file, and the batches in which they are made.

Everything here is a pure function of the prompts and the settings. The batches are fixed before anything is made, so an
image has the same neighbours in its forward pass whichever process makes it and however often the run was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.hashrand import combine, text_key

FOLDER = "images"
FOLDER_SIZE = 1000
SEED_BITS = (1 << 63) - 1  # seeds fit into a signed 64-bit integer, of a manifest and of torch
Key = tuple[str, int]


@dataclass(frozen=True)
class Item:
    """One image to be made.

    Args:
        prompt: Its prompt.
        sample: Which image of this prompt, from 0.
        seed: Seed of all its randomness.
        file: Where it lies in the folder.
    """

    prompt: Prompt
    sample: int
    seed: int
    file: str

    @property
    def key(self) -> Key:
        """What it is known by: the prompt's id and the number of the sample."""
        return self.prompt.id, self.sample


def seed_of(run_seed: int, prompt_id: str, sample: int) -> int:
    """Return the seed of one image, in [0, 2^63): a hash of the run's seed, the prompt's id and the sample's number."""
    return combine(run_seed, text_key("generate"), text_key(prompt_id), sample) & SEED_BITS


def plan(prompts: PromptSet, samples: int, seed: int, suffix: str) -> list[Item]:
    """Return all items, prompt by prompt.

    Args:
        prompts: The prompts.
        samples: Images a prompt.
        seed: The run's seed.
        suffix: Of the files, such as ".png".
    """
    return [
        Item(prompt, sample, seed_of(seed, prompt.id, sample), _file(number * samples + sample, prompt.id, suffix))
        for number, prompt in enumerate(prompts.prompts)
        for sample in range(samples)
    ]


def _file(position: int, prompt_id: str, suffix: str) -> str:
    """Name a file by its position, which makes it distinct, and by what of the id is safe in a file's name, for people."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "_", prompt_id)[:40]
    return f"{FOLDER}/{position // FOLDER_SIZE:05d}/{position:07d}-{word}{suffix}"


def batches(items: Sequence[Item], size: int, shard: tuple[int, int] | None = None) -> list[list[Item]]:
    """Cut items into batches, the same at any number of parts, and return those of one part.

    Args:
        items: All items of the run.
        size: Images a batch.
        shard: Which part of how many, from 0; None for all.
    """
    grid = [list(items[start : start + size]) for start in range(0, len(items), size)]
    return grid if shard is None else grid[shard[0] :: shard[1]]
