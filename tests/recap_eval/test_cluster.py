"""Parts of a run on actors that come late, die, run other code, raise; by a Ray of our own, and by the real one."""

from __future__ import annotations

import builtins
import pickle
import random
import socket
import sys
from collections import Counter
from functools import partial

import pytest
from fake_ray import FakeRay, RayError, RayTaskError

from recap_eval.cluster import drive
from recap_eval.cluster.code import code_here, difference
from recap_eval.cluster.connect import connected
from recap_eval.cluster.drive import TRIES, on_cluster
from recap_eval.cluster.job import Job, Needs
from recap_eval.cluster.worker import Worker
from recap_eval.errors import DataError, UserError

FOUR = [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(drive, "LOOK", 0.0)
    monkeypatch.setattr(drive, "POLL", 0.0)


def square(offset: int, part: int) -> int:
    if part < 0:
        raise DataError(f"{part} is below zero.", "Take another.")
    return 1000 // (part + offset) if part == 13 else part * part + offset


def maker(offset: int = 0):
    return partial(square, offset)


def unable():
    raise UserError("There is no such model.", "Name another.")


def run(ray, parts, tell=lambda text: None, **job):
    return list(on_cluster(ray, parts, Job(**({"make": maker} | job)), tell))


@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_every_part_comes_once_with_what_came_of_it(n):
    ray = FakeRay(FOUR, seed=n)
    found = run(ray, list(range(20, 20 + n)), make=partial(maker, 5))
    assert sorted(found) == [(part, part * part + 5) for part in range(20, 20 + n)]
    assert ray.living == [] and ray.by_value == set() and ray.most <= min(4, n) and len(ray.actors) <= min(4, n)


def test_equal_parts_are_parts_of_their_own():
    assert run(FakeRay(FOUR), [2, 2, 3]).count((2, 4)) == 2


@pytest.mark.parametrize("seed", range(30))
def test_whatever_dies_every_part_comes_once_or_is_named(seed):
    draw = random.Random(seed)
    rate, poison = draw.choice([0.0, 0.2, 0.5]), set(draw.sample(range(40, 70), draw.choice([0, 0, 1, 3])))
    deaths = Counter()

    def dies(method, argument):
        fatal = argument in poison if method == "do" else False
        if fatal or draw.random() < rate:
            deaths[argument if method == "do" else None] += 1
            return True
        return False

    ray, told, found = FakeRay(FOUR, dies, seed), [], []
    try:
        for pair in on_cluster(ray, range(40, 70), Job(maker), told.append):
            found.append(pair)
            if draw.random() < 0.1:
                ray.machines = draw.choice([FOUR, FOUR[:1], [], FOUR * 2]) or FOUR[1:]
    except DataError as error:
        named = error.what
    else:
        named = ""
    lost = {part for part, times in deaths.items() if part is not None and times >= TRIES}
    if "before they begin" not in named:
        assert sorted(found) == [(part, part * part) for part in range(40, 70) if part not in lost]
        assert bool(lost) == bool(named) and lost >= poison
    assert max((times for part, times in deaths.items() if part is not None), default=0) <= TRIES
    assert len(set(found)) == len(found) and ray.living == []
    if lost and named:
        assert int(named.split(":")[0]) in lost and f"{TRIES} processes died" in named and "pid" not in named


def test_actors_are_bounded_and_parts_left_bound_them_too():
    ray = FakeRay([{"CPU": 64.0}])
    run(ray, range(30), actors=3)
    assert ray.most == 3 and len(ray.actors) == 3
    ray = FakeRay([{"CPU": 64.0}])
    run(ray, [1, 2])
    assert len(ray.actors) == 2


def test_needs_are_told_to_ray_and_count_machines():
    ray = FakeRay(FOUR)
    run(ray, [1, 2, 3], needs=Needs(cpus=1, gpus=1))
    assert len(ray.actors) == 1 and ray.options["num_gpus"] == 1 and ray.options["memory"] is None
    assert Needs(cpus=2, memory=1 << 30).fit({"CPU": 7, "memory": 2.5 * (1 << 30)}) == 2
    assert Needs(cpus=0.5).fit({"CPU": 1.0}) == 2 and Needs(gpus=1).fit({"CPU": 9.0}) == 0
    assert Needs(cpus=0, gpus=0).fit({}) == 1
    assert str(Needs(4, 1, 1 << 30)) == "4 processors and 1 GPU and 1.0 GiB of memory" and str(Needs()) == "1 processor"


def test_no_machine_is_large_enough():
    with pytest.raises(UserError, match="1 processor and 8 GPUs") as caught:
        run(FakeRay(FOUR), [1], needs=Needs(gpus=8))
    assert "--ray-workers" in caught.value.hint


def test_a_number_of_workers_waits_for_machines_and_says_so(monkeypatch):
    ray, told = FakeRay([]), []
    monkeypatch.setattr(drive, "SILENCE", 0.0)

    def tell(text):
        told.append(text)
        if len(told) == 3:
            ray.machines = FOUR

    assert run(ray, [2], tell, actors=2) == [(2, 4)]
    assert told[0] == "Waiting for 1 workers to begin, each with 1 processor."


def test_all_machines_gone_for_a_while(monkeypatch):
    ray, told = FakeRay(FOUR), []
    monkeypatch.setattr(drive, "SILENCE", 0.0)
    found = []
    for part, _ in on_cluster(ray, range(20), Job(maker), lambda text: told.append(text) or setattr(ray, "machines", FOUR)):
        found.append(part)
        if len(found) == 5:
            ray.lose_all()
    assert sorted(found) == list(range(20)) and told


def test_what_a_part_raises_for_the_user_is_raised_here():
    ray = FakeRay(FOUR)
    with pytest.raises(DataError) as caught:
        run(ray, [1, 2, -3, 4])
    assert (caught.value.what, caught.value.hint) == ("-3 is below zero.", "Take another.")
    assert ray.living == [] and ray.by_value == set()
    with pytest.raises(UserError, match="no such model") as caught:
        run(FakeRay(FOUR), [1], make=unable)
    assert caught.value.exit_code == 2


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(RayTaskError, match="ZeroDivisionError"):
        run(FakeRay(FOUR), [13], make=partial(maker, -13))


def test_workers_that_die_before_they_begin_end_the_run():
    ray = FakeRay(FOUR, lambda method, argument: method == "begin")
    with pytest.raises(DataError, match=r"die before they begin \(The actor is dead because its worker") as caught:
        run(ray, range(9))
    assert "logs" in caught.value.hint and ray.living == []


def test_once_it_is_to_end_nothing_is_begun_and_what_is_under_way_comes():
    ray, found = FakeRay(FOUR), []
    for part, _ in on_cluster(ray, range(50), Job(maker, watch=lambda: len(found) >= 5)):
        found.append(part)
    assert 5 <= len(found) <= 5 + 4 and len(set(found)) == len(found) and ray.living == []
    assert run(FakeRay(FOUR), range(9), watch=lambda: True) == []


def test_deaths_count_anew_where_work_goes_on():
    deaths, done = Counter(), Counter()

    def dies(method, argument):
        deaths[method] += method == "do"
        return method == "do" and deaths["do"] <= 3 * TRIES

    def progress():
        done["looks"] += 1
        return done["looks"] // 3  # something is done between every third death and the next

    assert run(FakeRay(FOUR[:1]), [7], progress=progress) == [(7, 49)]
    assert run(FakeRay(FOUR[:1], dies), [7], progress=progress) == [(7, 49)] and deaths["do"] == 3 * TRIES + 1
    deaths.clear()
    with pytest.raises(DataError, match=f"7: {TRIES} processes died at it"):
        run(FakeRay(FOUR[:1], dies), [7])


def test_whoever_stops_reading_ends_the_actors():
    ray = FakeRay(FOUR)
    results = on_cluster(ray, range(9), Job(maker), print)
    next(results)
    assert ray.living
    results.close()
    assert ray.living == []


def test_other_code_on_a_machine_is_refused(monkeypatch):
    theirs = code_here() | {"numpy": "1.0"}
    monkeypatch.setattr("recap_eval.cluster.code.code_here", lambda: theirs)
    with pytest.raises(DataError, match=rf"{socket.gethostname()} of the cluster has numpy 1\.0, here ") as caught:
        run(FakeRay(FOUR), [1, 2], make=unable)  # which is not even made
    assert "docs/scale.md" in caught.value.hint


def test_a_machine_without_recap_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "recap_eval.cluster.code", None)
    assert Worker().begin(pickle.dumps(maker), {}) == (socket.gethostname(), {})
    with pytest.raises(DataError, match="has no recap that knows --ray"):
        run(FakeRay(FOUR), [1])


