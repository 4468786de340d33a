"""The run: seeds, exactly once, resumed, in parts; refused where it is another. With a model that paints noise."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from painters import Painter, paint
from PIL import Image
from support import ROOT, assert_two_line_error, recap, recap_apart

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_eval.generate import run as run_module
from recap_eval.generate.finish import finish
from recap_eval.generate.manifest import read_manifest, read_parts
from recap_eval.generate.own import OwnImageModel
from recap_eval.generate.plan import batches, plan, seed_of
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.generate.run import Job, generate_images

PAINTER = str(Path(__file__).parents[1] / "painters.py")


def prompt_set(n=10, shift=0):
    return PromptSet("numbers", tuple(Prompt(f"id/{number + shift}", f"prompt {number + shift}") for number in range(n)))


def painter(kind=Painter):
    return OwnImageModel(kind(), kind.__name__, Path(PAINTER))


def complete(job, model=None, shard=None):
    model = model or painter()
    progress = generate_images(model, job, shard, progress=False)
    return progress, finish(model, job, 1.0)


def contents(folder):
    """Return all images' digests by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "images").rglob("*.png"))}


def test_a_seed_is_a_function_of_run_prompt_and_sample_alone():
    seeds = {seed_of(run, key, sample) for run in range(3) for key in ("a", "b", "1") for sample in range(4)}
    assert len(seeds) == 36 and all(0 <= seed < 2**63 for seed in seeds)
    one, two = (plan(prompts, 2, 7, ".png") for prompts in (prompt_set(10), prompt_set(5, 5)))
    assert {item.key: item.seed for item in two}.items() <= {item.key: item.seed for item in one}.items()


def test_a_seed_never_changes():
    """Frozen: images of published results could not be made again otherwise."""
    assert [seed_of(0, "a", 0), seed_of(1, "COCO_val2014_000000000042.jpg", 3)] == FROZEN


FROZEN = [8644949954673307489, 8570086465398047129]


def test_the_grid_of_batches_is_the_same_in_any_number_of_parts():
    items = plan(prompt_set(23), 1, 0, ".png")
    whole = batches(items, 4)
    for count in (1, 2, 5, 9):
        parts = [batch for number in range(count) for batch in batches(items, 4, (number, count))]
        assert sorted(batch[0].file for batch in parts) == sorted(batch[0].file for batch in whole)
        assert all(batch in whole for batch in parts)


def test_a_run_makes_every_image_once_and_says_what_it_made(tmp_path):
    job = Job(tmp_path / "out", prompt_set(10), samples=2, seed=5, batch_size=3)
    progress, standing = complete(job)
    rows = read_manifest(job.out / "manifest.jsonl")
    assert progress.made == standing.done == 20 and not standing.failed
    assert [(row.id, row.sample) for row in rows] == [(f"id/{n}", s) for n in range(10) for s in range(2)]
    for row in rows:
        payload = (job.out / row.file).read_bytes()
        assert hashlib.sha256(payload).hexdigest() == row.image_sha256 and len(payload) == row.bytes
        assert hashlib.sha256(row.prompt.encode()).hexdigest() == row.prompt_sha256
        assert row.seed == seed_of(5, row.id, row.sample) and (row.width, row.height) == (8, 8)
        assert np.array_equal(np.asarray(Image.open(job.out / row.file)), np.asarray(paint(row.prompt, row.seed)))
    artifact = find_artifact(job.out)
    verify(job.out, artifact)
    assert artifact.kind == "images" and list(artifact.files) == ["manifest.jsonl"]
    assert artifact.made["model"]["revision"] == "own:1" and artifact.made["sampling"]["seed"] == 5
    assert artifact.made["prompts"]["fingerprint"] == job.prompts.fingerprint and artifact.made["images"] == 20
    assert artifact.made["images_per_second"] > 0 and artifact.run["packages"]["diffusers"]


def test_names_of_files_are_safe_and_distinct():
    hostile = ("../../x", "..\\x", "a/b", "a_b", "ü" * 300, "x\0y", "CON", "a b")
    items = plan(PromptSet("hostile", tuple(Prompt(key, "x") for key in hostile)), 1, 0, ".png")
    assert len({item.file for item in items}) == len(hostile)
    for item in items:
        folder, thousand, name = Path(item.file).parts
        assert (folder, thousand) == ("images", "00000") and len(name) < 60 and name.isascii() and "\0" not in name
    many = plan(prompt_set(2001), 1, 0, ".png")
    assert Counter(Path(item.file).parent.name for item in many) == {"00000": 1000, "00001": 1000, "00002": 1}


