"""What the judge's client costs by itself: questions a second against a server that answers at once.

    python -m benchmarks.judge                  half a minute on two cores

The server is a process of its own that reads a request and returns the same bytes. Images are 256-px JPEGs in memory; each
one is digested, decoded and asked about, and its answer is read and committed to disk, as in a run. Beside it the openai
library alone with the same requests, made beforehand: what is left between the two is ours. Wall time, and CPU time of our
process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clip_eval import photo
from recap_eval.data.pictures import picture_of
from recap_eval.endpoint.address import Address
from recap_eval.endpoint.client import Limits
from recap_eval.judge.asking import Setup
from recap_eval.judge.questions import Item, Judge, questions_of
from recap_eval.judge.rating import Config, judge_items
from recap_eval.judge.templates import find_template

SERVER = """
import asyncio
MESSAGE = b'{"choices":[{"finish_reason":"stop","message":{"content":"Rating: 4"}}],"model":"m",'
MESSAGE += b'"usage":{"prompt_tokens":300,"completion_tokens":4}}'
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(MESSAGE) + MESSAGE
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            await reader.readexactly(length)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def make_items(n: int) -> list[Item]:
    """Return items with images of their own."""
    import numpy as np

    rng = np.random.default_rng(0)
    payloads = [photo(rng, 256, 256) for _ in range(min(n, 64))]
    return [Item.of(f"{i}", payloads[i % len(payloads)], f"a caption of a few words, number {i}") for i in range(n)]


def ours(url: str, items: list[Item], concurrency: int) -> None:
    """Rate items as a run does."""
    judge = Judge(find_template("paper"), "m", "compatible")
    setup = Setup(Address((url,)), Limits(concurrency), progress=False)
    with tempfile.TemporaryDirectory() as folder:
        found = judge_items(items, Config(judge, setup, Path(folder) / "judge.sqlite"))
    if found.counts()["rated"] != len(items):
        raise RuntimeError(f"{found.counts()}")


def bare(url: str, items: list[Item], concurrency: int) -> Callable[[], None]:
    """Return what puts the same requests by the openai library alone, made ready beforehand."""
    from recap_eval.data.digests import Digests

    judge = Judge(find_template("paper"), "m", "compatible")
    rows = questions_of(items, judge, 1, Digests(None, False))
    bodies = [row[0].body(picture_of(row[0].item.image)) for row in rows]
    return lambda: asyncio.run(_ask_all(url, bodies, concurrency))


async def _ask_all(url: str, bodies: list[dict[str, Any]], concurrency: int) -> None:
    from openai import AsyncOpenAI

    client, waiting = AsyncOpenAI(api_key="none", base_url=url, max_retries=0), iter(bodies)

    async def worker() -> None:
        for body in waiting:
            await client.chat.completions.create(**body)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    await client.close()


def timed(act: Callable[[], None], n: int) -> tuple[float, float]:
    """Return milliseconds of wall and of CPU time a question."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return 1000 * (time.perf_counter() - wall) / n, 1000 * (time.process_time() - cpu) / n


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=400, help="questions a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        items, rows = make_items(args.n), []
        ours(url, items[:20], 4)
        for concurrency in (1, 8, 32):
            alone = bare(url, items, concurrency)
            rounds = [
                (timed(lambda c=concurrency: ours(url, items, c), args.n), timed(alone, args.n)) for _ in range(args.rounds)
            ]  # fmt: skip
            for who, place in (("recap", 0), ("openai alone", 1)):
                wall, cpu = (statistics.median(one[place][kind] for one in rounds) for kind in (0, 1))
                rows.append({"who": who, "concurrency": concurrency, "wall_ms": wall, "cpu_ms": cpu, "per_s": 1000 / wall})
    finally:
        server.terminate()
    if args.json:
        print(json.dumps(rows))
    for row in [] if args.json else rows:
        print("{concurrency:3d} at once  {who:13s} {per_s:7.0f}/s  {wall_ms:6.2f} ms wall  {cpu_ms:6.2f} ms CPU".format(**row))


if __name__ == "__main__":
    main()
