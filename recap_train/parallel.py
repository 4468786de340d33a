"""The processes of one run (torchrun starts them), their devices, and states that are the same however they are sharded."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(hours=2)  # processes wait so long for one that evaluates or saves
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process among those of the run.

    Args:
        rank: Its number, from 0.
        size: How many there are.
        device: What it computes on, such as "cpu" or "cuda:1".
        kind: "ddp" (everyone holds all weights) or "fsdp" (everyone holds a part).
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    kind: str = "ddp"

    @property
    def main(self) -> bool:
        """True for the one process that prints and writes."""
        return self.rank == 0

    @property
    def gpu(self) -> bool:
        """True on a GPU."""
        return self.device.startswith("cuda")

    def total(self, *values: float) -> list[float]:
        """Return the sums over all processes."""
        if self.size == 1:
            return list(values)
        import torch

        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def collect(self, thing: Any) -> list[Any]:
        """Return what every process gives, in order of rank."""
        if self.size == 1:
            return [thing]
        import torch

        things: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(things, thing)
        return things

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.total(0.0)


def is_main() -> bool:
    """Tell whether this process is the one that prints and evaluates: the first of those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def alone_environment() -> dict[str, str]:
    """Return the environment for a command that this process starts: it is no part of torchrun's world."""
    prefixes = ("TORCHELASTIC_", "TORCH_NCCL_")
    return {name: value for name, value in os.environ.items() if name not in LAUNCHER and not name.startswith(prefixes)}


def choose_device(choice: str) -> str:
    """Return "cpu" or this process's GPU.

    Raises:
        UserError: A GPU is asked for and torch finds none.
    """
    import torch

    found = torch.cuda.is_available()
    if choice == "cuda" and not found:
        raise UserError("--device cuda: torch finds no GPU.", "Leave --device out, or check the driver with: nvidia-smi")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if found and choice != "cpu" else "cpu"


@contextlib.contextmanager
def joined(choice: str, kind: str) -> Iterator[World]:
    """Join the other processes of the run for as long as the block lasts; alone, there is nothing to join.

    Args:
        choice: See `choose_device`.
        kind: "ddp" or "fsdp".
    """
    import torch

    device = choose_device(choice)
    if device != "cpu":
        torch.cuda.set_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=device, kind=kind)
        return
    known = torch.distributed.is_initialized()  # by a program that trains more than once
    if not known:
        torch.distributed.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=PATIENCE)
    # open_clip's gather_features, under torch 2.15
    warnings.filterwarnings("ignore", message="torch.distributed.nn.functional.all_gather is deprecated")
    try:
        yield World(torch.distributed.get_rank(), size, device, kind)
        torch.distributed.barrier()  # nobody leaves while another still works, else torchrun would end it
    finally:
        if not known:
            torch.distributed.destroy_process_group()


def spread(module: torch.nn.Module, blocks: list[torch.nn.Module], world: World) -> tuple[torch.nn.Module, frozenset[str]]:
    """Return a module whose backward pass gives everyone the mean of all processes' gradients.

    Args:
        module: What is trained, on its device already.
        blocks: Its large repeated parts, which FSDP shards one by one.
        world: The processes.

    Returns:
        The module to call, and the names of the weights that it now holds with one dimension instead of none.
    """
    import torch

    if world.size == 1:
        return module, frozenset()
    if world.kind == "ddp":
        ddp: Any = torch.nn.parallel.DistributedDataParallel
        named = inspect.signature(ddp.__init__).parameters
        constant = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"  # the older name
        return ddp(module, **{constant: False}), frozenset()
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    scalars = frozenset(name for name, weight in module.named_parameters() if weight.ndim == 0)
    for name in scalars:  # fully_shard cuts along the first dimension
        owner, _, attribute = name.rpartition(".")
        weight = module.get_parameter(name)
        setattr(module.get_submodule(owner), attribute, torch.nn.Parameter(weight.detach().reshape(1)))
    mesh = init_device_mesh("cuda" if world.gpu else "cpu", (world.size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module, scalars


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a weight: all of it unless FSDP shards it."""
    part: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part