@pytest.mark.parametrize(("count", "size"), [(1, 3), (2, 3), (3, 4), (7, 1)])
def test_the_same_images_at_any_number_of_parts_and_batch_size(tmp_path, count, size):
    _, whole = complete(Job(tmp_path / "whole", prompt_set(10), batch_size=8))
    job = Job(tmp_path / "parts", prompt_set(10), batch_size=size)
    standings = [complete(job, shard=(number, count))[1] for number in reversed(range(count))]
    assert standings[-1].artifact is not None and all(one.artifact is None for one in standings[:-1])
    assert contents(job.out) == contents(tmp_path / "whole")
    assert standings[-1].artifact.revision == whole.artifact.revision
    assert len(read_parts(job.out)) == 10


def test_a_second_run_makes_nothing_and_changes_nothing(tmp_path):
    job = Job(tmp_path / "out", prompt_set(), batch_size=4)
    complete(job)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in job.out.rglob("*") if path.name != "manifest.jsonl"
              and path.is_file()}  # fmt: skip
    model = painter()
    progress, standing = complete(job, model)
    assert progress.made == 0 and progress.found == 10 and model._subject.batches == [] and standing.done == 10
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


def test_missing_and_cut_files_are_made_again_and_nothing_else(tmp_path):
    job = Job(tmp_path / "out", prompt_set(12), batch_size=4)
    _, first = complete(job)
    before = contents(job.out)
    files = sorted((job.out / "images").rglob("*.png"))
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:20])
    stay = files[0].stat().st_ino
    model = painter()
    progress, standing = complete(job, model)
    assert progress.made == 2 and model._subject.batches == [4]
    assert contents(job.out) == before and files[0].stat().st_ino == stay
    assert standing.artifact.revision == first.artifact.revision


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 1}, "seed"), ({"samples": 2}, "samples"), ({"form": "jpg"}, "format"),
        ({"prompts": prompt_set(10, 1)}, "prompts"), ({"prompts": prompt_set(9)}, "prompts"),
    ],
)  # fmt: skip
def test_another_run_in_the_same_folder_is_refused_and_the_field_named(tmp_path, change, field):
    job = Job(tmp_path / "out", prompt_set(10))
    complete(job)
    before = contents(job.out)
    with pytest.raises(UserError, match=f"begun with {field}"):
        complete(Job(**{"out": job.out, "prompts": job.prompts} | change))
    assert contents(job.out) == before


def test_another_model_is_refused_and_a_strange_folder_too(tmp_path):
    from painters import Other

    job = Job(tmp_path / "out", prompt_set(3))
    complete(job)
    with pytest.raises(UserError, match=r"begun with weights own:1, not own:2"):
        complete(job, painter(Other))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds no generation"):
        complete(Job(tmp_path / "full", prompt_set(3)))


def test_a_failure_is_a_row_and_is_tried_again(tmp_path, monkeypatch):
    job = Job(tmp_path / "out", prompt_set(10), batch_size=4)
    monkeypatch.setenv("PAINTER", "hate:t 5")
    progress, standing = complete(job)
    assert progress.made == 9 and [made.row.id for made in standing.failed] == ["id/5"]
    failed = next(row for row in read_manifest(job.out / "manifest.jsonl") if row.error)
    assert failed.id == "id/5" and failed.error == "ValueError: I hate t 5" and failed.file == ""
    assert standing.artifact.made["failed"] == 1 and standing.artifact.made["images"] == 9
    monkeypatch.delenv("PAINTER")
    progress, standing = complete(job)
    assert progress.made == 1 and not standing.failed and standing.artifact.made["failed"] == 0
    complete(Job(tmp_path / "whole", prompt_set(10), batch_size=4))
    assert contents(job.out) == contents(tmp_path / "whole")


def test_a_model_that_only_fails_is_given_up_and_claims_no_folder(tmp_path, monkeypatch):
    job = Job(tmp_path / "out", prompt_set(100), batch_size=4)
    monkeypatch.setenv("PAINTER", "hate:prompt")
    model = painter()
    with pytest.raises(DataError, match="I hate prompt"):
        complete(job, model)
    assert len(model._subject.batches) == 10  # two batches, and each of their images
    monkeypatch.delenv("PAINTER")
    _, standing = complete(Job(job.out, job.prompts, seed=3, batch_size=4))
    assert standing.done == 100 and standing.artifact.made["sampling"]["seed"] == 3


