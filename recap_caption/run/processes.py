"""Several processes of one command on one machine: started, looked after, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from recap_caption.run.bar import Bar
from recap_caption.run.folder import Folder
from recap_caption.run.generation import Generation
from recap_caption.run.record import read_run
from recap_caption.run.tally import read_tallies
from recap_eval.console import note, warn
from recap_eval.signals import Wishes, stop_signals

CHILD, PARENT = "RECAP_CAPTION_WORKER", "RECAP_CAPTION_PARENT"  # what a process is told that another started
LOOK = 0.5  # seconds between looks at the processes


def is_child() -> bool:
    """Return whether another process of this command started this one."""
    return CHILD in os.environ


def is_first() -> bool:
    """Return whether this process is the one, of those started together, that talks."""
    return os.environ.get(CHILD, "1/1").startswith("1/")


def end_with_parent(wishes: Wishes) -> None:
    """Wish a child's end when its parent is gone: nobody would stop it otherwise."""
    parent = int(os.environ.get(PARENT, "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        wishes.term = True

    if parent:
        Thread(target=watch, name="parent", daemon=True).start()


@dataclass
class Team:
    """The processes of a command.

    Args:
        command: The words of the command.
        count: How many processes.
        folder: The run's folder.
        on_gpus: Whether each takes a GPU.
    """

    command: Sequence[str]
    count: int
    folder: Folder
    on_gpus: bool = False

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self.children: list[subprocess.Popen[bytes]] = []

    def work(self, wishes: Wishes, generation: Generation) -> list[int]:
        """Start all and wait for their end; returns their exit codes.

        Args:
            wishes: Set from outside when they are to stop.
            generation: What is being made.
        """
        with self._stack:
            self.children.append(self._start(0))
            if self._has_begun():
                self.children += [self._start(number) for number in range(1, self.count)]
            self._look_after(wishes, generation)
        return [child.returncode for child in self.children]

    def _has_begun(self) -> bool:
        """Wait until the first has begun to work, so that what is wrong with the command is told once."""
        while self.children[0].poll() is None:
            if any(record["process"]["pid"] == self.children[0].pid for record in read_tallies(self.folder.workers).values()):
                return True
            time.sleep(LOOK)
        return False

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        told = {CHILD: f"{number + 1}/{self.count}", PARENT: str(os.getpid())}
        return subprocess.Popen(
            [sys.executable, "-m", "recap_caption.cli", *self.command],
            env=os.environ | told | (self._device(number) if self.on_gpus else {}),
            stdout=None if number == 0 else self._log(number),
            stderr=None if number == 0 else subprocess.STDOUT,
        )

    def _log(self, number: int) -> IO[bytes]:
        self.folder.logs.mkdir(parents=True, exist_ok=True)
        return self._stack.enter_context(self.log(number).open("wb"))

    def log(self, number: int) -> Path:
        """Return where a process's words go."""
        return self.folder.logs / f"worker-{number + 1}.log"

    def _device(self, number: int) -> dict[str, str]:
        """Return the variable that shows a process one GPU, of those that there are, in turn."""
        devices = visible_devices()
        return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if devices else {}

    def _look_after(self, wishes: Wishes, generation: Generation) -> None:
        bar, told = None, False
        try:
            while any(child.poll() is None for child in self.children):
                if wishes and not told:
                    told = True
                    self._terminate()
                if bar is None and self.folder.record.is_file() and self.folder.manifest.is_file():
                    bar = Bar(read_run(self.folder.root), generation)
                if bar is not None:
                    bar.show()
                time.sleep(LOOK)
        except KeyboardInterrupt:  # the second: what is under way is dropped
            for child in self.children:
                child.kill()
                child.wait()
            raise
        finally:
            if bar is not None:
                bar.close()

    def _terminate(self) -> None:
        note("stopping when what is under way is answered; Ctrl-C again drops it")
        for child in self.children:
            child.terminate()


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def run_processes(team: Team, generation: Generation) -> int | None:
    """Let processes work; returns an exit code if they were stopped or if none of them could work.

    Args:
        team: The processes.
        generation: What is being made.
    """
    with stop_signals(launched=False) as wishes:
        codes = team.work(wishes, generation)
    if wishes:
        note(f"{team.folder.root}: stopped; what was answered is kept, and the same command goes on.")
        return 130 if wishes.interrupt else 0
    for number, code in enumerate(codes):
        if code and number:
            warn(f"process {number + 1} ended with code {code}: {_last_words(team.log(number))}")
    return codes[0] if all(codes) else None


def _last_words(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "it said nothing")
