"""Several processes that embed parts of one run: started by torchrun, or one by one with --shard.

Every image and text belongs to one part by its content; parts meet in the cache, so any number of processes gives the same
embeddings, and the process that scores is an ordinary run that finds them all.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta

from recap_eval.errors import UserError

PATIENCE = timedelta(days=7)  # for the slowest part


@dataclass(frozen=True)
class Team:
    """What this process does of a run.

    Args:
        shard: Which part of how many it embeds, from 0; None if all.
        scores: Whether it scores.
        launched: Whether torchrun started it, beside others.
        device: The GPU that torchrun gave it, or None.
    """

    shard: tuple[int, int] | None
    scores: bool
    launched: bool
    device: str | None

    @property
    def talks(self) -> bool:
        """True if it should print what all processes would print alike."""
        return self.shard is None or not self.launched or self.shard[0] == 0

    @staticmethod
    def of(word: str | None) -> Team:
        """Read it from --shard, else from what torchrun sets.

        Raises:
            UserError: --shard is not I/N with 1 <= I <= N, or is given under torchrun too.
        """
        world = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
        if word is not None:
            if world > 1:
                raise UserError("--shard does not go with torchrun, which makes its own parts.", "Leave --shard out.")
            return Team(_read_shard(word), False, False, None)
        if world == 1:
            return Team(None, True, False, None)
        import torch

        rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
        return Team((rank, world), rank == 0, True, f"cuda:{local}" if torch.cuda.is_available() else None)

    def wait(self) -> None:
        """Wait until all processes that torchrun started are here."""
        if not self.launched:
            return
        import torch.distributed

        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", timeout=PATIENCE)
        torch.distributed.barrier()


def _read_shard(word: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", word)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard {word} is not I/N with 1 <= I <= N.", "Example: --shard 1/4, then 2/4, 3/4 and 4/4")
    return int(found[1]) - 1, int(found[2])
