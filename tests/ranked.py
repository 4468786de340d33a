"""Runs of one process and of several, watched alike: losses, the first gradient, where they stopped.

As a program it is one of several processes: `ranked.py CASES OUT`, with RANK and WORLD_SIZE set as torchrun sets them.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from recap_eval.signals import Stopped
from recap_train import clip, loop


@dataclass
class Case:
    """A run, and when which process is sent SIGTERM."""

    run: clip.Run
    stop_after: int | None = None
    stop_rank: int = 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def watch(case: Case) -> dict:
    """Train and return what was seen on the way."""
    seen: dict = {"stopped": None}
    make, rank = clip.make_loop, int(os.environ.get("RANK", "0"))

    def watched(*args):
        made = make(*args)

        def look(progress, _):
            if progress.step == 1:
                weights = made.spread.module.named_parameters()
                grads = {name: _whole(weight.grad).reshape(-1) for name, weight in weights if weight.grad is not None}
                seen["gradient"] = torch.cat([grads[name] for name in sorted(grads)]).clone()
            if progress.step == case.stop_after and rank == case.stop_rank:
                os.kill(os.getpid(), signal.SIGTERM)
            with torch.no_grad():  # as an evaluation on the way does
                made.spread.module(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.ones(2, 64, dtype=torch.long))
            seen["losses"] = [entry["loss"] for entry in progress.log]

        made.hooks = (look,)
        return made

    clip.make_loop, loop.LOG_EVERY = watched, 1
    try:
        clip.train(case.run)
    except Stopped as stop:
        seen["stopped"] = (str(stop), stop.exit_code)
    finally:
        clip.make_loop, loop.LOG_EVERY = make, 50
    return seen


def together(cases: list[Case], folder: Path, size: int = 2) -> list[list[dict]]:
    """Run cases in `size` processes; returns what each of them saw of each."""
    (folder / "cases.pickle").write_bytes(pickle.dumps(cases))
    environment = os.environ | {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    children = [
        subprocess.Popen(
            [sys.executable, __file__, folder / "cases.pickle", folder / f"seen{rank}.pickle"],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        said = [child.communicate(timeout=200)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert all(child.returncode == 0 for child in children), "\n".join(said)
    assert "original captions" in said[0] and "original captions" not in said[1]
    return [pickle.loads((folder / f"seen{rank}.pickle").read_bytes()) for rank in range(size)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    import __main__

    sys.modules["ranked"] = __main__  # the pickle names the module as the test imports it
    torch.distributed.init_process_group("gloo")  # once: torch.distributed.nn binds the group when it is imported
    results = [watch(case) for case in pickle.loads(Path(sys.argv[1]).read_bytes())]
    torch.distributed.destroy_process_group()
    Path(sys.argv[2]).write_bytes(pickle.dumps(results))
