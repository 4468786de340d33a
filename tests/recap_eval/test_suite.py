"""Suites: they are the single commands they stand for, at any number of parts and after any kill; what contradicts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from painters import paint
from support import ROOT
from tiny_pipelines import make_stable_diffusion

from recap_eval.artifact import find_artifact
from recap_eval.cli import build_parser, main
from recap_eval.commands.suite import FIXED, arguments
from recap_eval.commands.suite_plan import words
from recap_eval.data.coco_ids import chosen
from recap_eval.errors import DataError, UserError
from recap_eval.generate.manifest import read_manifest, read_parts
from recap_eval.generate.presets import PRESETS
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.results import read_results
from recap_eval.suite import Judge, judged, load_suite, suite_files

N = 6
EYES = f"{Path(__file__).parents[1] / 'eyes.py'}:Eyes"
MINI = """title = "a small suite"
[generate]
scheduler = { value = "ddim", source = "ours" }
steps = { value = 2, source = "ours" }
[score]
reference = { value = "real", source = "ours" }
[[sets]]
name = "short"
prompts = "short.csv"
metrics = ["kid:clip:{scorer}", "clip:{scorer}"]
source = "ours"
[[sets]]
name = "long"
prompts = "long.csv"
metrics = ["kid:clip:{scorer}"]
source = "ours"
[[columns]]
label = "short, CLIP score"
set = "short"
metric = "clip:{scorer}"
[[columns]]
label = "long, KID"
set = "long"
metric = "kid:clip:{scorer}"
[[columns]]
label = "long, judge"
set = "long"
lacks = "no judge"
"""


def lay(folder):
    """Write what the small suite needs."""
    (folder / "mini.toml").write_text(MINI)
    for name, text in (("short", "a cat"), ("long", "a black cat, eating fish")):
        (folder / f"{name}.csv").write_text("id,prompt\n" + "".join(f'p{n},"{text} {n}"\n' for n in range(N)))
    (folder / "real").mkdir()
    for n in range(N):
        paint("real", n).save(folder / "real" / f"{n}.png")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with a pipeline and what the small suite needs, and what one process made of it."""
    folder = tmp_path_factory.mktemp("suite")
    make_stable_diffusion(folder / "sd")
    lay(folder)
    before = Path.cwd()
    os.chdir(folder)
    assert main(["t2i", *GIVEN, "--images", "whole", "--out", "lb", "--json"]) == 0
    yield folder
    os.chdir(before)


SUITE = ["--suite", "mini.toml", "--scorer", EYES, "--cache", "cache", "--batch-size", "2"]
GIVEN = [*SUITE, "--model", "sd"]


