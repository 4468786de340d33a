"""Study files: what is read, what graph it makes, and every mistake told before anything runs."""

import json
from collections import Counter
from pathlib import Path

import pytest
from support import ROOT, assert_two_line_error, recap

from recap_eval.errors import UserError
from recap_eval.study.graph import build_graph
from recap_eval.study.run import command_line, started
from recap_eval.study.spec import read_study
from recap_eval.study.state import Stamp, duration, rates, read_stamps, remaining, taken, taken_text, write_stamp

STUDY = """
name: tiny
root: work
parameters:
  size: 10
  extra: [--a, b c]
grid:
  seed: [0, 1]
  p: [0, 0.50, 1.0]
steps:
  - name: data
    command: recap-eval scenes {out} --n {size} {extra}
    out: "{root}/data"
  - name: clip
    over: [seed, p]
    command: recap-train clip --data {steps.data.out} --p-original {p} --seed {seed} --out {out}
    out: "{root}/clip-{p}-{seed}"
  - name: best
    over: [p]
    command: [recap-eval, compare, "{steps.clip.out}", "--also={steps.clip.out}", "{{p}}"]
  - name: report
    command: recap-eval report clip
    needs: [best]
    always: true
"""


def graph_of(tmp_path, text=STUDY, sets=(), root=None):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return build_graph(read_study(path, list(sets), root))


def test_nodes_words_and_needs(tmp_path):
    graph = graph_of(tmp_path)
    assert len(graph.nodes) == 1 + 6 + 3 + 1
    clip = graph.nodes["clip-seed=1-p=0.50"]
    assert clip.words == (
        "recap-train", "clip", "--data", "work/data", "--p-original", "0.50", "--seed", "1", "--out", "work/clip-0.50-1",
    )  # fmt: skip
    assert clip.needs == ("data",) and graph.nodes["data"].words[-3:] == ("10", "--a", "b c")
    best = graph.nodes["best-p=1.0"]
    assert best.words[2:] == ("work/clip-1.0-0", "work/clip-1.0-1", "--also=work/clip-1.0-0", "--also=work/clip-1.0-1", "{p}")
    assert best.needs == ("clip-seed=0-p=1.0", "clip-seed=1-p=1.0")
    assert set(graph.nodes["report"].needs) == {"best-p=0", "best-p=0.50", "best-p=1.0"}
    seen = set()
    for name, node in graph.nodes.items():
        assert set(node.needs) <= seen
        seen.add(name)


def test_keys_follow_commands_and_inputs_and_not_the_root(tmp_path):
    keys = {name: node.key for name, node in graph_of(tmp_path).nodes.items()}
    assert len(set(keys.values())) == len(keys)
    moved = graph_of(tmp_path, root=tmp_path / "elsewhere").nodes
    assert {name: node.key for name, node in moved.items()} == keys
    assert moved["data"].out == tmp_path / "elsewhere" / "data"
    larger = {name: node.key for name, node in graph_of(tmp_path, sets=["size=11"]).nodes.items()}
    assert all(larger[name] != keys[name] for name in keys)
    changed = graph_of(tmp_path, STUDY.replace("compare,", "compare, --json,")).nodes
    assert {name for name in keys if changed[name].key != keys[name]} == {"best-p=0", "best-p=0.50", "best-p=1.0", "report"}


def test_set_overrides_axes_parameters_and_lists(tmp_path):
    graph = graph_of(tmp_path, sets=["p=0.25", "seed=7", "extra=--x 'y z'", "size=6_0"])
    assert set(graph.nodes) == {"data", "clip-seed=7-p=0.25", "best-p=0.25", "report"}
    assert graph.nodes["data"].words[-4:] == ("--n", "6_0", "--x", "y z")[-4:]
    assert graph_of(tmp_path, sets=["extra="]).nodes["data"].words[-1] == "10"


def test_select_takes_what_is_needed(tmp_path):
    graph = graph_of(tmp_path)
    assert graph.select(["best-p=0"]) == {"best-p=0", "clip-seed=0-p=0", "clip-seed=1-p=0", "data"}
    assert graph.select(["data", "best-p=0"]) == graph.select(["best-p=0"])
    assert graph.select(None) == set(graph.nodes)
    assert graph.dependants("clip-seed=0-p=0") == {"best-p=0", "report"}
    with pytest.raises(UserError, match="Unknown node 'bets-p=0'"):
        graph.select(["best-p=0", "bets-p=0"])


