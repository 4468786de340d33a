"""The commands as a user meets them: exit codes, two-line errors, nothing measured twice, nothing overwritten."""

import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from support import ROOT, TINY, assert_two_line_error, recap

HEAVY = (
    "torch",
    "diffusers",
    "numpy",
    "pandas",
    "open_clip",
    "transformers",
    "PIL",
    "pyarrow",
    "matplotlib",
    "jinja2",
    "scipy",
)


HELPS = [("recap_eval", []), ("recap_train", []), ("recap_caption", []), ("recap_train", ["clip"])]
HELPS += [
    ("recap_eval", [name])
    for name in ("clip", "compare", "fetch", "list", "report", "scenes", "show", "study", "generate", "t2i", "leaderboard")
]


@pytest.mark.parametrize(("package", "words"), HELPS)
def test_help_imports_nothing_heavy(package, words):
    """On the modules, not on a clock: start-up regressions come back through one careless import."""
    words = [*words, "--help"]
    code = (
        f"import sys; sys.argv = ['x', *{words!r}]\nfrom {package}.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def evaluate(model, world, root, *words):
    return recap(
        "recap-eval", "clip", "--model", model, "--data", world, "--out", root / "lb", "--reports", root / "rep", *words
    )


@pytest.fixture(scope="module")
def measured(model, world, tmp_path_factory):
    """A folder with one model measured on everything by the command."""
    root = tmp_path_factory.mktemp("measured")
    done = evaluate(model, world, root)
    assert done.returncode == 0, done.stderr
    return root


def test_clip_measures_every_task_and_ends_with_the_report(measured, world):
    records = [json.loads(path.read_text()) for path in sorted((measured / "lb").rglob("*.json"))]
    assert {record["task"]["name"] for record in records} == {
        "scenes-zeroshot", "scenes-retrieval", "scenes-long", "scenes-attributes", "scenes-relations",
    }  # fmt: skip
    for record in records:
        for metric in record["metrics"].values():
            assert {"value", "se", "ci95", "n", "n_clusters", "chance"} <= metric.keys()
            assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
        assert record["run"]["packages"]["torch"] and record["run"]["seconds"] > 0
        assert record["model"]["meta"]["p_original"] == 1.0 and len(record["model"]["revision"]) == 64
        assert str(Path.home()) not in json.dumps(record["run"]["command"])
    assert {path.name for path in (measured / "rep").iterdir()} == {
        "clip.md", "clip.csv", "clip.html", "clip-records.md", "clip-records.html",
    }  # fmt: skip


def test_nothing_is_measured_twice_and_it_says_so(measured, model, world):
    before = {path: path.read_bytes() for path in (measured / "lb").rglob("*.json")}
    done = evaluate(model, world, measured)
    assert done.returncode == 0 and done.stderr.count("measured before, not measured again") == 5
    assert {path: path.read_bytes() for path in (measured / "lb").rglob("*.json")} == before
    again = evaluate(model, world, measured, "--json", "--tasks", "scenes-long")
    assert json.loads(again.stdout)[str(model)]["measured_before"] == ["scenes-long"]


def test_other_settings_stand_beside_and_are_left_out_of_the_board(measured, model, world, tmp_path):
    shutil.copytree(measured / "lb", tmp_path / "lb")
    before = set((tmp_path / "lb").rglob("*.json"))
    done = evaluate(model, world, tmp_path, "--tasks", "scenes-long", "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    limited = evaluate(model, world, tmp_path, "--tasks", "scenes-long", "--limit", "20")
    assert "PARTIAL" in limited.stderr
    assert before < set((tmp_path / "lb").rglob("*.json"))
    assert len(set((tmp_path / "lb").rglob("*.json"))) == len(before) + 2
    report = (tmp_path / "rep" / "clip.md").read_text()
    assert "Left out" in report and "settings.precision is bf16" in report and "part of the items only" in report


def test_force_measures_again(measured, model, world, tmp_path):
    shutil.copytree(measured / "lb", tmp_path / "lb")
    done = evaluate(model, world, tmp_path, "--tasks", "scenes-long", "--force")
    assert done.returncode == 0 and "measured before" not in done.stderr


def test_a_damaged_items_file_is_measured_again(measured, model, world, tmp_path):
    shutil.copytree(measured / "lb", tmp_path / "lb")
    next((tmp_path / "lb").rglob("scenes-long-*.parquet")).unlink()
    done = evaluate(model, world, tmp_path, "--tasks", "scenes-long")
    assert done.returncode == 0 and "measured before" not in done.stderr


def test_the_same_weights_under_another_name_are_another_model(measured, model, world, tmp_path):
    """Two checkpoints of one name do not share a result: the revision is in the path."""
    other = shutil.copytree(model, tmp_path / "other" / model.name)
    description = json.loads((other / "artifact.json").read_text())
    config = other / "open_clip_config.json"
    config.write_text(config.read_text() + "\n")
    import hashlib

    description["files"]["open_clip_config.json"] = hashlib.sha256(config.read_bytes()).hexdigest()
    (other / "artifact.json").write_text(json.dumps(description))
    shutil.copytree(measured / "lb", tmp_path / "lb")
    done = evaluate(other, world, tmp_path, "--tasks", "scenes-long")
    assert done.returncode == 0 and "measured before" not in done.stderr
    assert len(list((tmp_path / "lb").rglob("scenes-long-*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["--tasks", "scenes-zeroshoot"], 2, ["Unknown task", "'scenes-zeroshot'"]),
        (["--tasks", ","], 2, ["names no task"]),
        (["--precision", "fp8"], 2, ["Unknown precision"]),
        (["--data", "/nowhere"], 1, ["/nowhere does not exist", "--data DIR"]),
    ],
)
def test_wrong_words(words, code, fragments, model, world, tmp_path):
    data = [] if "--data" in words else ["--data", world]
    out = ["--out", tmp_path / "lb", "--reports", tmp_path / "rep"]
    done = recap("recap-eval", "clip", "--model", model, *data, *out, *words)
    assert_two_line_error(done, code, *fragments)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("spec", "code", "fragments"),
    [
        ("ViT-B-23/openai", 2, ["no folder, and no name in open_clip", "'ViT-B-23/openai'", "'ViT-B-32'"]),
        ("ViT-B-32", 2, ["ViT-B-32/openai"]),
        ("ViT-B-32/opnai", 2, ["'openai'"]),
        ("./absent", 2, ["./absent", "does not exist"]),
    ],
)
def test_wrong_models(spec, code, fragments, world, tmp_path):
    assert_two_line_error(evaluate(spec, world, tmp_path), code, *fragments)


def test_a_model_without_weights_or_with_changed_ones_is_refused(model, world, tmp_path):
    """open_clip itself only warns when weights are missing, and goes on with random ones."""
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "open_clip_model.safetensors").unlink()
    assert_two_line_error(evaluate(bare, world, tmp_path), 1, "open_clip_model.safetensors is missing")
    (bare / "artifact.json").unlink()
    assert_two_line_error(evaluate(bare, world, tmp_path), 1, "holds no weights")
    changed = shutil.copytree(model, tmp_path / "changed")
    with (changed / "open_clip_model.safetensors").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"xx")
    assert_two_line_error(evaluate(changed, world, tmp_path), 1, "is not the file that artifact.json describes")
    (changed / "artifact.json").unlink()
    (changed / "open_clip_model.safetensors").write_bytes(b"garbage")
    assert_two_line_error(evaluate(changed, world, tmp_path), 1, "Cannot load")


