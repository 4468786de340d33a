"""Records that come into a leaderboards folder and leave it, by the command."""

import json
import shutil
from pathlib import Path

import pytest
from records import RUN, put, scores
from support import assert_two_line_error, recap

from recap_eval.leaderboard import build_table
from recap_eval.results import read_result, read_results

SIX = {"i2t_r1": scores([1, 0, 1, 1, 0.5, 0]), "t2i_r1": scores([1, 0, 1, 1], list("aabb"))}


def leaderboard(*words):
    return recap("recap-eval", "leaderboard", *words)


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A folder of somebody else's with a model at two p, one seed each, and one seed more of the second."""
    for p, seed in ((0.0, 0), (1.0, 0), (1.0, 1)):
        name = f"p{p:g}-s{seed}"
        put(tmp_path / "theirs", "scenes-retrieval", name, SIX, meta=RUN | {"p_original": p, "seed": seed})
    return tmp_path / "theirs"


@pytest.fixture
def ours(tmp_path, theirs) -> Path:
    """The same, added to our folder."""
    assert leaderboard("add", theirs, "--leaderboards", tmp_path / "ours").returncode == 0
    return tmp_path / "ours"


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_is_added_is_what_was_there(theirs, ours):
    assert files(theirs) == files(ours)
    again = leaderboard("add", theirs, "--leaderboards", ours)
    assert again.returncode == 0 and again.stdout.count("there already: ") == 3
    assert [len(row.seeds) for row in build_table("clip", ours).sweeps[0].rows] == [1, 2]


def test_many_that_were_there_are_counted_and_what_is_new_is_named(tmp_path, theirs, ours):
    for seed in range(2, 12):
        put(theirs, "scenes-retrieval", f"p1-s{seed}", SIX, meta=RUN | {"p_original": 1.0, "seed": seed})
    assert leaderboard("add", theirs, "--leaderboards", ours).stdout.count("added: ") == 10
    put(theirs, "scenes-retrieval", "p1-s12", SIX, meta=RUN | {"p_original": 1.0, "seed": 12})
    again = leaderboard("add", theirs, "--leaderboards", ours).stdout
    assert "13 of 14 were there already.\n" in again and "there already: " not in again and again.count("added: ") == 1


def test_a_record_under_another_name_gets_its_own_back(tmp_path, theirs):
    (first, *_) = read_results(theirs)
    other = tmp_path / "mail" / "attachment.json"
    other.parent.mkdir()
    shutil.copy(first.path, other)
    shutil.copy(first.path.with_suffix(".parquet"), other.parent)
    assert leaderboard("add", other, "--leaderboards", tmp_path / "ours").returncode == 0
    (found,) = read_results(tmp_path / "ours")
    assert found.path.name == first.path.name and found.items("i2t_r1").items == first.items("i2t_r1").items


