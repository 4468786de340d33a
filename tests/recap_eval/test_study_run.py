"""Studies as processes, of commands that do nothing: what is skipped, what fails, what a kill and Ctrl-C leave behind."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support import ROOT

from recap_eval.study.run import tail

pytestmark = pytest.mark.serial

STUDY = """
name: tiny
root: w
parameters: {wait: 0}
grid: {p: [0, 1]}
steps:
  - {name: data, command: "recap-eval make {out}", out: "{root}/data"}
  - name: clip
    over: [p]
    command: recap-eval make {out} --wait {wait} --from {steps.data.out}
    out: "{root}/clip-{p}"
  - {name: eval, over: [p], command: "recap-eval make {out} --from {steps.clip.out}", out: "{root}/eval-{p}"}
  - {name: report, command: "recap-eval make {out} --from {steps.eval.out}", out: "{root}/report"}
"""
DRIVER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from recap_eval.study.spec import PROGRAMS
PROGRAMS["recap-eval"] = "fake_command"
from recap_eval.cli import main
sys.exit(main(["study", "s.yaml", *sys.argv[1:]]))
"""
WHOLE = "report(eval-0(clip-0(data()))+eval-1(clip-1(data())))"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "s.yaml").write_text(STUDY)
    (tmp_path / "broken").mkdir()
    return tmp_path


def start(place, *words, **other):
    env = os.environ | {"LEDGER": str(place / "ledger"), "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"} | other.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | other
    return subprocess.Popen([sys.executable, "-c", DRIVER, *words], cwd=place, env=env, **pipes)


def run(place, *words, code=0, **other):
    child = start(place, *words, **other)
    out, err = (text.decode() for text in child.communicate(timeout=60))
    assert child.returncode == code, err
    assert "Traceback" not in err
    return out, err


def ledger(place):
    lines = (place / "ledger").read_text().splitlines() if (place / "ledger").exists() else []
    return Counter(" ".join(line.split()[:2]) for line in lines)


def wait_for(place, line):
    deadline = time.time() + 30
    while not ledger(place)[line]:
        assert time.time() < deadline, ledger(place)
        time.sleep(0.02)


def states(out):
    return {node["name"]: node["state"] for node in json.loads(out)["nodes"]}


def test_all_runs_once_and_is_skipped_then(place):
    out, err = run(place)
    assert (place / "w" / "report").read_text() == WHOLE
    assert "making clip-0\n" in out and "\n[3/6] eval-p=0\n$ recap-eval make w/eval-0 --from w/clip-0\n" in err
    assert "clip-p=0: done in" in err and "2 to go, about" in err and "6 of 6 nodes done (0 of them before)" in err
    before = ledger(place)
    assert set(before.values()) == {1} and len(before) == 12
    out, err = run(place)
    assert ledger(place) == before and "6 of 6 nodes done (6 of them before)" in err and out == ""
    (place / "w" / "clip-1").unlink()  # what a node made is gone: that node runs again, and no other
    run(place)
    assert ledger(place) - before == Counter({"start clip-1": 1, "end clip-1": 1})


def test_another_parameter_runs_what_depends_on_it(place):
    run(place)
    before = ledger(place)
    run(place, "--set", "wait=0.01")
    again = ledger(place) - before
    assert again == Counter({f"{word} {name}": 1 for word in ("start", "end") for name in
                             ("clip-0", "clip-1", "eval-0", "eval-1", "report")})  # fmt: skip


def test_dry_run_and_only(place):
    out, _ = run(place, "--only", "clip-p=0")
    assert set(ledger(place)) == {"start data", "end data", "start clip-0", "end clip-0"}
    out, _ = run(place, "--dry-run")
    assert "[1/6] data: done (" in out and "clip-p=1: to run\n$ recap-eval make w/clip-1 --wait 0 --from w/data" in out
    assert "6 nodes under w: 2 done, 4 to run: about" in out and "no time known yet for eval, report" in out
    assert len(ledger(place)) == 4
    found = json.loads(run(place, "--dry-run", "--json")[0])
    assert [node["state"] for node in found["nodes"]].count("done before") == 2 and found["unknown"] == ["eval", "report"]


def test_a_failure_stops_only_what_needs_it_and_is_told_with_its_log(place):
    (place / "broken" / "clip-0").touch()
    out, err = run(place, "--json", code=1)
    assert states(out) == {
        "data": "done", "clip-p=0": "failed", "clip-p=1": "done", "eval-p=0": "not run", "eval-p=1": "done",
        "report": "not run",
    }  # fmt: skip
    end = err[err.index("error: clip-p=0 failed (exit 3). The end of w/logs/clip-p=0.log:") :]
    assert "  progress 2\n  the reason why clip-0 fails\n" in end and "progress 1" not in end
    assert "not run, because what they need failed: eval-p=0, report" in end and "3 of 6 nodes done" in end
    (place / "broken" / "clip-0").unlink()
    before = ledger(place)
    out, _ = run(place, "--json")
    assert set(states(out).values()) == {"done", "done before"} and (place / "w" / "report").read_text() == WHOLE
    assert {line.split()[1] for line in ledger(place) - before} == {"clip-0", "eval-0", "report"}


def test_a_command_that_only_saved_its_state_is_not_done(place):
    (place / "s.yaml").write_text(STUDY.replace("make {out} --wait", "save {out} --wait"))
    out, err = run(place, "--json", code=1)
    assert states(out)["clip-p=0"] == "failed" and states(out)["eval-p=0"] == "not run"
    assert "clip-p=0 failed (it was asked to stop and has saved its state" in err


