"""What is done with the parts of a run on a cluster, and what it takes of a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Needs:
    """What one actor takes of a machine.

    Args:
        cpus: Processors.
        gpus: GPUs.
        memory: Bytes.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int = 0

    def fit(self, resources: dict[str, float]) -> int:
        """Return how many actors fit into a machine's resources, by Ray's names."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory)}
        return min((int(resources.get(name, 0) / each) for name, each in wanted.items() if each), default=1)

    def __str__(self) -> str:
        """Return it in words."""
        told = [f"{self.cpus:g} processors" if self.cpus != 1 else "1 processor"]
        told += [f"{self.gpus:g} GPUs" if self.gpus != 1 else "1 GPU"] if self.gpus else []
        return " and ".join([*told, *([f"{self.memory / (1 << 30):.1f} GiB of memory"] if self.memory else [])])


@dataclass(frozen=True)
class Job(Generic[P, R]):
    """What is to be done with every part.

    Args:
        make: Called once in every actor; returns what does a part. Picklable, as are parts and what comes of them.
        needs: What an actor takes of a machine.
        actors: How many at most; None for as many as the cluster has room for, machines that join included.
        name: What a message calls a part.
        progress: Returns what is done, in any form; deaths count anew when it has changed. For parts that leave work behind.
        watch: Called every second or so; once it returns True nothing is begun any more, and what is under way is awaited.
    """

    make: Callable[[], Callable[[P], R]]
    needs: Needs = Needs()
    actors: int | None = None
    name: Callable[[P], str] = str
    progress: Callable[[], object] = lambda: None
    watch: Callable[[], bool] = lambda: False


def room_for(ray: Any, needs: Needs) -> int:
    """Return how many actors all machines of a cluster could hold if nobody else used them.

    Args:
        ray: The library, connected.
        needs: What an actor takes.
    """
    return sum(needs.fit(machine["Resources"]) for machine in ray.nodes() if machine["Alive"])