def test_not_enough_memory_is_no_failure_of_a_prompt(tmp_path):
    import torch

    class Large(Painter):
        def generate(self, prompts, seeds):
            raise torch.OutOfMemoryError("no")

    with pytest.raises(DataError, match="4 images at once do not fit") as caught:
        complete(Job(tmp_path / "out", prompt_set(), batch_size=4), painter(Large))
    assert "--batch-size" in caught.value.hint


def test_a_line_cut_short_by_a_kill_is_taken_out(tmp_path):
    job = Job(tmp_path / "out", prompt_set(8), batch_size=2)
    complete(job)
    before = contents(job.out)
    part = job.out / "parts" / "part-00001-of-00001.jsonl"
    part.write_bytes(part.read_bytes()[:-30])
    progress, standing = complete(job)
    assert progress.made == 1 and standing.done == 8 and contents(job.out) == before
    assert all(json.loads(line) for line in part.read_text().splitlines())
    part.write_text(part.read_text().replace('{"batch_size"', '{"batch', 1))
    with pytest.raises(DataError, match=r"part-00001-of-00001.jsonl: line 1"):
        complete(job)


def test_two_processes_do_not_make_the_same_part(tmp_path):
    from recap_eval.generate.manifest import open_part

    job = Job(tmp_path / "out", prompt_set(3))
    complete(job)
    with open_part(job.out, None), pytest.raises(UserError, match="Another process is generating into"):
        complete(job)
    with open_part(job.out, (0, 2)):
        complete(job, shard=(1, 2))


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_formats(tmp_path, form, kind):
    job = Job(tmp_path / "out", prompt_set(1), form=form)
    complete(job)
    row = read_manifest(job.out / "manifest.jsonl")[0]
    found = Image.open(job.out / row.file)
    assert found.format == kind and row.file.endswith(f".{form}")
    if form != "jpg":
        assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(paint(row.prompt, row.seed)))


def command(folder, *words):
    prompts = folder / "p.txt"
    if not prompts.exists():
        prompts.write_text("".join(f"prompt {n}\n" for n in range(12)))
    return ["--model", f"{PAINTER}:Painter", "--prompts", prompts, "--out", folder / "out", "--batch-size", 2, *words]


def test_the_command(tmp_path):
    done = recap("recap-eval", "generate", *command(tmp_path, "--json"))
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["made"] == facts["images"] == 12 and facts["revision"] == find_artifact(tmp_path / "out").revision
    again = recap("recap-eval", "generate", *command(tmp_path))
    assert again.returncode == 0 and "12 of 12 images (0 made now)" in again.stdout
    other = recap("recap-eval", "generate", *command(tmp_path, "--seed", 1))
    assert_two_line_error(other, 2, "begun with seed 0, not 1", "--out")
    for kind, told in (("Mute", "no method generate"), ("Nobody", "has no 'Nobody'"), ("Few", "gave 1 of Image for 2 prompts")):
        words = ["--model", f"{PAINTER}:{kind}", "--prompts", tmp_path / "p.txt", "--out", tmp_path / kind, "--batch-size", 2]
        assert_two_line_error(recap("recap-eval", "generate", *words), 2, told)
    assert_two_line_error(recap("recap-eval", "generate", *command(tmp_path, "--steps", 3)), 2, "samples by itself")


def test_parts_by_command(tmp_path):
    first = recap("recap-eval", "generate", *command(tmp_path, "--shard", "1/2"))
    assert first.returncode == 0 and "6 are missing" in first.stdout and not (tmp_path / "out" / "artifact.json").exists()
    last = recap("recap-eval", "generate", *command(tmp_path, "--shard", "2/2"))
    assert last.returncode == 0 and "12 of 12 images (6 made now" in last.stdout and find_artifact(tmp_path / "out")


def test_a_full_disk_is_told_and_what_was_made_is_kept(tmp_path):
    done = recap_apart("recap-eval", "generate", *command(tmp_path), largest_file=1800)
    assert_two_line_error(done, 1, "Cannot write", "free some space")
    again = recap("recap-eval", "generate", *command(tmp_path))
    assert again.returncode == 0 and "12 of 12 images" in again.stdout