def test_a_command_that_made_nothing_has_failed(place):
    text = STUDY.replace("make {out} --wait", "leave {out} --wait")
    (place / "s.yaml").write_text(text)
    _, err = run(place, code=1)
    assert "clip-p=0 failed (it ended well, but w/clip-0 is not there)" in err


def test_killed_outright_it_goes_on_without_a_second_process_beside_its_orphan(place):
    """kill -9 of the study alone: the command it had started lives on; the next study waits for its end."""
    child = start(place, "--set", "wait=2.5")
    wait_for(place, "start clip-0")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not ledger(place)["end clip-0"]
    _, err = run(place, "--set", "wait=0.1", "--only", "data")
    assert "A study that was killed left commands running in w (process " in err and "waiting for their end" in err
    assert ledger(place)["end clip-0"] == 1  # it waited
    run(place)
    assert (place / "w" / "report").read_text() == WHOLE
    found = ledger(place)
    assert found["start data"] == 1 and found["start eval-0"] == 1 and found["start report"] == 1


def test_killed_with_its_command_it_runs_that_one_again(place):
    child = start(place, "--set", "wait=30")
    wait_for(place, "start clip-0")
    time.sleep(0.3)
    study, command = map(int, (place / "w" / "study.lock").read_text().split())
    assert study == child.pid
    for process in (study, command):
        os.kill(process, signal.SIGKILL)
    child.communicate()
    run(place)
    assert (place / "w" / "report").read_text() == WHOLE
    assert ledger(place)["start clip-0"] == 2 and ledger(place)["start data"] == 1


def test_two_studies_in_one_root_are_refused(place):
    child = start(place, "--set", "wait=2")
    wait_for(place, "start clip-0")
    _, err = run(place, code=1)
    assert f"error: A study runs in w already (process {child.pid})." in err
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_commands_properly_and_the_same_command_goes_on(place, number):
    child = start(place, "--set", "wait=30", "--jobs", "2")
    wait_for(place, "start clip-0")
    wait_for(place, "start clip-1")
    time.sleep(0.3)
    begun = time.time()
    child.send_signal(number)
    _, err = (text.decode() for text in child.communicate(timeout=30))
    assert child.returncode == 130 and time.time() - begun < 5, err
    assert "stopped; the same command goes on from here." in err and "Traceback" not in err
    found = ledger(place)
    assert found["stop clip-0"] == found["stop clip-1"] == 1  # asked once each: a second time would cost a training its state
    assert not (place / "w" / "done" / "clip-p=0.json").exists()
    run(place, "--set", "wait=0")
    assert (place / "w" / "report").read_text() == WHOLE and ledger(place)["start data"] == 1


def test_a_part_ends_when_its_time_is_over_and_the_same_command_goes_on(place):
    _, err = run(place, "--set", "wait=1.5", "--hours", str(1.0 / 3600), code=75)
    assert "its time is over; the same command goes on from here" in err and not (place / "w/report").exists()
    parts = 1
    while (code := start(place, "--set", "wait=1.5", "--hours", str(3 / 3600)).wait(60)) == 75 and parts < 9:
        parts += 1
    assert code == 0 and (place / "w/report").read_text() == WHOLE
    assert "its time is over" not in run(place, "--set", "wait=1.5", "--hours", str(0.001 / 3600))[1], "nothing was left"


def test_a_closed_pipe_leaves_nothing_running(place):
    child = start(place, "--set", "wait=0.5")
    child.stdout.close()
    child.stderr.read()
    assert child.wait(30) == 0
    found = ledger(place)
    assert found["start data"] == 1 and sum(found.values()) == 2  # stopped at the first words of the first command


def test_two_jobs_run_at_once_and_share_cores_and_gpus(place, monkeypatch):
    env = {"CUDA_VISIBLE_DEVICES": "5,7"}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    out, _ = run(place, "--jobs", "2", "--set", "wait=1", env=env)
    lines = [line.split() for line in (place / "ledger").read_text().splitlines()]
    order = [f"{word} {name}" for word, name, *_ in lines]
    assert max(order.index("start clip-0"), order.index("start clip-1")) < min(
        order.index("end clip-0"), order.index("end clip-1")
    )
    clips = {name: rest for word, name, *rest in lines if word == "start" and name.startswith("clip")}
    assert {device for _, device in clips.values()} == {"5", "7"}
    assert {threads for threads, _ in clips.values()} == {str(max(1, (os.cpu_count() or 1) // 2))}
    assert out == "" and "making clip-0" in (place / "w" / "logs" / "clip-p=0.log").read_text()
    assert (place / "w" / "report").read_text() == WHOLE


def test_in_a_terminal_the_commands_bar_is_shown(place):
    """A command's log grows with the bar that a terminal would see, at the terminal's width."""
    from recap_eval.console import LIVE

    (place / "tests").mkdir()
    (place / "tests" / "fake_command.py").write_text(
        "import os, sys, pathlib\nfrom recap_eval.console import progress_bar\n"
        "with progress_bar(3, 'train', 'sample', mininterval=0) as bar:\n    bar.update(2)\n"
        f"print('LIVE', os.environ.get({LIVE!r}))\npathlib.Path(sys.argv[2]).write_text('')\n"
    )
    master, slave = pty.openpty()
    env = {"PYTHONPATH": f"{place / 'tests'}:{ROOT}"}
    child = start(place, "--only", "data", env=env, stderr=slave, stdout=slave)
    os.close(slave)
    shown = b""
    while chunk := _read(master):
        shown += chunk
    assert child.wait(30) == 0
    assert b"train:  67%" in shown and b"LIVE 1" in shown
    assert tail(place / "w" / "logs" / "data.log") == ["$ recap-eval make w/data", "LIVE 1"]


def _read(master):
    try:
        return os.read(master, 4096)
    except OSError:  # the other end is closed
        return b""