def test_one_failing_model_leaves_the_other(model, world, tmp_path):
    (tmp_path / "broken").mkdir()
    done = evaluate(tmp_path / "broken", world, tmp_path, "--model", model, "--tasks", "scenes-long")
    assert_two_line_error(done, 1, "broken")
    assert len(list((tmp_path / "lb").rglob("scenes-long-*.json"))) == 1


def damage(shard: Path, name: str) -> None:
    """Overwrite the middle of a member of a tar, its size unchanged."""
    with tarfile.open(shard) as tar:
        info = tar.getmember(name)
    with shard.open("r+b") as stream:
        stream.seek(info.offset_data)
        stream.write(b"\0" * (info.size // 2))


def test_a_corrupt_image_stops_or_is_counted(model, fresh_world, tmp_path):
    damage(fresh_world / "test" / "00000.tar", "000000003.jpg")
    done = evaluate(model, fresh_world, tmp_path, "--tasks", "scenes-long")
    assert_two_line_error(done, 1, "00000.tar:000000003.jpg is not a readable image", "--skip-bad")
    assert not list((tmp_path / "lb").rglob("*.json"))
    lenient = evaluate(model, fresh_world, tmp_path, "--skip-bad", "--no-report")
    assert lenient.returncode == 0 and lenient.stderr.count("PARTIAL") >= 3
    record = json.loads(next((tmp_path / "lb").rglob("scenes-long-*.json")).read_text())
    assert record["partial"] and record["metrics"]["i2t_r1"]["n"] == 47
    assert record["skipped"][0]["item"].endswith("000000003.jpg")
    strict = evaluate(model, fresh_world, tmp_path, "--tasks", "scenes-long")
    assert_two_line_error(strict, 1, "not a readable image")


def test_corrupt_truth_and_shards_are_named(model, fresh_world, tmp_path):
    shard = fresh_world / "test" / "00000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert_two_line_error(evaluate(model, fresh_world, tmp_path), 1, "00000.tar")
    with tarfile.open(shard, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty.txt"), io.BytesIO())
    assert_two_line_error(evaluate(model, fresh_world, tmp_path), 1, "holds no image")
    shard.write_bytes(whole)
    (fresh_world / "test.parquet").write_bytes(b"PAR1 nonsense PAR1")
    assert_two_line_error(evaluate(model, fresh_world, tmp_path), 1, "test.parquet")
    (fresh_world / "test.parquet").unlink()
    assert_two_line_error(evaluate(model, fresh_world, tmp_path), 1, "test.parquet is missing")


def test_scenes_command(tmp_path):
    done = recap("recap-eval", "scenes", tmp_path / "s", *TINY, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["splits"]["train"]["n"] == 96
    again = recap("recap-eval", "scenes", tmp_path / "s", *TINY)
    assert "there already" in again.stdout
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "s", "--n", "97"), 2, "another world")
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "x", "--preset", "v2"), 2, "'v1'")
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "x", "--preset", "v1", "--n", "3"), 2, "frozen")
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "x", "--size", "33"), 2, "32, 64")
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "x", "--alt-noise", "wron=0.1"), 2, "'wrong'")
    assert_two_line_error(recap("recap-eval", "scenes", tmp_path / "x", "--alt-noise", "1.7"), 2, "[0, 1]")
    for wrong in ("0", "1.5", "many", "nan"):
        assert recap("recap-eval", "scenes", tmp_path / "x", "--n", wrong).returncode == 2


