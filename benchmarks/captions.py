"""Rows a second and memory of `recap-eval captions` on captions of 30 to 70 words, an original of about ten beside each.

    python -m benchmarks.captions                    one million rows, one process and two
    python -m benchmarks.captions --rows 1e7 --only memory

Captions are words at random with frequencies like English ones (Zipf with exponent 1.05 over 60,000 words), one in a hundred a
word that no other caption has, so that the vocabulary grows as on the web. Each row of the table is a fresh process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from recap_eval.console import positive

FILE_ROWS, BLOCK = 250_000, 50_000
SYLLABLES = "ka to mi ra ne so li va pe du shi gor ban tel wick ham"
PLAIN = "the a of in and with is on image to features an man standing background large woman are white table"
WORK = {
    "length, vocabulary": (("length", "vocabulary"), False),
    "flags": (("flags",), False),
    "tokens (clip)": ((), True),
    "all of these": (("length", "vocabulary", "flags"), True),
}


def vocabulary(rng: np.random.Generator, n: int = 60_000) -> list[str]:
    """Return n words, the most frequent first."""
    syllables = SYLLABLES.split()
    made = ["".join(rng.choice(syllables, rng.integers(1, 5))) + (str(at % 7) if at > 5000 else "") for at in range(n)]
    return (PLAIN.split() + made)[:n]


def write(folder: Path, rows: int) -> None:
    """Write parquet files of captions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    words = pa.array(vocabulary(rng))
    weights = 1 / np.arange(1, len(words) + 1) ** 1.05
    cumulated = np.cumsum(weights / weights.sum())
    for start in range(0, rows, FILE_ROWS):
        with pq.ParquetWriter(folder / f"{start:010d}.parquet", _schema()) as writer:
            for at in range(start, min(start + FILE_ROWS, rows), BLOCK):
                writer.write_table(_block(rng, words, cumulated, at, min(BLOCK, rows - at)))


def _schema() -> object:
    import pyarrow as pa

    return pa.schema([("key", pa.string()), ("org_caption", pa.string()), ("re_caption", pa.string())])


def _block(rng: np.random.Generator, words: object, cumulated: np.ndarray, start: int, rows: int) -> object:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = rng.integers(30, 71, rows)
    ids = np.minimum(np.searchsorted(cumulated, rng.random(int(lengths.sum()))), len(cumulated) - 1)
    found = words.take(pa.array(ids)).to_pylist()  # type: ignore[attr-defined]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    for place in rng.integers(0, len(found), len(found) // 100).tolist():
        found[place] = f"x{start}{place}"
    for place in range(11, len(found), 12):
        found[place] += ","
    for end in bounds[1:].tolist():
        found[end - 1] += "."
    flat = pa.array(found)
    captions = pc.binary_join(pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), flat), " ")
    short = pa.array([" ".join(found[at : at + 10]) for at in bounds[:-1].tolist()])
    keys = pa.array([f"{start + row:010d}" for row in range(rows)])
    return pa.Table.from_arrays([keys, short, captions], schema=_schema())


def child(folder: Path, work: str, shard: str) -> None:
    """Count in this process; print seconds and the largest memory in MiB."""
    from recap_eval.captions.scan import Question, Scan
    from recap_eval.captions.tokens import load_tokenizer

    states, tokens = WORK[work]
    question = Question("re_caption", states=states, tokenizers=(load_tokenizer("clip"),) if tokens else ())
    part, of = map(int, shard.split("/"))
    scan = Scan(sorted(folder.glob("*.parquet")), question, progress=False)
    start = time.perf_counter()
    rows = scan.run((part, of))["re_caption"].content.rows
    seconds = time.perf_counter() - start
    print(rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(folder: Path, work: str, processes: int = 1) -> tuple[int, float, float]:
    """Return rows, seconds of the slowest process and the largest memory of one, in MiB."""
    command = [sys.executable, "-m", "benchmarks.captions", "--child", work, "--folder", str(folder), "--shard"]
    running = [
        subprocess.Popen([*command, f"{part}/{processes}"], stdout=subprocess.PIPE, text=True) for part in range(processes)
    ]
    outs = [process.communicate()[0].split() for process in running]
    return sum(int(out[0]) for out in outs), max(float(out[1]) for out in outs), max(float(out[2]) for out in outs)


def main() -> None:
    """Write captions, count them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive, default=1_000_000)
    parser.add_argument("--only", choices=("speed", "memory"))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--shard", default="0/1", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.folder, args.child, args.shard)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, args.rows)
        jobs = [(work, 1) for work in WORK] + [("all of these", 2)]
        for work, processes in jobs[3:4] if args.only == "memory" else jobs:
            rows, seconds, memory = measure(folder, work, processes)
            print(
                f"{work:20} {processes} process(es)  {rows:,} rows  {rows / seconds:8,.0f} rows/s  {memory:6,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
