"""What captioning costs beside the model: images a second of the engines, next to what they could be at best.

    python -m benchmarks.caption                     both parts; a quarter of an hour on two cores
    python -m benchmarks.caption --only served       a server that answers in a fixed time
    python -m benchmarks.caption --only local        a model in this process

*served*: the server is a process of its own that answers every request after the same time, so that the ideal is requests under
way by that time. Images are 64-px JPEGs; each one is read, decoded, made canonical at 64 px, sent as a PNG, and its answer read
and handed over, as in a run. By `--pixels 336` images are of LLaVA's size.

*local*: a LLaVA of random weights at 336 px (576 image tokens) that answers in a fixed number of tokens. Three ways of the same
weights and images: bare `generate` in batches on tensors that were decoded beforehand, which is the limit; our engine on
the encoded images, to the text; and a loop of one image at a time as LLaVA's own scripts have it (open, pad, the processor,
`generate`, decode).
"""

from __future__ import annotations

import argparse
import io
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
from recap_caption.canon import CLIP_MEAN, Canon
from recap_caption.engine_options import EngineOptions
from recap_caption.engines import table
from recap_caption.engines.base import Reply, Request
from recap_caption.engines.served import ServedEngine
from recap_caption.engines.wording import Wording
from recap_caption.prompts import Sampling
from recap_caption.prompts.files import find_prompt
from recap_eval.endpoint.address import Address
from recap_eval.endpoint.client import Limits

LATENCY = 0.2  # seconds
SERVER = """
import asyncio, sys
MESSAGE = b'{"choices":[{"finish_reason":"stop","message":{"content":"%s"}}],"model":"m",' % (b"a word and " * 30)
MESSAGE += b'"usage":{"prompt_tokens":600,"completion_tokens":90}}'
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(MESSAGE) + MESSAGE
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(float(sys.argv[1]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
SIZES = {  # of the local model: about 11 and 75 million weights
    "vision": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6},
    "text": {
        "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
        "num_key_value_heads": 4,
    },
}  # fmt: skip


def requests_of(payloads: list[bytes], n: int, tokens: int = 128) -> list[Request]:
    """Return requests for captions by the paper's prompt."""
    text = find_prompt("paper").prompt.text
    return [
        Request(i, text, None, lambda i=i: payloads[i % len(payloads)], f"{i}.jpg", Sampling(tokens), None) for i in range(n)
    ]  # fmt: skip


def counted(engine: Any, requests: list[Request]) -> float:
    """Caption, and return the seconds that it took."""
    kept: list[Reply] = []
    began = time.perf_counter()
    engine.caption(iter(requests), lambda request, reply: kept.append(reply))
    seconds = time.perf_counter() - began
    if len(kept) != len(requests) or any(reply.status != "ok" for reply in kept):
        raise RuntimeError(f"{len(kept)} replies: {next((reply for reply in kept if reply.status != 'ok'), None)}")
    return seconds


def served(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the engine of servers."""
    import numpy as np

    rng, rows = np.random.default_rng(0), []
    payloads = [photo(rng, args.pixels, args.pixels) for _ in range(64)]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(LATENCY)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        for concurrency in args.concurrency:
            limits = Limits(concurrency, timeout=60)
            engine = ServedEngine(Address((url,)), Wording("m", "compatible"), Canon(args.pixels), limits, args.send)
            counted(engine, requests_of(payloads, 2 * concurrency))
            n, ideal = int(args.seconds * concurrency / LATENCY), concurrency / LATENCY
            rounds = [one_round(engine, requests_of(payloads, n)) for _ in range(args.rounds)]
            rate, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            rows.append(
                {"under way": concurrency, "images/s": rate, "ideal": ideal, "share": rate / ideal, "CPU ms/image": cpu}
            )
    finally:
        server.terminate()
    return rows


def one_round(engine: Any, requests: list[Request]) -> tuple[float, float]:
    """Return images a second, and milliseconds of this process's CPU time an image."""
    cpu = time.process_time()
    seconds = counted(engine, requests)
    return len(requests) / seconds, 1000 * (time.process_time() - cpu) / len(requests)


def local(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the engine of a model in this process."""
    import numpy as np

    from tests.tiny_llava import make_llava

    rng = np.random.default_rng(0)
    payloads = [photo(rng, 500, 375) for _ in range(args.n)]
    with tempfile.TemporaryDirectory() as place:
        folder = make_llava(Path(place) / "llava", 336, **SIZES)
        engine = table.make(EngineOptions("transformers", str(folder), device="cpu", batch_size=args.batch_size))
        ways = {
            "bare batches": bare(engine, payloads, args),
            "engine": lambda: counted(engine, requests_of(payloads, args.n, args.tokens)),
            "one at a time": one_by_one(folder, payloads, args),
        }  # fmt: skip
        counted(engine, requests_of(payloads, args.batch_size, 4))
        rounds = [{name: args.n / way() for name, way in ways.items()} for _ in range(args.rounds)]
    rates = {name: statistics.median(found[name] for found in rounds) for name in ways}
    shares = {name: statistics.median(found["engine"] / found[name] for found in rounds) for name in ways}
    return [{"way": name, "images/s": rates[name], "engine / this": shares[name]} for name in ways]


def bare(engine: Any, payloads: list[bytes], args: argparse.Namespace) -> Callable[[], float]:
    """Return what generates in batches on tensors made beforehand; it returns its seconds."""
    import torch

    inputs, model = engine._inputs, engine._generating._model
    question = inputs.question(find_prompt("paper").prompt.text, None, True)
    batches = []
    for start in range(0, len(payloads), args.batch_size):
        made = [inputs.canon.make(payload, "x") for payload in payloads[start : start + args.batch_size]]
        batch = inputs.batch([question] * len(made), [inputs.picture(one) for one in made])
        batches.append({name: value.clone() for name, value in batch.items()})

    def run() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                model.generate(**batch, do_sample=False, max_new_tokens=args.tokens)
        return time.perf_counter() - began

    return run


def one_by_one(folder: Path, payloads: list[bytes], args: argparse.Namespace) -> Callable[[], float]:
    """Return what captions one image at a time, as LLaVA's scripts do; it returns its seconds."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    colour, text = tuple(int(value * 255) for value in CLIP_MEAN), "<image>\n" + find_prompt("paper").prompt.text

    def caption(payload: bytes) -> str:
        image = Image.open(io.BytesIO(payload)).convert("RGB")
        square = Image.new("RGB", (max(image.size),) * 2, colour)
        square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
        inputs = processor(images=square, text=text, return_tensors="pt")
        out = model.generate(**inputs, do_sample=False, max_new_tokens=args.tokens)
        return str(processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])

    def run() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            for payload in payloads:
                caption(payload)
        return time.perf_counter() - began

    return run


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {"served": served, "local": local}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=64, help="served: of an image's side (64)")
    parser.add_argument("--send", default="PNG", help="served: form of the images (PNG)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[32, 64], help="served: requests under way (32 64)")
    parser.add_argument("--seconds", type=float, default=6.0, help="served: at best, of a round (6)")
    parser.add_argument("--n", type=int, default=16, help="local: images a round (16)")
    parser.add_argument("--batch-size", type=int, default=8, help="local (8)")
    parser.add_argument("--tokens", type=int, default=128, help="local: tokens of a caption (128)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {name: part(args) for name, part in PARTS.items() if args.only in (None, name)}
    if args.json:
        print(json.dumps(found))
    for name, rows in {} if args.json else found.items():
        print(name)
        for row in rows:
            print(
                "  "
                + "  ".join(
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
            )


if __name__ == "__main__":
    main()
