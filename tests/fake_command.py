"""A command of nothing, for studies under test: `python -m fake_command make OUT [--wait S] [--from PATH …]`.

Every start, end and stop becomes a line of $LEDGER; a folder `broken` under the working directory makes `make` of what
is named there fail. SIGINT is taken as our trainings take it: the state is saved, exit 130.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path


def note(word, out):
    with Path(os.environ["LEDGER"]).open("a") as stream:
        stream.write(f"{word} {out.name} {os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action")
    parser.add_argument("out", type=Path)
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--from", dest="inputs", nargs="*", default=[], type=Path)
    args = parser.parse_args()
    note("start", args.out)

    def stop(number, frame):
        note("stop", args.out)
        sys.exit(130)

    signal.signal(signal.SIGINT, stop)
    print(f"making {args.out.name}", flush=True)
    time.sleep(args.wait)
    text = "+".join(path.read_text() for path in args.inputs)
    if Path("broken", args.out.name).exists():
        print(f"progress 1\rprogress 2\nthe reason why {args.out.name} fails", file=sys.stderr)
        sys.exit(3)
    if args.action == "save":  # as a training that SIGTERM stops: exit 0, and a state to go on from
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "checkpoint.pt").touch()
    if args.action == "make":
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f"{args.out.name}({text})")
    note("end", args.out)


if __name__ == "__main__":
    main()
