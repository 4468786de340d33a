"""Generations of caption files: 00012.g1.parquet takes the place of 00012.parquet, 00012.g2.parquet that of both.

`recap-caption retry` writes them so: a file that is there once is never changed, and readers take the newest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

GENERATION = re.compile(r"\.g(\d+)\.parquet$")
RUN, CAPTIONS = "run.json", "captions"  # of the folder of a captioning run


def split_name(name: str) -> tuple[str, int]:
    """Return a caption file's name without its generation and ending, and its generation; 0 for the first."""
    found = GENERATION.search(name)
    return (name[: found.start()], int(found[1])) if found else (name.removesuffix(".parquet"), 0)


def join_name(stem: str, generation: int) -> str:
    """Return the file name of a generation."""
    return f"{stem}.g{generation}.parquet" if generation else f"{stem}.parquet"


def newest(paths: Iterable[Path]) -> list[Path]:
    """Return caption files without those that a later generation beside them replaces, in the order given.

    A name like a generation's is one only where the first generation lies beside it.
    """
    given = list(dict.fromkeys(paths))
    whole = set(given)
    latest: dict[tuple[Path, str], int] = {}
    for path in given:
        stem, generation = split_name(path.name)
        if path.with_name(join_name(stem, 0)) in whole:
            latest[path.parent, stem] = max(generation, latest.get((path.parent, stem), 0))
    return [path for path in given if _is_latest(path, latest)]


def _is_latest(path: Path, latest: dict[tuple[Path, str], int]) -> bool:
    stem, generation = split_name(path.name)
    return latest.get((path.parent, stem), generation) == generation


def stem_of(path: Path) -> str:
    """Return a caption file's name without its ending, and without its generation where that is one."""
    stem, generation = split_name(path.name)
    return stem if generation and path.with_name(join_name(stem, 0)).is_file() else path.name.removesuffix(".parquet")


def captions_of(folder: Path) -> Path:
    """Return where a folder's caption files lie: of a captioning run in one of its folders, else in itself."""
    return folder / CAPTIONS if (folder / RUN).is_file() and (folder / CAPTIONS).is_dir() else folder
