"""Small inputs for captioning: images are a JPEG's first bytes and a word, so that nothing has to be drawn."""

import io
import json
import zlib
from pathlib import Path

from fake_engine import FakeEngine
from support import write_tar

JPEG = b"\xff\xd8\xff"


def image(word) -> bytes:
    return JPEG + str(word).encode()


def painted(word) -> bytes:
    """Return a PNG of which one half has a colour that tells the word."""
    from PIL import Image

    picture = Image.new("RGB", (16, 16), "white")
    picture.paste(tuple(zlib.crc32(str(word).encode()).to_bytes(4, "big")[:3]), (0, 0, 8, 16))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def members(key: str, draw=image, **other) -> dict[str, bytes]:
    """Return the members of a sample as img2dataset writes them; None leaves one out."""
    meta = {"url": f"http://x/{key}", "sha256": f"{zlib.crc32(key.encode()):064x}", "org_caption": f"alt {key}", "key": key}
    found = {".jpg": draw(key), ".txt": f"alt {key}".encode(), ".json": json.dumps(meta).encode()} | other
    return {f"{key}{ending}": payload for ending, payload in found.items() if payload is not None}


def write_shards(folder: Path, shards=3, n=10, bad=0, absent=0, draw=image) -> Path:
    """Write shards 00000.tar, …; every `bad`-th image is none, every `absent`-th is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        found = {}
        for number in range(n):
            other = {".jpg": b"no image"} if bad and number % bad == 1 else {}
            other |= {".jpg": None} if absent and number % absent == 2 else {}
            found |= members(f"{shard:05d}{number:04d}", draw, **other)
        write_tar(folder / f"{shard:05d}.tar", found)
    return folder


def keys_of(shards=3, n=10) -> list[str]:
    return [f"{shard:05d}{number:04d}" for shard in range(shards) for number in range(n)]


def begin(out: Path, folder: Path, engine=None, prompts=None, worker="w", original="txt", **other):
    """Open a run of an input."""
    from recap_caption.prompts import Prompt
    from recap_caption.run.opening import open_run
    from recap_caption.run.record import Wanted
    from recap_caption.sources.base import Reading

    reading = {name: other.pop(name) for name in ("columns", "images", "part", "recaption") if name in other}
    prompts = prompts or (Prompt("plain", "Describe it."),)
    wanted = Wanted((str(folder),), Reading(original, **reading), tuple(prompts), **other)
    return open_run(out, wanted, engine or FakeEngine(), worker)


def caption(out: Path, folder: Path, engine=None, **other):
    """Caption an input whole, in this process; returns the run and the tally."""
    from recap_caption.run.worker import Worker

    engine = engine or FakeEngine()
    run = begin(out, folder, engine, **other)
    return run, Worker(run, engine, other.get("worker", "w")).work()


def rows_of(run) -> list[dict]:
    """Return the rows that readers see, in the order of the files."""
    from recap_caption.run.output import read_output

    return [row for path in run.folder.newest_outputs() for row in read_output(path).table.to_pylist()]


def prove(run, **other):
    """Return the proof of a run."""
    from recap_caption.run.proving import Proof

    proof = Proof(run, **other)
    list(proof.check_parts())
    return proof