def test_code_is_known_by_content_and_builds_for_other_hardware_are_the_same(monkeypatch):
    here = code_here()
    assert set(here) > {"recap", "numpy", "torch"} and "+" not in here["torch"] and difference(here, dict(here)) is None
    assert difference(here, here | {"recap": "0 (abc)"}) == f"recap 0 (abc), here {here['recap']}"
    assert difference(here, {}) == f"recap none, here {here['recap']}"


def test_errors_of_ours_cross_processes_whole():
    for error in (UserError("what", "hint"), DataError("déjà 'vu'", "a\nb")):
        same = pickle.loads(pickle.dumps(error))
        assert type(same) is type(error) and (same.what, same.hint, str(same)) == (error.what, error.hint, error.what)


def refuses(address: str, kind: type[UserError]) -> str:
    with pytest.raises(kind) as caught, connected(address):
        pass
    assert type(caught.value) is kind
    return f"{caught.value.what}\n{caught.value.hint}"


def test_without_ray_it_says_what_to_install(monkeypatch):
    real = builtins.__import__
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: missing(name) if name == "ray" else real(name, *rest))
    assert "pip install 'recap[ray]'" in refuses("local", UserError)


def missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}")


class Unwilling(FakeRay):
    """A library that cannot connect."""

    def __init__(self, error):
        super().__init__([])
        self._error = error

    def init(self, **how):
        raise self._error

    def shutdown(self):
        raise AssertionError("what was not connected is not shut down")


