"""A captioning run on a cluster: by a Ray of our own at the command line; and by Ray itself, one machine of two killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import pytest
from endpoints import Endpoint
from fake_ray import FakeRay
from small_inputs import begin, keys_of, painted, prove, rows_of, write_shards
from support import ROOT, assert_two_line_error, recap
from trouble import ABSENT, AT_ONCE, BAD, EACH, SHARDS, Trouble, check_rows, count, engine, paid, say

from recap_caption.run import on_ray
from recap_caption.run.generation import FIRST
from recap_caption.run.record import read_run
from recap_eval.cluster import drive
from recap_eval.console import warn
from recap_eval.signals import Wishes

TWO = [{"CPU": 1.0}, {"CPU": 1.0}]
MANY, FEW = 10, 40  # shards, samples of each
ENGINE = ("--engine", "fake_engine:make", "--original-key", "txt", "--prompt", "paper", "--no-eval")
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "recap_caption")))


@pytest.fixture
def cluster(monkeypatch):
    """Let --ray reach a cluster of our own; returns what sets one up."""
    monkeypatch.setattr(drive, "LOOK", 0.0)
    monkeypatch.setattr(drive, "POLL", 0.0)

    def reach(ray):
        @contextmanager
        def connected(address):
            assert address == "10.0.0.1:6379"
            yield ray

        ray.cluster_resources = lambda: {"CPU": 2.0}
        monkeypatch.setattr(on_ray, "connected", connected)
        return ray

    return reach


def run(*words, cwd=None, address="10.0.0.1:6379"):
    return recap("recap-caption", "run", *ENGINE, "--ray", address, *words, cwd=cwd)


def check_whole(out: Path, shards: int, n: int) -> None:
    """Every key once and in order, none asked for in vain, and a proof of it."""
    found = read_run(out)
    assert [row["key"] for row in rows_of(found)] == keys_of(shards, n)
    proof = prove(found)
    assert not proof.problems and not proof.missing and proof.rows == shards * n


@pytest.mark.parametrize("seed", range(4))
def test_workers_that_die_are_replaced_and_every_sample_is_captioned_once(tmp_path, cluster, seed):
    write_shards(tmp_path / "in")
    deaths = iter([True, seed % 2 == 0, True])
    ray = cluster(FakeRay(TWO, lambda method, argument: method == "do" and next(deaths, False), seed))
    done = run("--input", "in", "--output", "out", "--model", "fake-1", cwd=tmp_path)  # relative to where it was given
    assert done.returncode == 0, done.stderr
    check_whole(tmp_path / "out", 3, 10)
    assert "died; it is begun again" in done.stderr
    assert "complete, 30 rows" in done.stderr and ray.living == [] and not list((tmp_path / "out" / ".work").glob("*.stop"))
    assert {path.name for path in (tmp_path / "out" / ".work" / "logs").iterdir()} <= {"ray-1.log", "ray-2.log"}


def test_a_run_begun_without_ray_goes_on_with_it_and_failures_are_asked_again(tmp_path, cluster):
    write_shards(tmp_path / "in")
    cluster(FakeRay(TWO))
    words = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", "fake-1,fail=0.3")
    assert recap("recap-caption", "run", *ENGINE, *words).returncode == 0
    assert run(*words).returncode == 0
    check_whole(tmp_path / "out", 3, 10)
    before = {row["key"] for row in rows_of(read_run(tmp_path / "out")) if row["status"] == "engine_error"}
    again = recap("recap-caption", "retry", tmp_path / "out", "--model", "fake-1", "--ray", "10.0.0.1:6379")
    assert again.returncode == 0 and before, again.stderr
    check_whole(tmp_path / "out", 3, 10)
    assert {row["status"] for row in rows_of(read_run(tmp_path / "out"))} == {"ok"}


def test_what_ends_every_worker_is_told_and_what_ends_one_ends_no_other(tmp_path, cluster):
    write_shards(tmp_path / "in")
    words = ("--input", tmp_path / "in", "--output", tmp_path / "out")
    cluster(FakeRay(TWO))
    assert run(*words, "--model", "fake-1").returncode == 0
    done = run(*words, "--model", "another")
    assert_two_line_error(done, 2, "holds a run of another configuration", "Choose another --output")
    assert done.stderr.count("a worker ended: ") == 2


def test_wrong_requests(tmp_path, cluster, monkeypatch):
    write_shards(tmp_path / "in")
    words = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", "fake-1")
    cluster(FakeRay(TWO))
    assert_two_line_error(run(*words, "--workers", "2"), 2, "--workers starts processes here", "--ray-workers")
    assert_two_line_error(run(*words, "--ray-gpus", "1"), 2, "No machine of the cluster has 1 processor and 1 GPU")
    assert_two_line_error(run(*words, "--ray-cpus", "3"), 2, "has 3 processors")
    assert_two_line_error(run(*words, "--original-key", "none", "--prompt", "conditioned"), 2, "--original-key")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert_two_line_error(run(*words, address="nowhere"), 2, "'nowhere' is no address of a Ray cluster")


def test_engines_in_process_take_a_gpu_where_there_is_one(cluster):
    ray = cluster(FakeRay(TWO))
    asked = Namespace(engine="transformers", ray_cpus=2, ray_gpus=None)
    assert on_ray.needs_of(asked, ray).gpus == 0
    ray.cluster_resources = lambda: {"GPU": 8.0}
    assert on_ray.needs_of(asked, ray).gpus == 1
    assert on_ray.needs_of(Namespace(engine="openai", ray_cpus=2, ray_gpus=None), ray).gpus == 0
    assert on_ray.needs_of(Namespace(engine="mine:make", ray_cpus=2, ray_gpus=0.5), ray).gpus == 0.5


def test_a_wish_to_stop_is_passed_on_once_and_the_run_is_shown_once(tmp_path, capsys):
    found, shown, wishes = begin(tmp_path / "out", write_shards(tmp_path / "in")), [], Wishes()
    post = on_ray.Post(None, (), FIRST, tmp_path, tmp_path / "out" / ".work" / "x.stop")
    with on_ray.watching(found.folder, post, wishes, shown.append) as watch:
        assert [watch.look(), watch.look()] == [False, False] and shown == [found] and watch.progress() == 0
        assert not post.stop.exists()
        wishes.term = True
        assert [watch.look(), watch.look()] == [True, True] and post.stop.exists()
    assert not post.stop.exists() and capsys.readouterr().err.count("stopping when what is under way") == 1


def test_a_worker_stops_when_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "LOOK", 0.01)
    with on_ray.wishes_of(tmp_path / "stop") as wishes:
        time.sleep(0.05)
        assert not wishes
        (tmp_path / "stop").touch()
        wait_for(lambda: wishes.term, 5.0)


def test_what_a_worker_says_is_kept_and_a_fault_of_ours_is_not_hidden(tmp_path, monkeypatch):
    def faulty(*asked):
        warn("00007.tar ends too early")
        raise OSError("ours")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_ray, "caption_shards", faulty)
    worker = on_ray.RayWorker(on_ray.Post(Namespace(output=Path("out")), (), FIRST, tmp_path, tmp_path / "stop"))
    for _ in range(2):
        with pytest.raises(OSError, match="ours"):
            worker(3)
    assert (tmp_path / "out/.work/logs/ray-3.log").read_text() == "warning: 00007.tar ends too early\n" * 2
    with pytest.raises(OSError, match="ours"):  # where no log can be written it works all the same
        on_ray.RayWorker(on_ray.Post(Namespace(output=Path("/proc/none")), (), FIRST, tmp_path, tmp_path / "stop"))(3)


def test_a_folder_that_a_machine_does_not_see_is_named(tmp_path):
    post = on_ray.Post(None, (), None, tmp_path / "gone", tmp_path / "stop")
    error = on_ray.RayWorker(post)(1)
    assert "has no folder" in error.what and "gone (No such file" in error.what and error.exit_code == 1


# Ray itself.


@pytest.fixture(scope="module")
def machines():
    """A cluster of one machine with one processor; tests add another."""
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'recap[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray writes a token into the home
        patch.setenv("PYTHONPATH", PATHS)
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield found
        found.shutdown()


def started(place: Path, address: str, *words) -> subprocess.Popen:
    command = [sys.executable, "-m", "recap_caption.cli", "run", "--input", "in", "--output", "out", *ENGINE, *words]
    env = os.environ | {"PYTHONPATH": PATHS}
    return subprocess.Popen(
        [*command, "--ray", address], cwd=place, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )


def states(out: Path) -> list[str]:
    """Return the states of a run's workers."""
    return [json.loads(path.read_text())["state"] for path in (out / ".work" / "workers").glob("*.json")]


