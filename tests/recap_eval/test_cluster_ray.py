"""Ray itself: caption sets counted on this machine's processors and on two machines, of which one is killed; Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import slow_part
from support import assert_two_line_error, recap, recap_apart

from recap_eval.cluster.connect import connected
from recap_eval.cluster.drive import TRIES, on_cluster
from recap_eval.cluster.job import Job
from recap_eval.errors import DataError
from recap_eval.results import read_results

pytestmark = [pytest.mark.slow, pytest.mark.serial]
ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'recap[ray]'")

FILES, ROWS = 6, 10_000
WORDS = ("--column", "re_caption", "--against", "org_caption", "--metrics", "length,flags,vocabulary")


@pytest.fixture(scope="module", autouse=True)
def no_token():
    """Let Ray write no token into the home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def captions(tmp_path_factory) -> Path:
    """Caption files that take some seconds to count."""
    folder = tmp_path_factory.mktemp("captions") / "set"
    folder.mkdir()
    for file in range(FILES):
        numbers = range(file * ROWS, file * ROWS + ROWS)
        texts = [f"The image shows thing {n} beside thing {n % 77}, in the light of day {n % 3}. " * 3 for n in numbers]
        table = {"key": [str(n) for n in numbers], "re_caption": texts, "org_caption": [f"thing {n} shop" for n in numbers]}
        pq.write_table(pa.table(table), folder / f"{file}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(captions, tmp_path_factory) -> dict:
    """What is measured without a cluster."""
    out = tmp_path_factory.mktemp("expected")
    done = recap("recap-eval", "captions", "--captions", captions, *WORDS, "--no-cache", "--out", out)
    assert done.returncode == 0, done.stderr
    return measured(out)


@pytest.fixture(scope="module")
def machines():
    """A cluster of two machines with one processor each; the second may be killed: tests that need it add it again."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def measured(out: Path) -> dict:
    records = {(found.task, found.record["model"]["meta"]["column"]): dict(found.record) for found in read_results(out)}
    for record in records.values():
        del record["run"]
    return records


def test_the_processors_of_this_machine_give_the_same_figures_to_the_bit(captions, expected, tmp_path):
    words = ("captions", "--captions", captions, *WORDS, "--cache", tmp_path / "cache")
    done = recap_apart("recap-eval", *words, "--out", tmp_path / "lb", "--ray", "local")
    assert done.returncode == 0, done.stderr
    assert measured(tmp_path / "lb") == expected and len(expected) == 6
    again = recap_apart("recap-eval", *words, "--out", tmp_path / "again", "--ray", "127.0.0.1:1")  # which is not asked
    assert again.returncode == 0 and measured(tmp_path / "again") == expected


def test_a_machine_is_killed_and_the_figures_are_the_same(machines, captions, expected, tmp_path):
    second = machines.add_node(num_cpus=1)
    command = [sys.executable, "-m", "recap_eval.cli", "captions", "--captions", str(captions), *WORDS]
    command += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "lb"), "--ray", machines.address]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(list((tmp_path / "cache").rglob("*.json.gz"))) >= 2)
    machines.remove_node(second, allow_graceful=False)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert "it is begun again (1 of 4)" in said, said
    assert measured(tmp_path / "lb") == expected


def test_parts_are_done_by_both_machines_and_again_when_one_is_gone(machines, tmp_path):
    second = machines.add_node(num_cpus=1)
    told, found = [], {}
    with connected(machines.address) as library:
        library.cloudpickle.register_pickle_by_value(slow_part)
        job = Job(partial(slow_part.slow, tmp_path, 0.7), name="part {}".format)
        for part, (same, process) in on_cluster(library, range(9), job, told.append):
            assert part == same and part not in found
            found[part] = process
            if len(found) == 4:
                machines.remove_node(second, allow_graceful=False)
    begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert sorted(found) == list(range(9)) and len(set(found.values())) == 2
    assert len(begun) == 10 and len(told) == 1 and "begun again" in told[0] and told[0].startswith("part ")


def test_a_part_that_kills_its_worker_is_named_and_the_others_are_done(machines, tmp_path):
    done = []
    with connected(machines.address) as library:
        library.cloudpickle.register_pickle_by_value(slow_part)
        results = on_cluster(library, range(4), Job(partial(slow_part.slow, tmp_path, 0.0, 2)), lambda text: None)
        with pytest.raises(DataError, match=f"2: {TRIES} processes died at it .last on .*worker process has died"):
            done.extend(part for part, _ in results)
    assert sorted(done) == [0, 1, 3] and len(list(tmp_path.glob("2-*"))) == TRIES


def test_a_damaged_file_is_named_as_it_is_without_a_cluster(machines, captions, tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("0.parquet", "1.parquet"):
        (tmp_path / "set" / name).write_bytes((captions / name).read_bytes())
    with (tmp_path / "set" / "1.parquet").open("r+b") as stream:
        stream.seek(pq.read_metadata(captions / "1.parquet").row_group(0).column(1).data_page_offset)
        stream.write(b"\xff" * 4000)
    words = ("captions", "--captions", tmp_path / "set", *WORDS, "--cache", tmp_path / "cache", "--out", tmp_path / "lb")
    done = recap_apart("recap-eval", *words, "--ray", machines.address)
    assert_two_line_error(done, 1, "1.parquet is not a readable parquet file")
    assert done.stderr.splitlines()[-2:] == recap("recap-eval", *words).stderr.splitlines()[-2:]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_ends_at_once_keeps_what_is_counted_and_leaves_no_process(captions, expected, tmp_path, sign):
    command = [sys.executable, "-m", "recap_eval.cli", "captions", "--captions", str(captions), *WORDS]
    command += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "lb")]
    running = subprocess.Popen([*command, "--ray", "local"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: list((tmp_path / "cache").rglob("*.json.gz")))
    start = time.monotonic()
    os.killpg(running.pid, sign)  # as a terminal does: to all of the group
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0 and time.monotonic() - start < 20, said
    assert "Traceback" not in said and (sign != signal.SIGINT or running.returncode == 130), said
    wait_for(lambda: not in_group(running.pid))
    assert subprocess.run(command, capture_output=True).returncode == 0 and measured(tmp_path / "lb") == expected


def in_group(group: int) -> list[str]:
    """Return the processes of a session that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=,args=", "-s", str(group)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if line.split()[1][0] != "Z"]


def wait_for(ready, seconds: float = 90.0):
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found
