"""The studies behind `make full` and `make demo`, on a world of a few images."""

import json
from importlib import import_module

import pyarrow.parquet as pq
import pytest
from support import ROOT, recap, recap_apart, run_study

from recap_eval.study.graph import build_graph
from recap_eval.study.spec import PROGRAMS, read_study
from recap_eval.study.state import taken

SMALL = ("--root", "demo", "--set", "samples=256", "--set", "seed=0", "--set", "p=0,1", "--set", "scenes=--n 96 --n-eval 48")


@pytest.mark.slow
def test_the_loop_from_scenes_to_report_and_again(tmp_path):
    words = ["study", ROOT / "studies" / "clip-mix.yaml", *SMALL]
    first = recap_apart("recap-eval", *words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "demo/reports/clip.md" in first.stdout and "paired difference to p = 1" in first.stdout
    assert "$ recap-train clip --data demo/scenes --model scenes-tiny --p-original 0 " in first.stderr
    assert "samples in" in first.stdout and "8 of 8 nodes done (0 of them before)" in first.stderr
    assert (tmp_path / "demo" / "reports" / "clip.svg").is_file()
    report = (tmp_path / "demo" / "reports" / "clip.md").read_text()
    assert "what scenes-tiny-p1-s0 gets wrong in scenes-long](failures/" in report
    for stamp in (tmp_path / "demo" / "done").iterdir():
        stamp.unlink()  # the commands themselves find what is made
    again = recap_apart("recap-eval", *words, "--only", "eval-seed=0-p=1", cwd=tmp_path)
    assert again.returncode == 0 and "is trained already" in again.stdout and "were there already" in again.stdout
    assert again.stdout.count("measured before, not measured again") == 5
    last = recap("recap-eval", *words, "--only", "report", "--dry-run", cwd=tmp_path)
    assert "8 nodes under demo: 3 done, 5 to run" in last.stdout


@pytest.mark.slow
def test_the_loop_with_a_captioner(tmp_path):
    images = ("--set", "dit=dit-scenes-p0-s0", "--set", "prompts=--n 8 --n-eval 12")
    done = run_study(ROOT / "studies" / "recaption-mix.yaml", *SMALL, *images, cwd=tmp_path)
    assert len(done) == 12 and list(done)[-1] == "report" and "paired difference to p = 1" in done["report"].stdout
    for board in ("clip", "captions", "captioner", "dit-scenes", "index"):
        assert (tmp_path / f"demo/reports/{board}.html").is_file(), board
    assert (tmp_path / "demo/reports/clip.svg").is_file()
    captions = pq.read_table(tmp_path / "demo/captions/captions").to_pylist()
    assert len(captions) == 96 and {row["status"] for row in captions} == {"ok"}
    assert {row["model_id"].partition("@")[0] for row in captions} == {"scenes-tiny"}
    truth = next((tmp_path / "demo/leaderboards/results").rglob("captions-truth-*.json"))
    assert json.loads(truth.read_text())["metrics"]["truth"]["value"] > 0.95


TINY = {
    "scenes": "--n 96 --n-eval 48", "teacher": "--n 96 --n-eval 48 --seed 7 --recaption-error 0",
    "metrics": "length,truth,clip", "text_metrics": "length,truth",
    "captioner_samples": 256, "captioner_every": 128, "clip_samples": 256, "vae_samples": 256, "text_samples": 256,
    "dit_samples": 256, "dit_every": 128, "dit_limit": 8, "dit_p": 0,
}  # fmt: skip


@pytest.mark.slow
def test_the_whole_experiment_on_a_few_scenes(tmp_path):
    words = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    done = run_study(ROOT / "studies" / "scenes-mini.yaml", "--root", "mini", *words, cwd=tmp_path)
    assert len(done) == 33 and list(done)[-1] == "report"
    reports = tmp_path / "mini" / "reports"
    for board in ("clip", "captions", "captioner", "dit-scenes", "index", "findings"):
        assert (reports / f"{board}.html").is_file(), board
    clip = (reports / "clip.md").read_text()
    assert "## scenes-tiny-ltxt, 256 samples seen" in clip and "| concat | 1 |" in clip
    assert "what scenes-tiny-p0.5-s0 gets wrong in scenes-long](failures/" in clip
    assert "scenes-tiny-ltxt less scenes-tiny, mean over p from 0 to 1: " in (reports / "findings.md").read_text()
    captions = (reports / "captions.md").read_text()
    for rows in ("scenes-test: 48 rows", "scenes-captioner: 48 rows", "scenes-described: 96 rows"):
        assert f"## {rows} of caption files (drawn scenes, not web data)" in captions
    for model in ("scenes-tiny-p0-s0", "scenes-tiny-p1-s0"):
        assert f"CLIP two-way share (softmax) by {model}, %" in captions
    assert "judge's rating; human rating" in captions.partition("Not run:")[2]
    assert "On the way: scenes-tiny, 256 samples seen" in (reports / "captioner.md").read_text()
    results = tmp_path / "mini/leaderboards/results"
    added = recap("recap-eval", "leaderboard", "add", results, "--leaderboards", tmp_path / "other")  # as `make full` does
    assert added.returncode == 0, added.stderr
    assert added.stdout.count("added: ") == len(list(results.glob("*/*.json")))


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_command_of_a_study_is_one_that_can_be_given(path, tmp_path):
    graph = build_graph(read_study(path, [], tmp_path))
    parsers = {program: import_module(module).build_parser() for program, module in PROGRAMS.items()}
    for node in graph.nodes.values():
        given = parsers[node.words[0]].parse_args(node.words[1:])  # exits if it does not know an option
        assert callable(given.run), node.name
    with pytest.raises(SystemExit):
        parsers["recap-eval"].parse_args(["report", "--of-no-command"])


def test_the_paper_at_its_own_scale_takes_what_its_commands_work_out():
    graph = build_graph(read_study(ROOT / "studies/paper.yaml", []))
    for step, recipe in (("clip-mix-p=0.8", "recap-clip-b16"), ("clip-large-text-p_large=0.8", "recap-clip-b16-ltxt")):
        known = json.loads(
            recap("recap-train", "clip", "--recipe", recipe, "--p-original", "0.8", "--dry-run", "--json").stdout
        )
        assert graph.nodes[step].estimate["gpu_hours"] == pytest.approx(known["total"]["gpu_hours"], rel=0.01)
    assert len(graph.nodes) == 73 and 20_000 < taken(graph, graph.nodes)["gpu_hours"] < 30_000
    text = recap("recap-eval", "study", ROOT / "studies/paper.yaml", "--dry-run").stdout
    assert "$ torchrun --standalone --nproc-per-node 8 -m recap_train.cli clip --data datacomp/shards" in text
    assert "GPU-hours, 71 hours, 156," in text