def test_alt_noise_total_keeps_the_proportions():
    from recap_eval.commands.scenes import parse_alt_noise
    from recap_eval.data.scenes.write import ALT_NOISE

    rates = parse_alt_noise("0.8")
    assert sum(rates.values()) == pytest.approx(0.8)
    assert rates["wrong"] / rates["missing"] == pytest.approx(ALT_NOISE["wrong"] / ALT_NOISE["missing"])
    assert parse_alt_noise("wrong=0.5")["wrong"] == 0.5


def test_list(world):
    done = recap("recap-eval", "list", "tasks", "--data", world)
    assert done.returncode == 0 and done.stdout.count("present") == 7
    assert "missing" in recap("recap-eval", "list", "tasks", "--data", "/nowhere").stdout
    names = json.loads(recap("recap-eval", "list", "models", "--json").stdout)
    assert "ViT-B-32/openai" in names


def test_without_data_scenes_are_drawn_into_the_cache(model, tmp_path, monkeypatch):
    """The cache is seeded with a small world under the preset's name, so that the test does not draw all of v1."""
    from recap_eval.cli import build_parser
    from recap_eval.commands.clip import find_data
    from recap_eval.data.scenes import write

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECAP_DATA", raising=False)
    monkeypatch.delenv("RECAP_CACHE")
    monkeypatch.setitem(write.PRESETS, "v1", write.World(n=8, n_eval=16))
    args = build_parser().parse_args(["clip", "--model", str(model)])
    root, tasks, absent = find_data(args)
    assert root == tmp_path / "cache" / "recap" and len(tasks) == 5 and not absent
    assert (root / "scenes" / "scenes.json").is_file()


def test_a_missing_data_set_does_not_stop_the_others(model, world, tmp_path):
    done = evaluate(model, world, tmp_path, "--tasks", "coco-retrieval,scenes-long,urban1k", "--no-report")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [path.name.split("-")[:2] for path in (tmp_path / "lb").rglob("*.json")] == [["scenes", "long"]]
    for name in ("coco-retrieval", "urban1k"):
        assert f"The data of {name} is not under {world}" in done.stderr and f"recap-eval fetch {name}" in done.stderr


def test_a_second_run_needs_no_forward_pass(model, world, tmp_path):
    words = ("--tasks", "scenes-long", "--cache", tmp_path / "cache", "--no-report")
    first = evaluate(model, world, tmp_path / "a", *words)
    again = evaluate(model, world, tmp_path / "b", *words)
    assert first.returncode == again.returncode == 0 and "images:" in first.stderr and "images:" not in again.stderr
    one, two = (json.loads(next((tmp_path / name / "lb").rglob("*.json")).read_text()) for name in "ab")
    assert one["metrics"] == two["metrics"] and one["items"]["sha256"] == two["items"]["sha256"]


@pytest.mark.serial
def test_ctrl_c_keeps_what_is_finished(model, world, tmp_path):
    words = ["clip", "--model", model, "--data", world, "--out", tmp_path / "lb", "--reports", tmp_path / "rep"]
    child = subprocess.Popen(
        [sys.executable, "-m", "recap_eval.cli", *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while not list((tmp_path / "lb").rglob("*.json")) and time.time() < deadline and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    error = child.communicate(timeout=60)[1]
    assert child.returncode in (0, 130) and "Traceback" not in error
    done = evaluate(model, world, tmp_path)
    assert done.returncode == 0 and "measured before" in done.stderr
