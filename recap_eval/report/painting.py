"""Draws plots into files: those that are not there as they would be drawn, and on all cores where many may be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

from recap_eval.files import replacing
from recap_eval.report.plots.drawing import Drawing
from recap_eval.report.plots.drawings import draw

ENDS = {"svg": b"</svg>\n", "png": b"IEND\xaeB`\x82"}  # how whole files of each form of a plot end
MOST = 8  # processes


class Painter:
    """Draws plots, which is most of a report's time. As a context it waits for what other processes draw.

    Args:
        many: Whether it is worth starting processes, of which each takes a second before it draws.
    """

    def __init__(self, many: bool = False) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._processes = min(MOST, cores) if many and cores > 1 else 0
        self._pool: ProcessPoolExecutor | None = None
        self._drawn: list[tuple[Path, Future[dict[str, bytes]]]] = []

    def __enter__(self) -> Painter:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Write what is drawn; after an error, let go of what is not."""
        if self._pool is None:
            return
        try:
            for stem, drawn in self._drawn if error is None else []:
                _write(stem, drawn.result())
        finally:
            self._pool.shutdown(cancel_futures=True)

    def paint(self, plot: Drawing, found: Any, stem: Path) -> list[Path]:
        """Draw a plot into its files, unless the same data, drawn by the same hand, is there.

        Args:
            plot: The plot.
            found: What is drawn.
            stem: Path of the files without their ends.

        Returns:
            The files, of which some may be there only at the end of the context.
        """
        mark = plot.stamp(found)
        if not all(_is_drawn(place, mark, ENDS[form]) for form, place in places(stem).items()):
            if self._processes:
                self._drawn.append((stem, self._others().submit(draw, plot.name, found)))
            else:
                _write(stem, plot.draw(found))
        return list(places(stem).values())

    def _others(self) -> ProcessPoolExecutor:
        if self._pool is None:  # new ones, not copies of this one: its libraries have threads
            ignore: Callable[..., object] = signal.signal
            self._pool = ProcessPoolExecutor(
                self._processes, get_context("spawn"), initializer=ignore, initargs=(signal.SIGINT, signal.SIG_IGN)
            )
        return self._pool


def places(stem: Path) -> dict[str, Path]:
    """Return a plot's files by form."""
    return {form: stem.with_name(f"{stem.name}.{form}") for form in ENDS}


def _write(stem: Path, contents: dict[str, bytes]) -> None:
    for form, place in places(stem).items():
        if not place.is_file() or place.read_bytes() != contents[form]:
            with replacing(place) as part:
                part.write_bytes(contents[form])


def _is_drawn(place: Path, mark: str, end: bytes) -> bool:
    """Return whether a plot's file is whole and bears a mark."""
    found = place.read_bytes() if place.is_file() else b""
    return mark.encode() in found and found.endswith(end)
