"""A run's workers as actors of a Ray cluster: Ray places them and puts others in place of those that die.

What is captioned by whom, and that nothing is captioned twice, is a matter of leases and commits, as without Ray; so more
processes may join, and a run may go on with Ray that began without.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from recap_caption.engine_options import engine_of
from recap_caption.options import wanted_of
from recap_caption.run.bar import Bar
from recap_caption.run.calling import caption_shards
from recap_caption.run.folder import Folder
from recap_caption.run.generation import Generation
from recap_caption.run.record import Run, read_run
from recap_eval.cluster.connect import connected
from recap_eval.cluster.drive import on_cluster
from recap_eval.cluster.job import Job, Needs, room_for
from recap_eval.console import note, warn
from recap_eval.errors import DataError, UserError
from recap_eval.signals import Wishes, stop_signals

ON_GPU = ("transformers",)  # engines that take a GPU where there is one
LOOK = 1.0  # seconds between looks whether to stop


@dataclass(frozen=True)
class Post:
    """What a worker is told.

    Args:
        args: The options of the run.
        command: The words that they were given as.
        generation: What is being made.
        here: The folder that relative paths begin at.
        stop: A file that is there once the workers are to stop.
    """

    args: argparse.Namespace
    command: tuple[str, ...]
    generation: Generation
    here: Path
    stop: Path


def run_on_ray(args: argparse.Namespace, command: list[str], generation: Generation, show: Callable[[Run], None]) -> int | None:
    """Let actors work; returns an exit code if they were stopped.

    Args:
        args: The options of the run.
        command: The words that they were given as.
        generation: What is being made.
        show: Shows what is about to be captioned; called once, when a run has begun and nothing is committed.

    Raises:
        UserError, DataError: No worker could work, for the first one's reason; see also `connected` and `on_cluster`.
    """
    wanted_of(args, command), engine_of(args)  # what is wrong with the command is told before anything starts
    folder = Folder(args.output.absolute())
    stop = folder.root / ".work" / f"{uuid.uuid4().hex}.stop"
    post = Post(args, tuple(command), generation, Path.cwd(), stop)
    with connected(args.ray) as ray, stop_signals(launched=False) as wishes, watching(folder, post, wishes, show) as watch:
        needs = needs_of(args, ray)
        count = args.ray_workers or room_for(ray, needs) or 1
        job = Job[int, UserError | None](
            partial(RayWorker, post), needs, args.ray_workers, "worker {}".format, watch.progress, watch.look
        )
        errors = [error for _, error in on_cluster(ray, range(1, count + 1), job) if _told(error)]
    if wishes:
        note(f"{folder.root}: stopped; what was answered is kept, and the same command goes on.")
        return 130 if wishes.interrupt else 0
    if len(errors) == count and errors[0] is not None:
        raise errors[0]
    return None


def _told(error: UserError | None) -> bool:
    if error is not None:
        warn(f"a worker ended: {error.what} {error.hint}")
    return error is not None


def needs_of(args: argparse.Namespace, ray: Any) -> Needs:
    """Return what a worker takes of a machine.

    Args:
        args: The options of the run.
        ray: The library, connected.
    """
    gpus = args.ray_gpus
    if gpus is None:
        gpus = float(args.engine in ON_GPU and ray.cluster_resources().get("GPU", 0) >= 1)
    return Needs(args.ray_cpus, gpus)


class RayWorker:
    """Works on a run where an actor is.

    Args:
        post: What it is told.
    """

    def __init__(self, post: Post) -> None:
        self._post = post

    def __call__(self, number: int) -> UserError | None:
        """Caption until nothing is left to take, or it is asked to stop; returns what ended the work before.

        Args:
            number: The worker's, of those that the command started.
        """
        post = self._post
        try:
            _enter(post.here)
            folder = Folder(post.args.output.absolute())
            with _log(folder, number), wishes_of(post.stop) as wishes:
                caption_shards(post.args, post.command, post.generation, wishes)
        except UserError as error:
            return error
        return None


def _enter(here: Path) -> None:
    try:
        os.chdir(here)
    except OSError as error:
        raise DataError(
            f"A machine of the cluster has no folder {here} ({error.strerror}).",
            "Give the command in a folder that all machines see under the same path.",
        ) from error


@contextmanager
def _log(folder: Folder, number: int) -> Iterator[None]:
    """Let what a worker says go where the words of all workers are kept."""
    with ExitStack() as stack:
        with suppress(OSError):
            folder.logs.mkdir(parents=True, exist_ok=True)
            path = folder.logs / f"ray-{number}.log"
            log = stack.enter_context(path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1))
            stack.enter_context(redirect_stderr(log))
        yield


@contextmanager
def wishes_of(stop: Path) -> Iterator[Wishes]:
    """Give wishes that are set once a file is there, for as long as the block lasts."""
    wishes, over = Wishes(), Event()

    def watch() -> None:
        while not wishes and not over.wait(LOOK):
            with suppress(OSError):
                wishes.term = stop.exists()

    Thread(target=watch, name="stop", daemon=True).start()
    try:
        yield wishes
    finally:
        over.set()


class Watch:
    """What the process does that gave the command, while others work.

    Args:
        folder: The run's folder.
        post: What workers are told.
        wishes: Set from outside when they are to stop.
        show: Shows what is about to be captioned.
    """

    def __init__(self, folder: Folder, post: Post, wishes: Wishes, show: Callable[[Run], None]) -> None:
        self._folder, self._post, self._wishes, self._show = folder, post, wishes, show
        self._bar: Bar | None = None
        self._told = False

    def look(self) -> bool:
        """Show how the run fares, and pass a wish to stop on; returns whether there is one."""
        if self._wishes and not self._told:
            self._told = True
            note("stopping when what is under way is answered; Ctrl-C again drops it")
            self._post.stop.parent.mkdir(parents=True, exist_ok=True)
            self._post.stop.touch()
        if self._bar is None and self._folder.record.is_file() and self._folder.manifest.is_file():
            found = read_run(self._folder.root)
            if not self._folder.outputs():
                self._show(found)
            self._bar = Bar(found, self._post.generation)
        if self._bar is not None:
            self._bar.show()
        return bool(self._wishes)

    def progress(self) -> int:
        """Return how many outputs are committed."""
        return sum(len(generations) for generations in self._folder.outputs().values())

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def watching(folder: Folder, post: Post, wishes: Wishes, show: Callable[[Run], None]) -> Iterator[Watch]:
    """Give a watch over a run for as long as the block lasts."""
    watch = Watch(folder, post, wishes, show)
    try:
        yield watch
    finally:
        watch.close()
        post.stop.unlink(missing_ok=True)
