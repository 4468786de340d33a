"""Embeddings kept on disk: shared, whole after a kill, never a wrong figure."""

import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from fakes import Card, Oracle
from support import ROOT, recap

from recap_eval.data.items import CaptionedImages, DataId
from recap_eval.embed import Embedder
from recap_eval.models.base import ModelId
from recap_eval.store import NoStore, Store, evict, part_of
from recap_eval.tasks.retrieval import score_retrieval

MODEL = ModelId("m", "r1", {}, {"precision": "fp32"})
NAMES = [f"text {i}" for i in range(20)]


def filled(cache, model=MODEL, names=NAMES, seed=0):
    store = Store(cache, model)
    store.add("texts", names, torch.randn(len(names), 4, generator=torch.Generator().manual_seed(seed)))
    store.flush()
    return store


def test_what_is_kept_is_found_again(tmp_path):
    first = filled(tmp_path)
    again = Store(tmp_path, MODEL)
    assert again.known("texts", [*NAMES, "other"]) == set(NAMES) and again.known("images", NAMES) == set()
    assert torch.equal(again.rows("texts", NAMES[::-1]), first.rows("texts", NAMES[::-1]))


def test_another_model_or_precision_shares_nothing(tmp_path):
    filled(tmp_path)
    for other in (ModelId("m", "r2", {}, MODEL.protocol), ModelId("m", "r1", {}, {"precision": "bf16"})):
        assert Store(tmp_path, other).known("texts", NAMES) == set()
    assert Store(tmp_path, ModelId("renamed", "r1", {"p": 1}, MODEL.protocol)).known("texts", NAMES) == set(NAMES)


def test_segments_of_many_writers_are_read_together(tmp_path):
    writers = [threading.Thread(target=filled, args=(tmp_path, MODEL, NAMES[i::4], i)) for i in range(4)]
    reader = Store(tmp_path, MODEL)
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert reader.known("texts", NAMES) == set(NAMES)  # a reader that was there before sees them too


def test_a_damaged_segment_is_told_and_made_again(tmp_path, capsys):
    store = filled(tmp_path)
    (segment,) = store.folder.glob("texts-*")
    segment.write_bytes(segment.read_bytes()[:-7])
    assert Store(tmp_path, MODEL).known("texts", NAMES) == set()
    assert "is damaged" in capsys.readouterr().err and not segment.exists()


def test_a_disk_that_cannot_be_written_costs_the_cache_only(tmp_path, capsys):
    (tmp_path / "embeddings").write_text("a file where the folder should be")
    store = filled(tmp_path)
    assert store.rows("texts", NAMES).shape == (20, 4)
    assert capsys.readouterr().err.count("warning: embeddings are not kept") == 1


def test_the_models_used_longest_ago_make_room(tmp_path):
    folders = []
    for number in range(3):
        folders.append(filled(tmp_path, ModelId("m", f"r{number}")).folder)
        os.utime(folders[-1] / "about.json", (number, number))
    size = sum(path.stat().st_size for path in folders[2].iterdir())
    assert evict(tmp_path, 10 * size, folders[0]) == []
    assert evict(tmp_path, size + 10, folders[0]) == [folders[1].name, folders[2].name] and folders[0].is_dir()
    assert evict(tmp_path, 0, folders[0]) == []


def test_every_content_is_in_one_part_and_parts_are_even():
    for parts in (1, 3):
        counts = [0] * parts
        for name in (f"text {i}" for i in range(600)):
            counts[part_of(name, parts)] += 1
        assert sum(counts) == 600 and min(counts) > 150


def cards(n=12):
    images = [Card(f"i{i}", i) for i in range(n)]
    return CaptionedImages(DataId("c", "t", "", ""), images, [[f"class {i}", f"noise {i}"] for i in range(n)])


def scores(embedder, data):
    found = score_retrieval(embedder, data).metrics
    return {name: found[name].values.tolist() for name in found}


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_meet_and_nothing_is_embedded_again(tmp_path, parts):
    data, classes = cards(), [f"class {i}" for i in range(12)]
    expected = scores(Embedder(Oracle(list(classes)), progress=False), data)
    for number in range(parts):
        model = Oracle(list(classes))
        Embedder(model, progress=False, store=Store(tmp_path, model.id)).fill(data.images, data.texts(), (number, parts))
    last = Oracle(list(classes))
    assert scores(Embedder(last, progress=False, store=Store(tmp_path, last.id)), data) == expected
    assert last.image_batches == [] and last.text_batches == []


def test_without_a_folder_it_remembers_in_memory():
    store = NoStore()
    store.add("images", ["a", "b"], torch.eye(2))
    store.add("images", ["c"], torch.ones(1, 2))
    assert store.rows("images", ["c", "a"]).tolist() == [[1, 1], [1, 0]] and store.known("images", ["b", "x"]) == {"b"}


def metrics_of(folder):
    records = [json.loads(path.read_text()) for path in sorted((folder / "results").rglob("*.json"))]
    return {record["task"]["name"]: record["metrics"] for record in records}


@pytest.mark.slow
def test_shards_and_torchrun_give_the_figures_of_one_run(model, world, tmp_path):
    words = ["clip", "--model", model, "--data", world, "--no-report", "--tasks", "scenes-long,scenes-attributes"]
    plain = recap("recap-eval", *words, "--out", tmp_path / "one", "--no-cache")
    assert plain.returncode == 0, plain.stderr
    for number in (1, 2):
        part = recap("recap-eval", *words, "--out", tmp_path / "two", "--cache", tmp_path / "c2", "--shard", f"{number}/2")
        assert part.returncode == 0 and f"part {number} of 2" in part.stderr and not (tmp_path / "two").exists()
    assert recap("recap-eval", *words, "--out", tmp_path / "two", "--cache", tmp_path / "c2").returncode == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "recap_eval.cli"]
    rest = [*map(str, words), "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "c3")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch, *rest], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert metrics_of(tmp_path / "one") == metrics_of(tmp_path / "two") == metrics_of(tmp_path / "run")


@pytest.mark.parametrize("word", ["0/2", "3/2", "x", "1/0"])
def test_a_wrong_part_is_a_wrong_request(word):
    from recap_eval.errors import UserError
    from recap_eval.parallel import Team

    with pytest.raises(UserError, match="1 <= I <= N"):
        Team.of(word)


def test_a_part_that_fails_does_not_make_torchrun_kill_the_process_that_scores():
    from recap_eval.commands.clip import _end_part
    from recap_eval.errors import DataError
    from recap_eval.parallel import Team

    failed = [("m", "t", DataError("a bad image", "mend it"))]
    assert _end_part(Team((1, 2), False, True, None), failed) == 0
    assert _end_part(Team((1, 2), False, False, None), failed) == 1
    assert _end_part(Team((1, 2), False, False, None), []) == 0
