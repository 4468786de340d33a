"""Two workers killed at random, images that are none, a server that fails a third of the time and goes away: each row once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoints import Endpoint
from small_inputs import painted, rows_of, write_shards
from support import ROOT
from trouble import ABSENT, AT_ONCE, BAD, EACH, SHARDS, Trouble, check_rows, count, engine, paid, say

from recap_caption.run.generation import FIRST, left
from recap_caption.run.lease import Leases
from recap_caption.run.record import read_run

HERE = Path(__file__).parent
KILLS, WORKERS = 8, 2
LONGEST = 150.0  # seconds that all may take


def command(*words):
    return [sys.executable, "-m", "recap_caption.cli", *map(str, words)]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE, HERE.parent)))}


def start(folder, out, url, log):
    words = ["run", "--input", folder, "--output", out, "--original-key", "txt", "--no-eval", *engine(url)]
    with log.open("ab") as stream:
        return subprocess.Popen(command(*words), stdout=stream, stderr=stream, env=environment())


def finish(*words):
    return subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=60)


def is_complete(out):
    return (out / "run.json").is_file() and (out / "manifest.parquet").is_file() and not left(read_run(out), FIRST)


def wreck(folder, out, server, trouble, log):
    """Run two workers, kill one of them at random eight times, let the server go away once; returns how many were killed."""
    draw, workers, kills, began = random.Random(), [], 0, time.monotonic()
    strike = draw.randint(5, 40)
    while not is_complete(out):
        assert time.monotonic() - began < LONGEST, log.read_text()
        workers = [worker for worker in workers if worker.poll() is None]
        workers += [start(folder, out, server.url, log) for _ in range(WORKERS - len(workers))]
        time.sleep(draw.uniform(0.01, 0.05))
        if kills < KILLS and len(server.bodies) >= strike:
            victim = draw.choice(workers)
            victim.kill()
            kills += victim.wait() == -signal.SIGKILL
            strike = len(server.bodies) + draw.randint(5, 40)
            if kills == KILLS // 2:
                trouble.go_away(1.5)
    assert {worker.wait(30) for worker in workers} <= {0, 1}, log.read_text()
    return kills


@pytest.mark.serial
def test_killed_at_random_each_row_is_there_once(tmp_path):
    folder = write_shards(tmp_path / "in", SHARDS, EACH, bad=BAD, absent=ABSENT, draw=painted)
    out, log = tmp_path / "out", tmp_path / "log"
    trouble = Trouble()
    with Endpoint(say, faults=trouble) as server:
        assert wreck(folder, out, server, trouble, log) == KILLS, "the run was over too soon"
        done = finish("verify", out, "--json")
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        report = json.loads(done.stdout)
        run = read_run(out)
        rows = rows_of(run)
        check_rows(rows)
        assert report["rows"] == SHARDS * EACH and report["statuses"] == {k: v for k, v in count(rows).items() if v}
        lost = paid(server) - report["statuses"]["ok"]
        assert lost <= KILLS * AT_ONCE, "a killed worker loses what was under way, and no more"
        retry_until_whole(out)
    assert {row["status"] for row in rows_of(run)} == {"ok", "bad_image"}
    assert (
        not list(run.folder.captions.glob(".*"))
        and not Leases(run.folder.leases, "x").names()
        and not list((out / ".work/spool").iterdir())
    )
    damage_is_named(out)


def retry_until_whole(out):
    for _ in range(5):
        assert finish("retry", out, "--no-eval").returncode == 0
    done = finish("verify", out)
    assert done.returncode == 0, done.stdout


def damage_is_named(out):
    path = random.Random().choice(sorted(out.glob("captions/*.parquet")))
    payload = bytearray(path.read_bytes())
    payload[random.randrange(len(payload))] ^= 1
    path.write_bytes(payload)
    done = finish("verify", out)
    assert done.returncode == 1 and path.name in done.stdout and "NOT verified" in done.stdout
