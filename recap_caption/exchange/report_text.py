"""What a join came to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recap_caption.exchange.told import PAIRED, WORDS
from recap_caption.exchange.webdataset import PRESET

OF_ROWS = {  # in this order, where they are not 0
    "rows_of_images_at_hand": "of images at hand",
    "rows_repeated": "of these say again what an earlier row said",
    "rows_of_their_urls_only": "of an image's URL, but of another sha256 or of an image that states none",
    "rows_not_downloaded": "of images that are not at hand",
}
OF_IMAGES = {
    "images_whose_rows_differ": "have rows that say different things; the first counts",
    "images_repeated": "are there twice, by their sha256",
    "images_without_sha256": "state no sha256",
}


def describe(report: Mapping[str, Any]) -> str:
    """Return a report as text: images by outcome, then rows, a line each."""
    outcomes = report["outcomes"]
    found = ", ".join(f"{n:,} by {how}" for how, n in sorted(report["found_by"].items()))
    paired = f"{outcomes.get(PAIRED, 0):,} of {report['images']:,} images {WORDS[PAIRED]}"
    again = " (all of it was there)" if report["done_before"] else ""
    lines = [f"{paired} ({found}), {report['shards']:,} shards{again}"]
    lines += [f"  {n:,} images {WORDS[name]}" for name, n in sorted(outcomes.items()) if name != PAIRED]
    lines += [f"  {report[name]:,} images {words}" for name, words in OF_IMAGES.items() if report.get(name)]
    if "rows" in report:
        lines.append(f"  {report['rows']:,} rows of captions:")
        lines += [f"    {report[name]:,} {words}" for name, words in OF_ROWS.items() if report.get(name)]
    if report["torn_shards"]:
        lines.append(f"  {report['torn_shards']:,} shards are cut short; what they still have was taken")
    return "\n".join(lines)


def train_command(out: Path, makes: str) -> str:
    """Return what to type next."""
    if makes == "webdataset":
        return f"Train from it: recap-train clip --data {out} --caption-preset {PRESET} --p-original 0.5 …"
    return f"Measure it: recap-eval captions --captions {out} --column re_caption --against org_caption"