@pytest.fixture
def unwilling(monkeypatch):
    return lambda error: monkeypatch.setitem(sys.modules, "ray", Unwilling(error))


@pytest.mark.parametrize(
    "address", ["nowhere", "a:b", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:70000", "x y:1", ":6379", "ray://a:1"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(address, unwilling):
    unwilling(AssertionError("asked"))
    assert address in refuses(address, UserError)


def test_a_head_that_does_not_answer_is_refused_at_once(unwilling, monkeypatch):
    unwilling(AssertionError("asked"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
        assert f"No Ray cluster answers at {place} (Connection refused)" in refuses(place, DataError)
        monkeypatch.setenv("RAY_ADDRESS", place)
        assert place in refuses("auto", DataError)


def test_what_ray_says_at_the_door_is_told_in_two_lines(unwilling, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    unwilling(RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9\n    Python: 3.9"))
    assert "another Ray or Python: Version mismatch: The cluster was started with: Ray: 2.9" in refuses("auto", DataError)
    unwilling(ConnectionError("Could not find any running Ray instance."))
    assert refuses("auto", DataError).startswith("This machine is in no Ray cluster")
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        place = f"127.0.0.1:{head.getsockname()[1]}"
        for error in (ConnectionError("Failed to connect."), RayError("no token was found")):
            unwilling(error)
            said = refuses(place, DataError)
            assert f"What answers at {place} takes no connection of Ray ({str(error).rstrip('.')})." in said
            assert "RAY_AUTH_MODE=token" in said
    unwilling(RuntimeError("no\nspace"))
    assert "'local' (no space)" in refuses("local", DataError)