def committed(out: Path) -> int:
    return len(list((out / "captions").glob("[0-9]*.parquet")))


@pytest.mark.slow
@pytest.mark.serial
def test_one_machine_of_two_is_killed_and_the_server_fails_and_every_sample_is_there_once(machines, tmp_path):
    folder = write_shards(tmp_path / "in", SHARDS, EACH, bad=BAD, absent=ABSENT, draw=painted)
    out, trouble = tmp_path / "out", Trouble()
    second = machines.add_node(num_cpus=1)
    with Endpoint(say, faults=trouble) as server:
        running = started(tmp_path, machines.address, *engine(server.url))
        wait_for(lambda: committed(out) >= 2 and len(states(out)) == 2)
        trouble.go_away(1.5)
        machines.remove_node(second, allow_graceful=False)
        at_kill = committed(out)
        _, said = running.communicate(timeout=200)
        assert running.returncode == 0 and at_kill < SHARDS, said
        assert "died; it is begun again (1 of 4)" in said and f"complete, {SHARDS * EACH} rows" in said, said
        rows = rows_of(read_run(out))
        check_rows(rows)
        counts = count(rows)
        assert paid(server) <= counts["ok"] + AT_ONCE, "what was under way is lost, and no more"
        done = recap("recap-caption", "verify", out, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["rows"] == len(rows)
        assert folder.is_dir() and counts["ok"] > 300


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_keeps_what_was_answered_and_goes_on(machines, tmp_path, sign):
    write_shards(tmp_path / "in", MANY, FEW)
    running = started(tmp_path, machines.address, "--model", "fake-1,slow=0.03")
    wait_for(lambda: committed(tmp_path / "out") >= 1)
    start = time.monotonic()
    os.killpg(running.pid, sign)
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if sign == signal.SIGINT else 0) and time.monotonic() - start < 20, said
    assert "stopped; what was answered is kept" in said and "Traceback" not in said
    assert states(tmp_path / "out") == ["stopped"] and not list((tmp_path / "out" / ".work" / "leases").glob("*.lease"))
    asked = started(tmp_path, machines.address, "--model", "fake-1,slow=0.01")
    assert asked.communicate(timeout=100) and asked.returncode == 0
    check_whole(tmp_path / "out", MANY, FEW)


def wait_for(ready, seconds: float = 100.0):
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found
