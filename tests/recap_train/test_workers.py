"""Runs of the command with loader processes: stopped, killed, short of data."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import ROOT, assert_two_line_error, make_run, recap
from web import tarred

from recap_eval.artifact import find_artifact
from recap_eval.data.shards import ROLE_PRESETS, list_shards, read_shards
from recap_eval.errors import DataError, UserError
from recap_train.clip import train
from recap_train.ledger import GRACE, NAMED, Ledger
from recap_train.workers import Loading

pytestmark = pytest.mark.serial


def words(data, out, *more, samples=512, workers=2):
    base = ["clip", "--data", data, "--model", "scenes-tiny", "--p-original", "0.5", "--samples-seen", samples, "--out", out]
    return [*map(str, [*base, "--no-eval", "--precision", "fp32", "--workers", workers, *more])]


def start(*command):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "recap_train.cli", *command]
    return subprocess.Popen(line, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True)


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_workers(run, number=2):
    deadline = time.time() + 60
    while time.time() < deadline and run.poll() is None:
        if len(found := children(run.pid)) >= number:
            return found
        time.sleep(0.01)
    pytest.fail(f"no workers: {run.communicate()[1]}")


def weights(folder):
    return (folder / "open_clip_model.safetensors").read_bytes()


def test_workers_change_nothing(world, tmp_path):
    """Nor does a stop between: weights, ledger and mix are those of a run with one thread."""
    assert recap("recap-train", *words(world, tmp_path / "thread", samples=1536, workers=0)).returncode == 0
    run = start(*words(world, tmp_path / "two", samples=1536))
    workers = wait_for_workers(run)
    os.killpg(run.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130 and "goes on from there" in told and "Traceback" not in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert recap("recap-train", *words(world, tmp_path / "two", samples=1536, workers=1)).returncode == 0
    assert weights(tmp_path / "thread") == weights(tmp_path / "two")
    assert find_artifact(tmp_path / "thread").made == find_artifact(tmp_path / "two").made


def test_a_killed_worker_is_told(world, tmp_path):
    run = start(*words(world, tmp_path / "o", samples=500_000))
    victim = wait_for_workers(run)[0]
    time.sleep(0.5)
    os.kill(victim, signal.SIGKILL)
    begin = time.time()
    _, told = run.communicate(timeout=60)
    assert time.time() - begin < 30 and run.returncode == 1 and "Traceback" not in told
    assert "error: A loader worker died" in told and "--workers" in told, told


def test_sigterm_to_all_saves(world, tmp_path):
    run = start(*words(world, tmp_path / "o", samples=500_000))
    wait_for_workers(run)
    os.killpg(run.pid, signal.SIGTERM)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 0 and (tmp_path / "o" / "checkpoint.pt").is_file() and "Traceback" not in told


@pytest.fixture
def shards(world, tmp_path):
    """The training split in four shards."""
    folder, samples = tmp_path / "shards", read_shards(world / "train")
    folder.mkdir()
    for number in range(4):
        members = {}
        for sample in samples[number * 24 : number * 24 + 24]:
            members[f"{sample.key}{sample.suffix}"] = sample.read_image()
            members[f"{sample.key}.json"] = json.dumps(sample.meta).encode()
        (folder / f"{number:05d}.tar").write_bytes(tarred(members))
    return folder


def test_a_lost_shard_is_an_error_or_stands_in_the_ledger(shards, tmp_path):
    path = shards / "00001.tar"
    path.write_bytes(path.read_bytes()[:-20_000])
    preset = ("--caption-preset", "scenes")
    done = recap("recap-train", *words(shards, tmp_path / "o", *preset))
    assert_two_line_error(done, 1, "00001.tar", "not a readable tar")
    done = recap("recap-train", *words(shards, tmp_path / "o", *preset, "--skip-bad"))
    assert_two_line_error(done, 1, "samples are lost", "--max-bad 0.01")
    assert not (tmp_path / "o").exists()
    done = recap("recap-train", *words(shards, tmp_path / "o", *preset, "--skip-bad", "--max-bad", 0.4))
    assert done.returncode == 0 and "warning: 00001.tar:" in done.stderr
    ledger = find_artifact(tmp_path / "o").made["ledger"]
    assert str(shards) not in json.dumps(ledger)
    assert 72 <= ledger["samples"] < 96 and len(ledger["lost"]) == 1 and ledger["seen"] == 512 and ledger["failed"] == 0


def test_bad_images_stop_a_run_when_they_are_many(shards, tmp_path):
    for sample in read_shards(shards)[:40]:
        with sample.tar.open("r+b") as stream:
            stream.seek(sample.image.offset)
            stream.write(b"\0" * sample.image.size)
    more = ("--caption-preset", "scenes", "--skip-bad")
    done = recap("recap-train", *words(shards, tmp_path / "o", *more))
    assert_two_line_error(done, 1, "samples could not be read", ".jpg", "--max-bad")
    done = recap("recap-train", *words(shards, tmp_path / "p", *more, "--max-bad", 0.5))
    made = find_artifact(tmp_path / "p").made
    assert done.returncode == 0 and made["bad_images"] == 40 == len(made["ledger"]["bad"])
    assert str(shards) not in json.dumps(made)
    assert made["ledger"]["seen"] + made["ledger"]["failed"] == 512 and made["ledger"]["failed"] > 150
    assert '"failed"' in (tmp_path / "p" / "log.jsonl").read_text()


def test_samples_without_a_caption_are_left_out(shards, tmp_path):
    members, first = {}, read_shards(shards)[0]
    for sample in read_shards(shards)[:24]:
        members[f"{sample.key}{sample.suffix}"] = sample.read_image()
        members[f"{sample.key}.json"] = b"{}" if sample.key == first.key else json.dumps(sample.meta).encode()
    (shards / "00000.tar").write_bytes(tarred(members))
    run = make_run(shards, tmp_path / "a", samples=256, roles=ROLE_PRESETS["scenes"])
    with pytest.raises(DataError, match=f"1 of 96 samples lack a caption member, the first .*{first.key}"):
        train(run)
    artifact, _ = train(replace(run, skip_bad=True, loading=Loading(max_bad=0.05)))
    assert artifact.made["ledger"]["bad"] == {
        f"00000.tar:{first.key}.jpg": f"00000.tar:{first.key}.jpg has no json:org_caption."
    }
    assert artifact.made["ledger"]["failed"] in (2, 3)


def test_a_run_from_urls(shards, tmp_path, host):
    """The same data by URL, its connection lost once, gives the same run; then it needs the server no more."""
    for path in list_shards(shards):
        host.files[f"/x/{path.name}"], host.tags[f"/x/{path.name}"] = path.read_bytes(), f'"{path.name}"'
    host.cuts = [10_000]
    run = make_run(shards, tmp_path / "a", samples=256, roles=ROLE_PRESETS["scenes"], loading=Loading(window=30))
    train(run)
    pattern = f"{host.address}/x/{{00000..00003}}.tar"
    train(replace(run, data=pattern, out=tmp_path / "b"))
    assert weights(tmp_path / "a") == weights(tmp_path / "b") and len(host.asked) == 5
    host.files.clear()
    train(replace(run, data=pattern, out=tmp_path / "c"))
    assert weights(tmp_path / "a") == weights(tmp_path / "c") and len(host.asked) == 5
    plain = replace(run, loading=Loading(), out=tmp_path / "d")
    train(plain)
    assert weights(tmp_path / "a") != weights(tmp_path / "d")  # the window is another order, and another identity
    with pytest.raises(UserError, match="made otherwise"):
        train(replace(plain, out=tmp_path / "a"))
    done = recap("recap-train", *words(pattern.replace("00003", "00004"), tmp_path / "e", "--caption-preset", "scenes"))
    assert_two_line_error(done, 1, "/x/00004.tar", "404")


def test_a_ledger_names_some_and_counts_all():
    ledger, part = Ledger(), Ledger()
    for number in range(NAMED + 50):
        part.miss(f"x{number}", "why")
    part.seen = 10 * GRACE
    ledger.add(part)
    ledger.check(0.1)
    assert len(ledger.bad) == NAMED and ledger.failed == NAMED + 50
    with pytest.raises(Exception, match=r"1,050 of 11,050 samples could not be read, the first x0: why"):
        ledger.check(0.05)
    few = Ledger(failed=1, seen=5, bad={"x": "y"})
    few.check(0.01)