BAD = [
    ("name: tiny", "nmae: tiny", "Unknown key 'nmae'"),
    ("name: tiny", "name: tiny\nname: twice", ":3: 'name' stands there twice"),
    ("name: tiny", "name: [", "is not YAML"),
    ("root: work\n", "", "root is missing"),
    ("[0, 1]\n", "[0, 0]\n", "axis seed holds 0 twice"),
    ("[0, 1]\n", "[]\n", "axis seed has no value"),
    ("  size: 10", "  seed: 10", "seed is both an axis and a parameter"),
    ("  size: 10", "  root: 10", "'root' cannot be a name"),
    ("  size: 10", '  size: "{p}"', "Parameter size holds {p}"),
    ("recap-eval report clip", "rm -rf /", "step report: 'rm' is not a command of ours"),
    ("recap-eval report clip", "/bin/recap-eval report", "is not a command of ours"),
    ("recap-eval report clip", "recap-eval study s.yaml", "a study runs no study"),
    ("recap-eval report clip", "recap-eval report 'clip", "quotes do not match"),
    ("recap-eval report clip", "recap-eval report {sise}", "Step report: Unknown placeholder 'sise'."),
    ("recap-eval report clip", "recap-eval report {p}", "says {p} but is not repeated over it"),
    ("recap-eval report clip", "recap-eval report {out}", "step report has no out"),
    ("recap-eval report clip", "recap-eval report {steps.best.out}", "step best has no out"),
    ("recap-eval report clip", "recap-eval report {steps.bets.out}", "Step report: Unknown step 'bets'."),
    ("recap-eval report clip", "recap-eval report {steps.best}", "unknown placeholder {steps.best}"),
    ("recap-eval report clip", "recap-eval report {size", "expected '}' before end of string"),
    ("recap-eval report clip", "recap-eval report {size!r}", "holds no plain name"),
    ("recap-eval report clip", "recap-eval report {steps.clip.out}{extra}", "two placeholders of several values"),
    ("needs: [best]", "needs: [bst]", "Unknown step 'bst'"),
    ("over: [p]", "over: [q]", "Unknown axis 'q'"),
    ("over: [p]", "over: [p, p]", "stands twice in over"),
    ("over: [p]", "ovre: [p]", "Unknown key 'ovre'"),
    ("always: true", "always: maybe", "always is 'maybe'"),
    ("- name: report", "- name: best", "Two steps are called best"),
    ('out: "{root}/clip-{p}-{seed}"', 'out: "{root}/clip-{p}"', "have the same out: {root}/clip-0."),
    ('out: "{root}/clip-{p}-{seed}"', 'out: "{root}/./data"', "clip-seed=0-p=0 have the same out: {root}/data."),
    ('out: "{root}/data"', 'out: "{root}/data"\n    needs: [report]', "Steps need each other: "),
    ("steps:", "steps: 3\nabout:", "should be a list"),
]


@pytest.mark.parametrize(("old", "new", "what"), BAD)
def test_mistakes_are_told_with_their_place(tmp_path, old, new, what):
    assert old in STUDY
    with pytest.raises(UserError) as caught:
        graph_of(tmp_path, STUDY.replace(old, new, 1))
    assert what in caught.value.what and caught.value.hint


@pytest.mark.parametrize(("text", "what"), [("seeds=0", "Unknown parameter or axis 'seeds'"), ("seed", "not NAME=VALUE")])
def test_wrong_overrides(tmp_path, text, what):
    with pytest.raises(UserError) as caught:
        graph_of(tmp_path, sets=[text])
    assert what in caught.value.what


def test_a_circle_is_told_step_by_step(tmp_path):
    with pytest.raises(UserError, match=r"data needs report needs best needs clip needs data|report needs best needs clip"):
        graph_of(tmp_path, STUDY.replace('out: "{root}/data"', 'out: "{root}/data"\n    needs: [report]'))