def start(folder, steer, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PAINTER": steer}
    return subprocess.Popen(
        [sys.executable, "-m", "recap_eval.cli", "generate", *map(str, command(folder, *words))],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def heed_ctrl_c():
    """Undo what a shell does to its background jobs, in one of which these tests may run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.serial
def test_killed_in_the_middle_it_goes_on_to_the_same_images(tmp_path):
    (tmp_path / "whole").mkdir()
    assert recap("recap-eval", "generate", *command(tmp_path / "whole")).returncode == 0
    for batch in (2, 3):
        child = start(tmp_path, f"die:{batch}")
        child.communicate(timeout=120)
        assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "artifact.json").exists()
    made = len(contents(tmp_path / "out"))
    (tmp_path / "out" / "images" / "00000" / ".0000009-x.png.abc.part").write_bytes(b"half")  # as a kill while writing leaves
    done = recap("recap-eval", "generate", *command(tmp_path))
    assert done.returncode == 0 and f"{12 - made} made now" in done.stdout and made == 6
    assert contents(tmp_path / "out") == contents(tmp_path / "whole" / "out")
    assert find_artifact(tmp_path / "out").revision == find_artifact(tmp_path / "whole" / "out").revision
    assert not list((tmp_path / "out").rglob("*.part"))
    assert max(Counter(made.row.key for made in read_parts(tmp_path / "out")).values()) == 1


@pytest.mark.serial
def test_ctrl_c_keeps_what_was_made_and_says_how_to_go_on(tmp_path):
    child = start(tmp_path, "slow")
    until = time.monotonic() + 60
    while len(contents(tmp_path / "out")) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    done = recap("recap-eval", "generate", *command(tmp_path))
    assert done.returncode == 0 and "12 of 12 images" in done.stdout and "(12 made" not in done.stdout


@pytest.mark.serial
def test_torchrun_makes_what_one_process_makes(tmp_path):
    from ranked import free_port

    (tmp_path / "whole").mkdir()
    assert recap("recap-eval", "generate", *command(tmp_path / "whole")).returncode == 0
    command(tmp_path)
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "PYTHONPATH": str(ROOT)}
    words, pipe = [sys.executable, "-m", "recap_eval.cli", "generate", *map(str, command(tmp_path))], subprocess.PIPE
    children = [
        subprocess.Popen(
            words, env=os.environ | where | {"RANK": rank, "LOCAL_RANK": rank}, stdout=pipe, stderr=pipe, text=True
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert "12 of 12 images" in said[0][0] and said[1][0] == ""
    assert contents(tmp_path / "out") == contents(tmp_path / "whole" / "out")
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 2


def test_batches_of_which_something_is_missing_are_made_as_a_whole(tmp_path, monkeypatch):
    """So that an image's neighbours, which can change its rounding, are those of an uninterrupted run."""
    seen = []

    class Watched(Painter):
        def generate(self, prompts, seeds):
            seen.append(tuple(prompts))
            return super().generate(prompts, seeds)

    job = Job(tmp_path / "out", prompt_set(8), batch_size=4)
    complete(job, painter(Watched))
    sorted((job.out / "images").rglob("*.png"))[6].unlink()
    whole, seen[:] = list(seen), []
    complete(job, painter(Watched))
    assert seen == [whole[1]]
    assert run_module.PATIENCE == 8


def test_a_copied_folder_is_the_same_artifact(tmp_path):
    job = Job(tmp_path / "out", prompt_set(3))
    complete(job)
    shutil.copytree(job.out, tmp_path / "copy")
    assert find_artifact(tmp_path / "copy").revision == find_artifact(job.out).revision


def test_hostile_prompts_survive_the_manifest(tmp_path):
    texts = ("a\u2028b", "a\x85b", "a\x0bb\x1cc", 'quote " and \\ back', "zwei\nZeilen\r\n", "<script>", "\ufeffx", "\0")
    prompts = PromptSet("hostile", tuple(Prompt(f"{n}{text}", f"p{text}") for n, text in enumerate(texts)))
    job = Job(tmp_path / "out", prompts)
    complete(job)
    assert [(row.id, row.prompt) for row in read_manifest(job.out / "manifest.jsonl")] == [
        (p.id, p.text) for p in prompts.prompts
    ]
    assert complete(job)[0].made == 0