def test_a_dry_run_writes_nothing(tmp_path, theirs):
    done = leaderboard("add", theirs, "--leaderboards", tmp_path / "ours", "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert [one["state"] for one in told["records"]] == ["added"] * 3 and told["dry_run"] and told["boards"] == ["clip"]
    assert not (tmp_path / "ours").exists()


def test_another_answer_to_the_same_question_needs_replace(tmp_path, ours):
    better = {"i2t_r1": scores([1, 1, 1, 1, 0.5, 0]), "t2i_r1": SIX["t2i_r1"]}
    other = put(tmp_path / "other", "scenes-retrieval", "p0-s0", better, meta=RUN | {"p_original": 0.0, "seed": 0})
    place = ours / "results" / other.path.parent.name / other.path.name
    refused = leaderboard("add", other.path, "--leaderboards", ours)
    assert_two_line_error(refused, 1, "another answer to the question", "--replace")
    assert read_result(place).record["metrics"]["i2t_r1"]["value"] == pytest.approx(3.5 / 6)
    done = leaderboard("add", other.path, "--leaderboards", ours, "--replace")
    assert done.returncode == 0 and done.stdout.startswith("replaced: ")
    assert read_result(place).items("i2t_r1").values.mean() == pytest.approx(4.5 / 6)


def test_a_bad_record_leaves_the_good_ones_coming(tmp_path, theirs):
    (first, *_) = read_results(theirs)
    first.path.with_suffix(".parquet").unlink()
    done = leaderboard("add", theirs, "--leaderboards", tmp_path / "ours")
    assert_two_line_error(done, 1, "is missing, which")
    assert len(read_results(tmp_path / "ours")) == 2


def test_other_json_in_a_folder_is_told_and_left(tmp_path, theirs):
    (theirs / "published").mkdir()
    (theirs / "published" / "paper.json").write_text('{"kind": "published"}')
    (theirs / "notes.json").write_text("[1]")
    done = leaderboard("add", theirs, "--leaderboards", tmp_path / "ours")
    assert done.returncode == 0 and len(read_results(tmp_path / "ours")) == 3
    assert "paper.json left out: published figures go into" in done.stderr and "notes.json left out" in done.stderr


@pytest.mark.parametrize("name", ["nothing.json", "folder"])
def test_places_that_are_not_there_are_told(tmp_path, name):
    assert_two_line_error(leaderboard("add", tmp_path / name), 1, f"{name} does not exist")


def test_a_folder_without_a_record_is_told(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert_two_line_error(leaderboard("add", tmp_path), 1, "holds no result record")


def test_partial_results_are_told_to_be_unranked(tmp_path):
    put(tmp_path / "theirs", "scenes-retrieval", "m", SIX, limit=6)
    done = leaderboard("add", tmp_path / "theirs", "--leaderboards", tmp_path / "ours")
    assert done.returncode == 0 and "no board ranks it" in done.stderr


def test_what_boards_lose_is_told_first(ours):
    before = files(ours)
    done = leaderboard("remove", "p1-s1/scenes-retrieval", "p0-s0/scenes", "--leaderboards", ours, "--dry-run")
    assert done.returncode == 0 and "Nothing was removed." in done.stdout and files(ours) == before
    assert "p = 1; short I→T R@1: 1 training seed left" in done.stdout
    assert "p = 0; short I→T R@1: not run" in done.stdout and "p = 0; short T→I R@1: not run" in done.stdout


def test_removal_asks_and_takes_all_files(monkeypatch, ours):
    words = ("remove", "p0-s0/scenes-retrieval", "--leaderboards", ours)
    assert_two_line_error(leaderboard(*words), 2, "Nobody can be asked", "--yes")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, left in (("", 3), ("n", 3), ("y", 2)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert leaderboard(*words).returncode == 0
        assert len(read_results(ours)) == left
    assert len(files(ours)) == 4 and len(list((ours / "results").iterdir())) == 2


def test_json_tells_what_went(ours):
    done = leaderboard("remove", "p0-s0/scenes-retrieval", "--leaderboards", ours, "--yes", "--json")
    told = json.loads(done.stdout)
    assert len(told["removed"]) == 2 and {loss["column"] for loss in told["boards_lose"]} == {"short I→T R@1", "short T→I R@1"}
    assert all(loss["left"] == 0 and loss["board"] == "clip" for loss in told["boards_lose"])


def test_records_elsewhere_stay_there(theirs, ours):
    (first, *_) = read_results(theirs)
    done = leaderboard("remove", first.path, "--leaderboards", ours, "--yes")
    assert_two_line_error(done, 2, "does not lie in", "--leaderboards")
    assert len(read_results(theirs)) == 3


def test_unknown_names_have_their_nearest(ours):
    done = leaderboard("remove", "p0-s0/scenes-retreval", "--leaderboards", ours, "--yes")
    assert_two_line_error(done, 2, "names no result", "p0-s0/scenes-retrieval")
