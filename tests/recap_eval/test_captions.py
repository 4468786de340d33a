"""`recap-eval captions` as a user runs it: results, reports, comparison, parts of a run, kills, wrong requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caption_texts import HOSTILE
from support import ROOT, assert_two_line_error, recap

from recap_eval.captions.scan import Question, Scan
from recap_eval.cli import main
from recap_eval.leaderboard import build_table
from recap_eval.results import read_results

PAIR = ("--column", "re_caption", "--against", "org_caption")


def rows(start: int, stop: int, hostile: bool = True) -> dict[str, list[str | None]]:
    texts = [f"The image shows thing {n} beside thing {n % 7}, in the light of day {n % 3}." for n in range(start, stop)]
    texts = [HOSTILE[n % len(HOSTILE)] if hostile and n % 5 == 0 else text for n, text in enumerate(texts, start)]
    alts = [None if n % 11 == 0 else f"thing {n} shop" for n in range(start, stop)]
    return {"key": [f"{n:05d}" for n in range(start, stop)], "re_caption": texts, "org_caption": alts}


def write(path: Path, start: int, stop: int, **other) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in (rows(start, stop) | other).items()})
    pq.write_table(table, path, row_group_size=150)
    return path


def run(*words: object) -> int:
    return main(["captions", *map(str, words)])


def measured(out: Path) -> dict[tuple[str, str], dict]:
    return {(found.record["model"]["meta"]["column"], found.task): found.record for found in read_results(out)}


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        write(tmp_path / "set" / f"{number}.parquet", 200 * number, 200 * number + 200)
    return tmp_path / "set"


def test_both_columns_are_measured_and_stand_in_the_report(files, tmp_path, capsys):
    out, cache = tmp_path / "lb", tmp_path / "cache"
    assert run("--captions", files, *PAIR, "--out", out, "--cache", cache, "--json") == 0
    said = capsys.readouterr()
    assert "re_caption: 'The image shows thing 1 " in said.err and "org_caption: null" in said.err
    found = measured(out)
    assert len(found) == 10 and len(json.loads(said.out)["re_caption"]["results"]) == 5
    ours, theirs = found["re_caption", "captions-length"], found["org_caption", "captions-length"]
    assert ours["data"] == theirs["data"] and ours["model"]["revision"] != theirs["model"]["revision"]
    assert theirs["metrics"]["words"] | {"se": 0.0} == theirs["metrics"]["words"] and theirs["metrics"]["words"]["value"] == 3
    assert theirs["metrics"]["missing"]["value"] == pytest.approx(55 / 600)
    assert found["re_caption", "captions-vocabulary"]["settings"] == found["org_caption", "captions-vocabulary"]["settings"]
    assert "copied" in found["re_caption", "captions-flags"]["metrics"]
    assert "copied" not in found["org_caption", "captions-flags"]["metrics"]
    assert main(["report", "captions", "--leaderboards", str(out), "--out", str(tmp_path / "rep")]) == 0
    assert main(["report", "captions", "--leaderboards", str(out), "--out", str(tmp_path / "rep"), "--check"]) == 0
    page, text = ((tmp_path / "rep" / f"captions.{form}").read_text() for form in ("html", "md"))
    assert "captions-lengths.svg" in page and "captions-words.svg" in text and "82.86" in text
    assert "<script>alert" not in page
    svg = tmp_path / "rep" / "captions-words.svg"
    svg.write_text(svg.read_text().replace("data sha256:", "data sha256:0"))
    assert main(["report", "captions", "--leaderboards", str(out), "--out", str(tmp_path / "rep"), "--check"]) == 1


def test_columns_compare_on_the_sample_of_both(files, tmp_path, capsys):
    assert run("--captions", files, *PAIR, "--out", tmp_path / "lb", "--no-cache", "--metrics", "length,vocabulary") == 0
    capsys.readouterr()
    names = ["set:org_caption", "set:re_caption"]
    assert main(["compare", *names, "--leaderboards", str(tmp_path / "lb"), "--metrics", "all", "--json"]) == 0
    question = json.loads(capsys.readouterr().out)
    assert "captions-length" in json.dumps(question) and "a figure of the whole" in json.dumps(question)


def test_measured_once_and_again_by_force_and_never_recounted(files, tmp_path, capsys):
    words = ("--captions", files, "--column", "re_caption", "--out", tmp_path / "lb", "--cache", tmp_path / "cache", "--json")
    assert run(*words) == 0
    first = json.loads(capsys.readouterr().out)["re_caption"]
    assert first["measured_before"] == []
    for path in files.glob("*.parquet"):
        stamp = path.stat()
        path.write_bytes(b"x" * stamp.st_size)  # what was counted is known by size and time: the file is not read again
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recap_eval.captions.scan.count_rows", lambda path: None)
        patch.setattr("recap_eval.commands.captions._show", lambda samples: None)
        patch.setattr("recap_eval.captions.scan.first_samples", lambda *_: [])
        assert run(*words) == 0
    assert len(json.loads(capsys.readouterr().out)["re_caption"]["measured_before"]) == 5


def test_facts_stand_beside_the_results_and_keep_them_off_other_boards(files, tmp_path, capsys):
    out, words = tmp_path / "lb", ("--captions", files, *PAIR, "--metrics", "length", "--cache", tmp_path / "cache")
    facts = ("--fact", "alt_noise=0.4", "--fact", "by=llava")
    assert run(*words, "--out", out, *facts) == 0
    assert "boards that ask for these facts: recap-eval report --leaderboards" in capsys.readouterr().err
    found = read_results(out)
    assert {one.model for one in found} == {f"set-alt_noise=0.4-by=llava:{column}" for column in PAIR[1::2]}
    assert all(one.meta["facts"] == {"alt_noise": 0.4, "by": "llava"} for one in found)
    assert not build_table("captions", out).measured
    assert run(*words, "--out", out) == 0 and len(read_results(out)) == 4
    assert all("facts" not in one.meta for one in read_results(out) if "alt_noise" not in one.model)
    assert len(build_table("captions", out).groups) == 1


def test_of_other_facts_the_same_captions_are_measured_again(files, tmp_path, capsys):
    out = tmp_path / "lb"
    words = ("--captions", files, *PAIR[:2], "--name", "n", "--metrics", "length", "--cache", tmp_path / "cache", "--out", out)
    for fact in ((), ("--fact", "x=1"), ("--fact", "x=1"), ("--fact", "x=2")):
        assert run(*words, *fact) == 0
    (found,) = read_results(out)
    assert found.meta["facts"] == {"x": 2.0} and capsys.readouterr().err.count("not measured again") == 1
    with pytest.raises(SystemExit):
        run(*words, "--fact", "x")
    assert "NAME=VALUE" in capsys.readouterr().err


def test_parts_add_up_to_the_whole(files, tmp_path, capsys):
    words = ("--captions", files, *PAIR, "--metrics", "length,flags")
    assert run(*words, "--no-cache", "--out", tmp_path / "whole") == 0
    for part in ("1/2", "2/2"):
        assert run(*words, "--cache", tmp_path / "cache", "--out", tmp_path / "parts", "--shard", part) == 0
    assert not (tmp_path / "parts").exists()
    assert run(*words, "--cache", tmp_path / "cache", "--out", tmp_path / "parts") == 0
    whole, parts = measured(tmp_path / "whole"), measured(tmp_path / "parts")
    assert {key: record["metrics"] for key, record in whole.items()} == {
        key: record["metrics"] for key, record in parts.items()
    }
    capsys.readouterr()


def test_rows_in_one_file_or_many_are_the_same_caption_set(files, tmp_path):
    write(tmp_path / "one" / "all.parquet", 0, 600)
    for name in ("set", "one"):
        assert (
            run(
                "--captions",
                tmp_path / name,
                "--column",
                "re_caption",
                "--name",
                "n",
                "--no-cache",
                "--out",
                tmp_path / name / "lb",
            )
            == 0
        )
    one, many = (measured(tmp_path / name / "lb") for name in ("one", "set"))
    assert {key: (record["model"], record["metrics"]) for key, record in one.items()} == {
        key: (record["model"], record["metrics"]) for key, record in many.items()
    }


def test_a_few_captions_have_no_diversity_unless_it_is_asked_for(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("key,caption\n1,A dog runs.\n2,\n")
    words = ("--captions", tmp_path / "a.csv", "--column", "caption", "--no-cache", "--out", tmp_path / "lb")
    assert run(*words) == 0
    assert "left out, it needs 1,000 words" in capsys.readouterr().err and len(measured(tmp_path / "lb")) == 4
    assert run(*words, "--metrics", "diversity") == 1
    assert "fewer than 1,000 words" in capsys.readouterr().err


def test_a_limit_is_partial_and_failures_count_apart(tmp_path):
    status = ["ok", "timeout"] * 50
    write(tmp_path / "a.parquet", 0, 100, status=status, finish_reason=["length"] * 100)
    words = ("--captions", tmp_path / "a.parquet", *PAIR, "--metrics", "length,flags", "--no-cache")
    assert run(*words, "--out", tmp_path / "lb") == 0
    found = measured(tmp_path / "lb")
    assert found["re_caption", "captions-length"]["extra"]["rows_failed"] == 50
    assert "50 rows say" in found["re_caption", "captions-length"]["warnings"][0]
    assert found["re_caption", "captions-flags"]["metrics"]["unfinished"]["value"] == 1
    assert (
        found["org_caption", "captions-length"]["metrics"]["words"]["n"] == 90
    )  # the alt-text is there where captioning failed
    assert run(*words, "--limit", 30, "--out", tmp_path / "few") == 0
    few = measured(tmp_path / "few")["re_caption", "captions-length"]
    assert few["partial"] and few["extra"]["rows"] == 30


def test_repeated_keys_are_said(tmp_path):
    write(tmp_path / "a.parquet", 0, 100, key=["same"] * 100)
    assert (
        run(
            "--captions",
            tmp_path / "a.parquet",
            "--column",
            "re_caption",
            "--metrics",
            "length",
            "--no-cache",
            "--out",
            tmp_path / "lb",
        )
        == 0
    )
    record = measured(tmp_path / "lb")["re_caption", "captions-length"]
    assert "share their key" in record["warnings"][0]


def test_scenes_by_preset_with_their_truth(world, tmp_path, capsys):
    words = ("--captions", world / "test", "--caption-preset", "scenes", "--truth", world / "test.parquet")
    assert run(*words, "--metrics", "truth,length", "--no-cache", "--out", tmp_path / "lb") == 0
    found = measured(tmp_path / "lb")
    ours, theirs = (found[f"json:{name}", "captions-truth"]["metrics"] for name in ("re_caption", "org_caption"))
    assert ours["truth"]["value"] > 0.9 and ours["recall"]["value"] > theirs["recall"]["value"] and ours["truth"]["se"] > 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 2, "Which column holds the captions is not said"),
        (("--column", "re_captions"), 1, "has no column 're_captions'"),
        (("--column", "re_caption", "--against", "re_caption"), 2, "are both"),
        (("--column", "re_caption", "--metrics", "flagz"), 2, "Unknown metric"),
        (("--column", "re_caption", "--metrics", "truth"), 2, "Nothing tells the truth"),
        (("--column", "re_caption", "--metrics", "references"), 2, "nothing to hold"),
        (("--column", "re_caption", "--tokenizer", "bert"), 2, "neither 'clip' nor a file"),
        (("--caption-preset", "scene"), 2, "Did you mean 'scenes'"),
        (("--caption-preset", "scenes", "--column", "x"), 2, "names the column already"),
        (("--column", "re_caption", "--shard", "1/2", "--no-cache"), 2, "--no-cache"),
        (("--column", "re_caption", "--key", "keys"), 1, "has no column 'keys'"),
    ],
)
def test_wrong_requests_are_told_in_two_lines(files, tmp_path, capsys, words, code, sentence):
    assert run("--captions", files, *words, "--out", tmp_path / "lb") == code
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said


def test_nothing_to_measure_fails_and_damaged_files_are_named(files, tmp_path, capsys):
    write(tmp_path / "none.parquet", 0, 5, re_caption=[None] * 5)
    assert run("--captions", tmp_path / "none.parquet", "--column", "re_caption", "--out", tmp_path / "lb", "--no-cache") == 1
    assert "has no caption in 're_caption'" in capsys.readouterr().err
    path = files / "1.parquet"
    path.write_bytes(path.read_bytes()[:500])
    assert run("--captions", files, "--column", "re_caption", "--out", tmp_path / "lb", "--no-cache") == 1
    assert "1.parquet" in capsys.readouterr().err
    done = recap("recap-eval", "captions", "--captions", tmp_path / "nowhere", "--column", "x")
    assert_two_line_error(done, 1, "nowhere")


def test_a_damaged_state_says_what_to_delete(files, tmp_path, capsys):
    words = (
        "--captions",
        files,
        "--column",
        "re_caption",
        "--metrics",
        "length",
        "--cache",
        tmp_path / "cache",
        "--out",
        tmp_path / "lb",
    )
    assert run(*words) == 0
    kept = sorted((tmp_path / "cache" / "captions").iterdir())
    kept[0].write_bytes(b"\x1f\x8b\x08 no")
    assert run(*words) == 1
    assert str(kept[0]) in capsys.readouterr().err


@pytest.mark.serial
def test_a_killed_run_goes_on_and_ends_in_the_same_figures(tmp_path):
    for number in range(12):
        write(tmp_path / "set" / f"{number:02d}.parquet", 3000 * number, 3000 * number + 3000)
    cache = tmp_path / "cache"
    words = [
        "captions",
        "--captions",
        str(tmp_path / "set"),
        *PAIR,
        "--metrics",
        "length,vocabulary,flags",
        "--cache",
        str(cache),
    ]
    command = [sys.executable, "-m", "recap_eval.cli", *words, "--out", str(tmp_path / "lb")]
    kills = 0
    for wanted in (1, 4, 8):
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((cache / "captions").glob("[!.]*.json.gz"))) < wanted:
            time.sleep(0.005)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == 3
    done = recap("recap-eval", *words, "--out", tmp_path / "lb")
    assert done.returncode == 0, done.stderr
    question = Question("re_caption", "org_caption", states=("length", "vocabulary", "flags"))
    straight = Scan(sorted((tmp_path / "set").iterdir()), question, progress=False).run()
    found = measured(tmp_path / "lb")
    assert found["re_caption", "captions-length"]["model"]["revision"] == straight["re_caption"].content.digest
    assert found["re_caption", "captions-length"]["extra"]["rows"] == 36_000