def test_a_mistake_at_the_command_line_is_two_lines(tmp_path):
    (tmp_path / "s.yaml").write_text(STUDY.replace("{size}", "{sise}"))
    assert_two_line_error(recap("recap-eval", "study", "s.yaml", cwd=tmp_path), 2, "Unknown placeholder 'sise'", "'size'")
    assert_two_line_error(recap("recap-eval", "study", "none.yaml", cwd=tmp_path), 2, "none.yaml cannot be read")
    assert not (tmp_path / "work").exists()


def test_stamps_count_only_with_their_key_and_what_was_made(tmp_path):
    graph = graph_of(tmp_path, root=tmp_path / "w")
    data, report = graph.nodes["data"], graph.nodes["report"]
    write_stamp(graph.root, data, 3.0, False)
    write_stamp(graph.root, report, 1.0, False)
    assert set(read_stamps(graph)) == {"report"}
    data.out.mkdir(parents=True)
    assert set(read_stamps(graph)) == {"data", "report"}
    assert set(read_stamps(graph_of(tmp_path, sets=["size=11"], root=tmp_path / "w"))) == set()
    (graph.root / "done" / "data.json").write_text("{")
    assert set(read_stamps(graph)) == {"report"}


def test_estimates(tmp_path):
    graph = graph_of(tmp_path)
    names = [name for name in graph.nodes if name.startswith("clip")]
    stamps = {names[0]: Stamp("", 10, False, []), names[1]: Stamp("", 20, False, []), names[2]: Stamp("", 1, True, [])}
    assert rates(graph, stamps) == {"clip": 15.0}
    assert rates(graph, {names[2]: Stamp("", 1, True, [])}) == {"clip": 1.0}
    found = remaining(graph, {names[3]: 5.0, names[4]: 0.0, "report": 0.0}, {"clip": 15.0}, 1)
    assert (found.seconds, found.nodes, found.unknown) == (25.0, 2, ("report",))
    assert found.text() == "about 25 s; no time known yet for report"
    assert remaining(graph, {names[3]: 5.0, names[4]: 0.0}, {"clip": 15.0}, 2).seconds == 15.0
    assert [duration(s) for s in (3, 125, 1900, 8000)] == ["3 s", "2 min 5 s", "32 min", "2 h 13 min"]


def test_a_shipped_study_is_commands_that_can_be_typed(tmp_path):
    done = recap("recap-eval", "study", ROOT / "studies" / "clip-mix.yaml", "--root", "b", "--dry-run", "--json", cwd=tmp_path)
    nodes = {node["name"]: " ".join(node["command"]) for node in json.loads(done.stdout)["nodes"]}
    assert len(nodes) == 29 and nodes["scenes"] == "recap-eval scenes b/scenes --preset v1"
    assert nodes["clip-seed=2-p=0.5"] == (
        "recap-train clip --data b/scenes --model scenes-tiny --p-original 0.5 --samples-seen 160000 --seed 2 "
        "--out b/clip-p0.5-s2 --no-eval"
    )
    assert nodes["eval-seed=2-p=0.5"] == (
        "recap-eval clip --model b/clip-p0.5-s2 --data b/scenes --out b/leaderboards --no-report"
    )
    assert nodes["report"] == "recap-eval report clip --leaderboards b/leaderboards --out b/reports"


def test_the_committed_results_of_the_whole_experiment_were_made_by_its_commands():
    graph = build_graph(read_study(ROOT / "studies" / "scenes-full.yaml", [], Path("build/full")))
    commands = {command_line(node) for node in graph.nodes.values()}
    made = Counter()
    for path in sorted((ROOT / "leaderboards" / "results").glob("*/*.json")):
        record = json.loads(path.read_text())
        if "build/full" in record["run"].get("command", ""):
            on_the_way = "/evals/samples-" in record["run"]["command"]  # which a training gives by itself
            assert on_the_way or record["run"]["command"] in commands, path
            made[record["task"]["name"]] += 1
    assert made["scenes-zeroshot"] == 69 and made["captions-truth"] == 6
    assert (
        made["t2i-scenes-truth"] == made["t2i-fd"] == 64
    )  # of sixteen transformers, half way and at the end, by both kinds of prompts


