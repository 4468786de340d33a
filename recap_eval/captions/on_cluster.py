"""Caption files counted on a cluster, into the cache; the walk over the files that follows finds everything there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recap_eval.captions.count import FileCounter, pack_surveys
from recap_eval.captions.scan import Question, Scan, keep
from recap_eval.cluster.connect import connected
from recap_eval.cluster.drive import on_cluster
from recap_eval.cluster.job import Job, Needs
from recap_eval.console import progress_bar
from recap_eval.data.items import file_stamp
from recap_eval.errors import DataError

NEEDS = Needs(cpus=1, memory=1 << 30)  # all that is asked by default takes about 770 MiB: docs/captions.md


@dataclass(frozen=True)
class File:
    """A caption file as it is seen where the run was started.

    Args:
        path: Its absolute path.
        stamp: Its path, size and time.
    """

    path: Path
    stamp: str | None


class Counting:
    """Counts files wherever it is.

    Args:
        question: What is counted.
    """

    def __init__(self, question: Question) -> None:
        self._counter, self._rows = FileCounter(question), 0

    def __call__(self, file: File) -> tuple[bytes, int]:
        """Return a file's surveys, packed, and how many rows it has.

        Raises:
            DataError: The file is damaged, or is not the same file here.
        """
        if file_stamp(file.path) != file.stamp:
            raise DataError(
                f"A machine of the cluster sees another {file.path}, or none.",
                "All machines must see the files under the same path: put them on shared storage.",
            )
        self._rows = 0
        found = self._counter.count(file.path, None, self._seen)
        return pack_surveys(found), self._rows

    def _seen(self, rows: int) -> None:
        self._rows += rows


def count_on_cluster(scan: Scan, address: str, workers: int | None = None) -> None:
    """Count what a scan's cache lacks, file by file.

    Args:
        scan: The scan; it has a cache and no limit.
        address: Of the cluster: see `recap_eval.cluster.connect.connected`.
        workers: How many files at once, at most; None for as many as the cluster has room for.

    Raises:
        UserError, DataError: See `connected` and `on_cluster`; a file is damaged.
    """
    places = {File(path.absolute(), file_stamp(path)): scan.kept(path) for path in scan.files}
    lacking = [file for file, kept in places.items() if kept is not None and not kept.is_file()]
    if not lacking:
        return
    job = Job[File, tuple[bytes, int]](partial(Counting, scan.question), NEEDS, workers, lambda file: str(file.path))
    known, rows = len(scan.files) - len(lacking), 0
    with connected(address) as ray, progress_bar(len(scan.files), "captions, on the cluster", "file", initial=known) as bar:
        start = time.perf_counter()
        for file, (packed, n) in on_cluster(ray, lacking, job):
            kept = places[file]
            assert kept is not None
            keep(kept, packed)
            rows += n
            bar.set_postfix_str(f"{rows / (time.perf_counter() - start):,.0f} rows/s", refresh=False)
            bar.update()
