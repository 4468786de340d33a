"""`recap-caption` at the command line: what it says, what it asks for, how it ends."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_inputs import keys_of, rows_of, write_shards
from support import assert_two_line_error, recap
from test_chaos import environment, finish

from recap_caption.run.generation import FIRST, left
from recap_caption.run.record import read_run
from recap_caption.run.tally import read_tallies

ENGINE = ("--engine", "fake_engine:make")


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "in")


def run(folder, out, *words, model="fake-1", role="txt"):
    role_words = ("--original-key", role) if role else ()
    return recap("recap-caption", "run", "--input", folder, "--output", out, *role_words, *ENGINE, "--model", model, *words)


def test_a_run_from_the_first_word_to_the_proof(tmp_path, shards):
    out = tmp_path / "out"
    done = run(shards, out, "--no-eval", "--json", model="fake-1,fail=0.3")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["complete"] and told["made"]["rows"] == 30 and told["made"]["statuses"]["engine_error"] > 0
    assert "000000000  org_caption: 'alt 000000000'" in done.stderr
    assert f"recap-caption retry {out} --status engine_error" in done.stderr
    state = json.loads(recap("recap-caption", "status", out, "--json").stdout)
    assert state["complete"] and state["made"]["rows"] == 30
    text = recap("recap-caption", "status", out).stdout
    assert "shards 3 of 3, rows 30 of 30" in text and "engine_error: Faulty" in text and "GPU-hours" in text
    assert recap("recap-caption", "status", out, "--watch", "60").stdout == text  # it is complete: there is nothing to wait for
    again = recap("recap-caption", "retry", out, "--model", "fake-1", "--no-eval")
    assert again.returncode == 0 and "30 ok" in again.stderr, again.stderr
    nothing = recap("recap-caption", "retry", out, "--model", "fake-1", "--no-eval")
    assert nothing.returncode == 0 and "nothing to ask again" in nothing.stderr
    proof = recap("recap-caption", "verify", out)
    assert proof.returncode == 0 and "verified: 30 rows (30 ok), every sample of the input once and in order" in proof.stdout
    assert json.loads((out / "run_report.json").read_text())["ok"]
    assert run(shards, out, "--no-eval").returncode == 0  # nothing is left to do


def test_the_captions_are_measured_at_the_end(tmp_path, shards):
    done = run(shards, tmp_path / "out", "--leaderboards", tmp_path / "lb", "--name", "mine")
    assert done.returncode == 0, done.stderr
    places = {path.parent.name.rpartition("-")[0] for path in (tmp_path / "lb/results").glob("*/captions-length-*.json")}
    assert places == {"mine:re_caption", "mine:org_caption"} or len(places) == 2


def test_a_measurement_that_fails_costs_no_run(tmp_path, shards, monkeypatch):
    from recap_caption.run import ending

    asked = []

    def broken(words, **other):
        asked.append(words)
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(ending, "subprocess", SimpleNamespace(run=broken))
    done = run(shards, tmp_path / "out", role="none")
    assert done.returncode == 3 and "only their measurement failed. Again: recap-eval captions --captions" in done.stderr
    assert "--against" not in asked[0] and recap("recap-caption", "verify", tmp_path / "out").returncode == 0
    partial = run(shards, tmp_path / "try", "--limit", 4)
    assert partial.returncode == 0 and "not measured" in partial.stderr and len(asked) == 1


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--input", "absent"], 1, ["absent is not there", "Known are folders"]),
    (["--input", "empty"], 1, ["holds nothing that can be captioned"]),
    (["--input", "in", "--caption-preset", "datacmop"], 2, ["Did you mean 'datacomp'"]),
    (["--input", "in", "--original-key", "parquet:x"], 2, ["names no text of shards", "txt or json:NAME"]),
    (["--input", "in", "--original-key", "json:absent"], 1, ["No sample of 00000 has json:absent"]),
    (["--input", "in"], 2, ["Which text is the original caption is not said", "--caption-preset"]),
    (["--input", "in", "--original-key", "none", "--prompt", "conditioned"], 2, ["asks for org_caption"]),
    (["--input", "in", "--original-key", "txt", "--prompt", "fusion"], 2, ["asks for re_caption", "--recaption-key"]),
    (["--input", "in", "--original-key", "txt", "--engine", "opena"], 2, ["Did you mean 'openai'"]),
    (["--input", "in", "--original-key", "txt", "--engine", "nowhere:make"], 2, ["nowhere"]),
    (["--input", "in/00000.tar", "notes.md", "--original-key", "txt"], 1, ["neither a shard nor a parquet file"]),
    (["--input", "bad.parquet", "--original-key", "none"], 1, ["not a readable parquet file"]),
])  # fmt: skip
def test_wrong_requests_say_what_to_type_next(tmp_path, shards, words, code, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "bad.parquet").write_text("x")
    given = words if "--engine" in words else [*words, *ENGINE]
    done = recap("recap-caption", "run", "--output", "out", "--model", "m", "--no-eval", *given, cwd=tmp_path)
    assert_two_line_error(done, code, *said)
    assert not (tmp_path / "out/run.json").exists()


def test_another_command_in_the_same_folder_is_refused(tmp_path, shards):
    out = tmp_path / "out"
    assert run(shards, out, "--no-eval").returncode == 0
    assert_two_line_error(run(shards, out, "--no-eval", model="fake-2"), 2, 'model_id "fake-1" there, "fake-2" here')
    assert_two_line_error(recap("recap-caption", "retry", out, "--status", "ok"), 2, "Unknown status to ask again 'ok'")
    assert_two_line_error(recap("recap-caption", "status", tmp_path), 1, "holds no captioning run")
    assert_two_line_error(recap("recap-caption", "verify", tmp_path / "absent"), 1, "holds no captioning run")
    assert recap("recap-caption", "run", "--columns", "keys=a").returncode == 2


def test_verify_tells_what_is_wrong(tmp_path, shards):
    out = tmp_path / "out"
    assert run(shards, out, "--no-eval").returncode == 0
    payload = bytearray((out / "captions/00001.parquet").read_bytes())
    payload[99] ^= 1
    (out / "captions/00001.parquet").write_bytes(payload)
    (out / "captions/00002.parquet").unlink()
    done = recap("recap-caption", "verify", out)
    assert done.returncode == 1 and "wrong: " in done.stdout and "00001.parquet" in done.stdout
    assert "not captioned yet: 1 of 3 shards (00002, …)" in done.stdout and "NOT verified" in done.stdout
    (shards / "00000.tar").unlink()
    assert_two_line_error(recap("recap-caption", "verify", out), 1, "other files than when the run began")
    assert recap("recap-caption", "verify", out, "--no-input").returncode == 1


def test_torn_shards_are_told(tmp_path, shards):
    with (shards / "00001.tar").open("rb+") as stream:
        stream.truncate(9000)
    done = run(shards, tmp_path / "out", "--no-eval")
    assert "00001 ends too early" in done.stderr
    assert "1 shards end too early" in recap("recap-caption", "status", tmp_path / "out").stdout
    assert "1 shards end too early" in recap("recap-caption", "verify", tmp_path / "out").stdout


def test_a_preset_of_coco_reads_its_columns(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from small_inputs import image

    rows = {"image_id": [7, 8], "coco_url": ["u7", "u8"], "image": [{"bytes": image(7)}, {"bytes": image(8)}]}
    pq.write_table(pa.table(rows | {"caption": ["a", "b"], "recaption": ["c", "d"]}), tmp_path / "coco.parquet")
    out = tmp_path / "out"
    assert run(tmp_path / "coco.parquet", out, "--caption-preset", "recap-coco-30k", "--no-eval", role=None).returncode == 0
    rows = rows_of(read_run(out))
    assert [(row["key"], row["url"], row["org_caption"]) for row in rows] == [("7", "u7", "a"), ("8", "u8", "b")]
    assert len(rows[0]["sha256"]) == 64


def test_a_disk_that_is_full_stops_with_a_word_and_nothing_is_lost(tmp_path, shards):
    """A limit on the size of files stands in for a full disk: a write beyond it fails."""
    import resource

    out = tmp_path / "out"
    words = ["run", "--input", shards, "--output", out, "--original-key", "txt", *ENGINE, "--model", "fake-1", "--no-eval"]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (4_000, -1))
    command = [sys.executable, "-m", "recap_caption.cli", *map(str, words)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, preexec_fn=limit)
    assert_two_line_error(done, 1, "Cannot write", "the same command goes on")
    kept = sum(path.read_text().count("\n") for path in (out / ".work/spool").glob("*/*.jsonl"))
    assert kept > 0
    done = run(shards, out, "--no-eval", "--json")
    assert json.loads(done.stdout)["made"]["asked"] == 30 and not list(out.glob("captions/.*"))
    assert recap("recap-caption", "verify", out).returncode == 0


def begin(tmp_path, *words, model="fake-1,slow=0.05", n=60):
    """Start a run in a process of its own and wait until it works."""
    folder, out = write_shards(tmp_path / "big", shards=2, n=n), tmp_path / "out"
    command = [sys.executable, "-m", "recap_caption.cli", "run", "--input", folder, "--output", out, "--original-key", "txt"]
    command += [*ENGINE, "--model", model, "--no-eval", *words]
    process = subprocess.Popen(
        list(map(str, command)),
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    count = int(words[1]) if words else 1
    wait_for(lambda: len(list((out / ".work/spool").glob("*/*.jsonl"))) >= min(count, 2))
    return process, out


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def goes_on(out):
    return finish(
        "run",
        "--input",
        out.parent / "big",
        "--output",
        out,
        "--original-key",
        "txt",
        *ENGINE,
        "--model",
        "fake-1",
        "--no-eval",
    )


@pytest.mark.serial
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stopped_by_a_signal_within_seconds(tmp_path, sent, code):
    process, out = begin(tmp_path)
    began = time.monotonic()
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code and time.monotonic() - began < 10
    assert "stopped; what was answered is kept, and the same command goes on" in said and "Traceback" not in said
    assert not list((out / ".work/leases").glob("*.lease"))
    assert goes_on(out).returncode == 0 and finish("verify", out).returncode == 0
    assert json.loads(finish("status", out, "--json").stdout)["made"]["asked"] == 120


@pytest.mark.serial
def test_a_second_ctrl_c_drops_what_is_under_way(tmp_path):
    process, out = begin(tmp_path, model="fake-1,slow=0.4", n=40)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
    assert goes_on(out).returncode == 0 and finish("verify", out).returncode == 0


@pytest.mark.serial
def test_several_processes_share_a_run(tmp_path):
    process, out = begin(tmp_path, "--workers", "2", model="fake-1,slow=0.15", n=40)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "complete, 80 rows" in said, said
    workers = read_tallies(out / ".work/workers").values()
    assert len(workers) == 2 and sum(worker["asked"] for worker in workers) == 80
    assert [row["key"] for row in rows_of(read_run(out))] == keys_of(2, 40) and finish("verify", out).returncode == 0


@pytest.mark.serial
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(tmp_path, sent):
    process, out = begin(tmp_path, "--workers", "2", model="fake-1,slow=0.1", n=100)
    children = [worker["process"]["pid"] for worker in read_tallies(out / ".work/workers").values()]
    process.send_signal(sent)
    process.communicate(timeout=60)
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children), 30)
    assert process.returncode == (0 if sent == signal.SIGTERM else -9) and left(read_run(out), FIRST)
    assert goes_on(out).returncode == 0 and finish("verify", out).returncode == 0


@pytest.mark.serial
def test_what_is_wrong_with_all_processes_is_told_once(tmp_path):
    folder = write_shards(tmp_path / "in")
    (tmp_path / "broken.py").write_text(
        "from recap_eval.errors import DataError\ndef make(options):\n    raise DataError('No.', 'Yes.')\n"
    )
    done = finish(
        "run", "--input", folder, "--output", tmp_path / "out", "--original-key", "txt", "--workers", 3, "--engine",
        f"{tmp_path / 'broken.py'}:make",
    )  # fmt: skip
    assert_two_line_error(done, 1, "No.", "Yes.")
    assert done.stderr.count("error: ") == 1


def test_help_is_quick_and_shows_examples():
    done = finish("run", "--help")
    assert done.returncode == 0 and "examples:" in done.stdout and "goes on" in done.stdout
