"""Leases: one holder at a time while it lives; another when it does not, whatever the clocks say."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from recap_caption.run import lease as lease_module
from recap_caption.run.lease import Leases
from recap_caption.run.who import is_dead, this_process
from recap_eval.errors import DataError


def of(tmp_path, worker="w", stale=120.0):
    return Leases(tmp_path / "leases", worker, stale)


def elsewhere(tmp_path, name="00000", **other):
    """Rewrite a lease as a process of another machine would have made it."""
    path = tmp_path / "leases" / f"{name}.lease"
    record = json.loads(path.read_text()) | {"machine": "another"} | other
    path.write_text(json.dumps(record))
    return path


def age(path, seconds):
    changed = path.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(changed, changed))


def test_one_holder_at_a_time(tmp_path):
    first = of(tmp_path).take("00000")
    assert first is not None and of(tmp_path, "other").take("00000") is None
    assert of(tmp_path).take("00001") is not None and of(tmp_path).names() == {"00000", "00001"}
    assert first.beat() and not of(tmp_path).is_free("00000") and of(tmp_path).is_near("00000")
    first.release()
    assert of(tmp_path).is_free("00000") and of(tmp_path, "other").take("00000") is not None


def test_of_many_that_want_it_one_gets_it(tmp_path):
    def race(stale_first):
        got, barrier = [], threading.Barrier(8)

        def want(number):
            leases = of(tmp_path, f"w{number}", stale=5.0)
            barrier.wait()
            if leases.take("00000"):
                got.append(number)

        threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return got

    assert len(race(False)) == 1
    for _ in range(100):
        age(elsewhere(tmp_path), 60)
        assert len(race(True)) == 1


def test_a_lease_is_left_when_the_file_systems_time_says_so_and_the_local_clock_says_nothing(tmp_path, monkeypatch):
    assert of(tmp_path).take("00000")
    path = elsewhere(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert of(tmp_path, "b", stale=30).take("00000") is None
    age(path, 29)
    assert of(tmp_path, "b", stale=30).take("00000") is None
    age(path, 31)
    assert of(tmp_path, "b", stale=30).is_free("00000") and of(tmp_path, "b", stale=30).take("00000")


def test_a_lease_of_the_future_is_left_when_nothing_changes_while_one_watches(tmp_path, monkeypatch):
    assert of(tmp_path).take("00000")
    path = elsewhere(tmp_path)
    age(path, -3600)
    now, watcher = [0.0], of(tmp_path, "b", stale=30)
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: now[0])
    assert watcher.take("00000") is None
    now[0] = 20.0
    age(path, -1)  # a sign of life
    assert watcher.take("00000") is None
    now[0] = 45.0
    assert watcher.take("00000") is None
    now[0] = 51.0
    assert watcher.take("00000") is not None


def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from recap_caption.run.lease import Leases; "
    code += "Leases(Path(sys.argv[1]), 'child').take('00000'); print('taken', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "leases")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"taken\n" and of(tmp_path).take("00000") is None
    child.kill()
    while of(tmp_path).take("00000") is None:  # dead before anybody has waited for it
        time.sleep(0.01)
    child.communicate()


def test_a_number_that_came_again_is_another_process():
    me = this_process()
    assert not is_dead(me) and is_dead(me | {"started": "1"}) and is_dead(me | {"pid": 2**22 + 1})
    assert not is_dead(me | {"machine": "another", "started": "1"}) and not is_dead({}) and not is_dead({"machine": None})


def test_who_loses_a_lease_finds_out_and_leaves_the_others_alone(tmp_path):
    first = of(tmp_path).take("00000")
    age(elsewhere(tmp_path), 999)
    second = of(tmp_path, "thief").take("00000")
    assert not first.beat() and second.beat()
    first.release()
    assert second.path.exists() and second.beat()
    second.path.unlink()
    assert not second.beat()
    second.release()


def test_a_lease_cut_off_before_its_first_word_is_left_in_time(tmp_path):
    path = tmp_path / "leases" / "00000.lease"
    path.parent.mkdir()
    path.touch()
    assert of(tmp_path).take("00000") is None
    age(path, 999)
    assert of(tmp_path).take("00000") is not None


def test_who_looked_before_another_took_over_leaves_it_alone(tmp_path):
    assert of(tmp_path).take("00000")
    age(elsewhere(tmp_path), 999)
    slow = of(tmp_path, "slow")
    path = tmp_path / "leases" / "00000.lease"
    seen = slow._left(path)
    living = of(tmp_path, "quick").take("00000")
    assert slow._take_over(path, seen) is None and living.beat() and list(path.parent.glob("[!.]*")) == [path]


def test_taking_over_goes_on_where_one_died_in_the_middle_of_it(tmp_path):
    assert of(tmp_path).take("00000")
    age(elsewhere(tmp_path), 999)
    lock = tmp_path / "leases" / "00000.steal"
    lock.write_text("{}")
    assert of(tmp_path).take("00000") is None
    age(lock, 999)
    assert of(tmp_path).take("00000") is None and of(tmp_path).take("00000") is not None


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(DataError, match="Cannot write"):
        of(tmp_path).take("00000")