def test_processes_and_estimates(tmp_path):
    text = STUDY.replace(
        "  - name: clip\n", "  - name: clip\n    processes: '{size}'\n    estimate: {gpu_hours: 1.5, disk_gb: 2}\n"
    )
    graph, plain = graph_of(tmp_path, text, sets=["size=8"]), graph_of(tmp_path, sets=["size=8"])
    node = graph.nodes["clip-seed=0-p=0"]
    assert node.processes == 8 and node.key == plain.nodes[node.name].key, "another number of processes is the same run"
    assert started(node)[1:7] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8", "-m"]
    assert started(node)[7:9] == ["recap_train.cli", "clip"] and started(plain.nodes[node.name])[1:3] == [
        "-m",
        "recap_train.cli",
    ]
    assert command_line(node).startswith("torchrun --standalone --nproc-per-node 8 -m recap_train.cli clip --data work/data ")
    assert taken(graph, graph.nodes) == {"gpu_hours": 9.0, "disk_gb": 12.0} and taken(plain, plain.nodes) == {}
    for wrong, told in (("{gpu_hours: many}", "gpu_hours is 'many'"), ("{disk_gb: -1}", "disk_gb"), ("{eur: 1}", "'eur'")):
        with pytest.raises(UserError, match=told):
            graph_of(tmp_path, text.replace("{gpu_hours: 1.5, disk_gb: 2}", wrong))
    with pytest.raises(UserError, match="processes is 'none'"):
        graph_of(tmp_path, text.replace("'{size}'", "none"))


def test_hours_that_the_author_reckons_count_until_a_node_has_told(tmp_path):
    text = STUDY.replace("  - name: clip\n", "  - name: clip\n    estimate: {hours: 2}\n")
    graph = graph_of(tmp_path, text, root=tmp_path / "w")
    assert rates(graph, {}) == {"clip": 7200.0}
    name = "clip-seed=0-p=0"
    told = {name: Stamp(graph.nodes[name].key, 60.0, False, [])}
    assert rates(graph, told) == {"clip": 60.0}


def test_time_is_reckoned_from_seconds_and_from_samples_at_a_speed_which_may_be_parameters(tmp_path):
    text = STUDY.replace("  - name: clip\n", "  - name: clip\n    estimate: {samples: '{size}', per_second: 4, seconds: 10}\n")
    graph = graph_of(tmp_path, text, sets=["size=8"], root=tmp_path / "w")
    assert rates(graph, {}) == {"clip": pytest.approx(12.0)}
    assert rates(graph_of(tmp_path, text, sets=["size=400"]), {}) == {"clip": pytest.approx(110.0)}
    assert taken_text(taken(graph, ["clip-seed=0-p=0"])) == "12 s" and taken_text({"hours": 1.5}) == "1.5 hours"
    assert graph.nodes["clip-seed=0-p=0"].key == graph_of(tmp_path, sets=["size=8"]).nodes["clip-seed=0-p=0"].key
    for wrong, told in (
        ("{samples: 3}", "at a speed"), ("{per_second: 3}", "at a speed"), ("{samples: 3, per_second: 0}", "at a speed"),
        ("{seconds: '{nothing}'}", "nothing"), ("{seconds: soon}", "seconds is 'soon'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            graph_of(tmp_path, text.replace("{samples: '{size}', per_second: 4, seconds: 10}", wrong))


def test_a_study_that_extends_another_says_only_what_differs(tmp_path):
    (tmp_path / "base.yaml").write_text(STUDY)
    small = tmp_path / "small.yaml"
    small.write_text("extends: base.yaml\nname: small\nroot: elsewhere\nparameters: {size: 7}\ngrid: {p: [0.5]}\n")
    base, found = read_study(tmp_path / "base.yaml", []), read_study(small, [])
    assert (found.name, found.root, found.steps) == ("small", "elsewhere", base.steps)
    assert found.parameters == base.parameters | {"size": "7"} and found.grid == base.grid | {"p": ("0.5",)}
    assert read_study(small, ["size=8"]).parameters["size"] == "8"
    for words, what in (
        ("extends: none.yaml\n", r"none\.yaml cannot be read"),
        ("extends: base.yaml\nparameters: {siz: 7}\n", "Unknown key 'siz'"),
        ("extends: base.yaml\nsteps: []\n", "steps of its own"),
        ("extends: small.yaml\n", "extends another"),
    ):
        other = tmp_path / "other.yaml"
        other.write_text(words)
        with pytest.raises(UserError, match=what):
            read_study(other, [])