def figures(leaderboards):
    """Return every figure, and the digest of its items, by model and task."""
    found = read_results(leaderboards)
    return {(one.path.parent.name, one.path.name): (one.record["metrics"], one.record["items"]["sha256"]) for one in found}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/images/*/*.png"))}


def test_shipped_suites_say_who_says_so():
    for name in suite_files():
        suite = load_suite(name)
        assert all(known.source for known in (suite.generate | suite.score).values()) and all(one.source for one in suite.sets)
        assert {column.set for column in suite.columns} == {"raw", "recap"} == {one.name for one in suite.sets}
        assert all(one.prompts in PRESETS and one.column in PRESETS[one.prompts].columns for one in suite.sets)


def test_the_papers_constants():
    suite = load_suite("paper")
    said = {name: known.value for name, known in suite.generate.items() if known.source.startswith("paper")}
    assert said == {"scheduler": "ddpm", "steps": 250, "guidance_scale": 10.0, "height": 256, "width": 256, "samples": 1}
    assert all(known.source.startswith("unstated") for known in suite.score.values())
    assert [column.label for column in suite.columns if column.lacks] == ["recaptions, GPT-4V"]
    assert suite.judge.images == 3000 and PRESETS[suite.sets[0].prompts].lock.n == 30_504


@pytest.mark.parametrize("name", ["paper", "scenes"])
def test_a_suite_is_the_commands_that_it_shows(name):
    parser = build_parser()
    scorer = ["--scorer", "runs/a"] if name == "scenes" else []
    given = ["--model", "m", "--images", "im", "--seed", "3", "--device", "cpu", "--limit", "9", "--compile", "--skip-bad"]
    args = parser.parse_args(["t2i", "--suite", name, *scorer, *given])
    suite = load_suite(name).scored_by("runs/a")
    for one in suite.sets:
        run = arguments(suite, one, args)
        assert vars(parser.parse_args(words(run)[1:])) == vars(run)


def test_single_commands_find_what_a_suite_measured(bench, capsys):
    before = figures(bench / "lb")
    assert len(before) == 3 and {path for path, _ in before} == {one.path.parent.name for one in read_results(bench / "lb")}
    args = build_parser().parse_args(["t2i", *GIVEN, "--images", "whole", "--out", "lb"])
    suite = load_suite("mini.toml").scored_by(EYES)
    for one in suite.sets:
        assert main([*words(arguments(suite, one, args))[1:], "--cache", "cache"]) == 0
        said = capsys.readouterr().err
        assert "(0 made now" in said and said.count("measured before, not measured again") == len(one.metrics)
    assert figures(bench / "lb") == before


def test_the_row_of_figures(bench, capsys):
    assert main(["t2i", *SUITE, "--images", "whole", "--out", "lb", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    short, long, judge = facts["row"]
    record = json.loads(Path(short["path"]).read_text())
    assert short["value"] == 100 * record["metrics"]["clip_score"]["value"] and short["n"] == N and not short["partial"]
    assert long["metric"] == "t2i-kid" and judge == {"label": "long, judge", "set": "long", "lacks": "no judge"}
    assert main(["t2i", *SUITE, "--images", "whole", "--out", "lb"]) == 0
    told = capsys.readouterr().out
    assert f"short, CLIP score  {short['value']:8.4g}" in told and "not measured: no judge" in told


def test_parts_generate_and_the_last_one_scores(bench, capsys):
    words = ["t2i", *GIVEN, "--images", "parts", "--out", "lb-parts"]
    assert main([*words, "--shard", "2/2"]) == 0
    said = capsys.readouterr()
    assert "This part is made. The part that ends last scores" in said.err and not said.out
    assert not read_results(bench / "lb-parts") and not find_artifact(bench / "parts" / "long")
    assert main([*words, "--shard", "1/2"]) == 0
    assert "short, CLIP score" in capsys.readouterr().out
    assert contents(bench / "parts") == contents(bench / "whole") and len(contents(bench / "whole")) == 2 * N
    assert figures(bench / "lb-parts") == figures(bench / "lb")


def test_a_limited_suite_is_partial(bench, capsys):
    words = ["--images", "few", "--out", "lb-few", "--limit", "4"]
    assert main(["t2i", *GIVEN, *words]) == 0
    assert "(n=4, PARTIAL)" in capsys.readouterr().out
    assert all(found.partial for found in read_results(bench / "lb-few"))
    assert main(["t2i", *SUITE, *words]) == 0 and "measured before" in capsys.readouterr().err
    assert main(["t2i", *SUITE, "--images", "few", "--out", "lb-few"]) == 1
    assert "was made of other prompts" in capsys.readouterr().err


def test_what_is_there_is_scored_and_what_is_not_is_named(bench, capsys):
    shutil.copytree(bench / "whole" / "short", bench / "half" / "short")
    assert main(["t2i", *SUITE, "--images", "half", "--out", "lb-half"]) == 1
    said = capsys.readouterr()
    assert (
        "error: long: half/long is no folder" in said.err and "long, KID" in said.out and "not measured: half/long" in said.out
    )
    assert len(read_results(bench / "lb-half")) == 2


def test_images_that_were_made_otherwise_are_no_set_of_it(bench, capsys):
    words = ["--model", "sd", "--prompts", "short.csv", "--out", "other/short", "--scheduler", "ddim"]
    assert main(["generate", *words, "--steps", "3"]) == 0
    assert main(["t2i", *SUITE, "--images", "other", "--out", "lb-other"]) == 1
    assert "it was made with steps 3, not 2" in capsys.readouterr().err and not read_results(bench / "lb-other")


def test_a_folder_of_others_is_scored_and_what_nobody_knows_is_told(bench, capsys):
    for name in ("short", "long"):
        (bench / "theirs" / name).mkdir(parents=True)
        for n in range(N):
            paint(name, n).save(bench / "theirs" / name / f"p{n}.png")
    assert main(["t2i", *SUITE, "--images", "theirs", "--out", "lb-theirs"]) == 0
    assert "theirs/short: nothing tells scheduler, steps" in capsys.readouterr().err
    assert len(read_results(bench / "lb-theirs")) == 3


def test_one_set_that_fails_leaves_the_other(bench, capsys, monkeypatch):
    from recap_eval.generate.pipeline import DiffusersModel

    real = DiffusersModel.generate

    def hates_fish(self, prompts, seeds):
        if any("fish" in prompt for prompt in prompts):
            raise ValueError("I hate fish")
        return real(self, prompts, seeds)

    monkeypatch.setattr(DiffusersModel, "generate", hates_fish)
    assert main(["t2i", *GIVEN, "--images", "fishless", "--out", "lb-fishless"]) == 1
    said = capsys.readouterr()
    assert "I hate fish" in said.err and "error: long: " in said.err and "short, CLIP score" in said.out
    assert len(read_results(bench / "lb-fishless")) == 2


def test_what_is_missing_is_told_before_images_are_made(bench, capsys):
    given = [word if word != EYES else "nobody" for word in GIVEN]
    assert main(["t2i", *given, "--images", "unmade"]) == 2
    assert "Unknown model" in capsys.readouterr().err and not (bench / "unmade").exists()
    words = ["--model", "sd", "--prompts", "short.csv", "--metrics", f"fid,clip:{EYES}", "--reference", "real"]
    assert main(["t2i", *words, "--steps", "1", "--images", "made", "--out", "lb-made", "--data", "none"]) == 1
    said = capsys.readouterr().err
    assert said.index("t2i-fid is going to fail. The FID Inception's weights are missing") < said.index("6 images of short")
    assert [found.task for found in read_results(bench / "lb-made")] == ["t2i-clip"]
    assert main(["t2i", "--suite", "paper", "--images", "whole", "--data", "none"]) == 1
    assert "How to get recap-coco-30k: recap-eval fetch recap-coco-30k --data none" in capsys.readouterr().err


def test_the_dry_run_tells_everything_and_makes_nothing(bench, capsys, monkeypatch):
    assert main(["t2i", *GIVEN, "--images", "dry", "--dry-run", "--seed", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["constants"]["steps"] == {"value": 2, "source": "ours"} and facts["constants"]["seed"]["value"] == 5
    assert [one["images"] for one in facts["sets"]] == [N, N] and facts["columns"][2]["lacks"] == "no judge"
    assert not (bench / "dry").exists()
    monkeypatch.setenv("RECAP_DATA", str(bench))
    assert main(["t2i", "--model", "sd", "--suite", "paper", "--images", "dry", "--dry-run"]) == 0
    told = capsys.readouterr().out
    for fragment in (
        "guidance_scale     10.0",
        "raw: 30,504 images",
        "recap-eval fetch recap-coco-30k",
        "3,000 images",
        "8.8 GB",
    ):
        assert fragment in told
    assert "recaptions, GPT-4V" in told and not (bench / "dry").exists()


def test_the_scenes_suite(bench, world, capsys):
    words = ["--suite", "scenes", "--scorer", EYES, "--data", str(world), "--limit", "5", "--cache", "cache"]
    assert main(["t2i", *words, "--model", "sd", "--images", "scenes", "--out", "lb-scenes"]) == 0
    told = capsys.readouterr().out
    assert told.count("(n=5, PARTIAL)") == 6 and "long captions, FD" in told
    rows = [read_manifest(Path("scenes") / name / "manifest.jsonl") for name in ("raw", "recap")]
    assert [row.id for row in rows[0]] == [row.id for row in rows[1]] and rows[0][0].prompt != rows[1][0].prompt


GIVEN_OTHERWISE = {
    "set": ["--set", "a=1"], "samples": ["--samples", "2"], "safety_checker": ["--safety-checker"], "height": ["--height", "8"],
    "width": ["--width", "8"], "guidance_scale": ["--guidance-scale", "2"], "metrics": ["--metrics", "clip"],
    "resize": ["--resize", "clean"], "steps": ["--steps", "2"],
}  # fmt: skip


@pytest.mark.parametrize("option", FIXED)
def test_options_that_a_suite_fixes_are_refused(bench, capsys, option):
    given = GIVEN_OTHERWISE.get(option, [f"--{option.replace('_', '-')}", "x"])
    assert main(["t2i", *GIVEN, "--images", "refused", *given]) == 2
    said = capsys.readouterr().err
    assert f"--{option.replace('_', '-')} does not go with --suite mini" in said and not (bench / "refused").exists()
    assert option != "steps" or "(2; ours)" in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--suite", "papr", "--images", "x"], "Unknown suite 'papr'"),
        (["--suite", "none.toml", "--images", "x"], "none.toml does not exist"),
        (["--suite", "paper"], "--suite needs a folder"),
        (["--suite", "scenes", "--images", "x"], "needs a model that scores"),
        (["--suite", "paper", "--images", "x", "--scorer", "m"], "--scorer does not go with it"),
        (["--suite", "paper", "--images", "x", "--model", "mine.py:Model"], "mine.py:Model samples by itself"),
        (["--images", "x", "--scorer", "m"], "--scorer goes with --suite"),
        (["--images", "x", "--dry-run"], "--dry-run goes with --suite"),
        (["--images", "x", "--metrics", ","], "--metrics names no metric"),
    ],
)
def test_wrong_words(bench, capsys, given, told):
    assert main(["t2i", *given]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("steps =", "stepps =", "'stepps' is none of"),
        ('value = 2, source = "ours"', "value = 2", "missing 1 required"),
        ('name = "long"', 'name = "short"', "distinct"),
        ('name = "long"', 'name = "../long"', "distinct"),
        ('set = "long"\nmetric', 'set = "lang"\nmetric', "one of the sets"),
        ('set = "short"\nmetric = "clip', 'set = "long"\nmetric = "clip', "has no metric 'clip"),
        ('lacks = "no judge"', "", "a metric or what it lacks"),
        ('"clip:{scorer}"]', '"kid:inception"]', "each kind once"),
        ('title = "a small suite"', "title = ", "is not a suite"),
        ("[[sets]]", "[[sats]]", "'sets'"),
        ('title = "a small suite"', 'titel = "a"', "titel"),
        ('metrics = ["kid:clip:{scorer}"]', "metrics = []", "needs metrics"),
    ],
)
def test_wrong_suite_files(tmp_path, old, new, told):
    assert old in MINI
    (tmp_path / "mine.toml").write_text(MINI.replace(old, new))
    with pytest.raises(DataError) as caught:
        load_suite(str(tmp_path / "mine.toml"))
    assert told in caught.value.what
    with pytest.raises(UserError, match="Unknown metric"):
        (tmp_path / "mine.toml").write_text(MINI.replace("kid:clip", "kidd:clip"))
        load_suite(str(tmp_path / "mine.toml"))


def test_who_a_judge_is_to_see():
    ids = [7, 3, 42, 100, 5]
    for name in ("{}", "COCO_val2014_{:012d}.jpg"):
        prompts = PromptSet("x", tuple(Prompt(name.format(n), "t", name.format(n)) for n in ids))
        kept = judged(Judge(3, "judge-3k", ""), prompts)
        assert kept == [name.format(n) for n in ids if n in chosen(ids, 3, "judge-3k")] and len(kept) == 3
    own = PromptSet("x", tuple(Prompt(f"mine {n}", "t") for n in range(50)))
    first = judged(Judge(9, "judge-3k", ""), own)
    assert len(first) == 9 and first != judged(Judge(9, "another", ""), own) and len(judged(Judge(99, "a", ""), own)) == 50


def start(folder, *words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "recap_eval.cli", "t2i", *words], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.serial
def test_killed_in_the_middle_and_in_parts_it_gives_the_same(bench):
    words = [*GIVEN, "--images", "killed", "--out", "lb-killed"]
    child = start(bench, *words, "--shard", "1/2")
    until = time.monotonic() + 120
    while len(contents(bench / "killed")) < 2 and time.monotonic() < until:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL and not read_results(bench / "lb-killed")
    assert not find_artifact(bench / "killed" / "short")
    for part in ("2/2", "1/2"):
        child = start(bench, *words, "--shard", part)
        out, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
    assert "short, CLIP score" in out
    assert contents(bench / "killed") == contents(bench / "whole")
    assert figures(bench / "lb-killed") == figures(bench / "lb")
    keys = [made.row.key for made in read_parts(bench / "killed" / "short")]
    assert len(keys) == len(set(keys)) == N


@pytest.mark.serial
def test_torchrun_gives_what_one_process_gives(bench):
    from ranked import free_port

    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    words = [*GIVEN, "--images", "ranks", "--out", "lb-ranks"]
    children = [start(bench, *words, RANK=rank, LOCAL_RANK=rank, **where) for rank in ("0", "1")]
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert "short, CLIP score" in said[0][0] and said[1][0] == ""
    assert contents(bench / "ranks") == contents(bench / "whole") and figures(bench / "lb-ranks") == figures(bench / "lb")
