import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from records import put, scores

from recap_eval.data.items import DataId
from recap_eval.errors import DataError
from recap_eval.files import canonical_json, read_json, replacing, write_json
from recap_eval.models.base import ModelId
from recap_eval.results import (
    disagreement,
    identity,
    new_record,
    read_result,
    read_results,
    result_path,
    settings_of,
    slug,
    write_result,
)
from recap_eval.tasks.base import ItemScores, Metric, Scores, Task
from recap_eval.tasks.catalog import Row

SOURCE = DataId("cards", "test", "f" * 64, "cards")
MODEL = ModelId("org/epoch_10.pt", "rev1")
ROW = Row("pairs", "", "")
METRICS = (Metric("acc", "accuracy", 0.5),)
TASK = Task("t", 1, "pairs", "", METRICS, {"tie_rule": "half"}, bool, str, lambda e, d: Scores({}), ROW)
SCORES = Scores({"acc": ItemScores(["a#0", "a#1", "b#0"], ["a", "a", "b"], np.array([1.0, 0.0, 1.0]))}, {"tie_share": 1 / 3})


def written(root, model=MODEL, source=SOURCE, limit=None, bad=None):
    settings = settings_of(TASK, model, limit)
    path = result_path(root, TASK, model, identity(TASK, model, source, settings))
    return write_result(path, new_record(TASK, model, source, settings, SCORES, bad or {}) | {"run": {}}, SCORES)


def test_what_is_written_is_read(tmp_path):
    result = written(tmp_path)
    (back,) = read_results(tmp_path)
    assert back.record == result.record
    cell = back.record["metrics"]["acc"]
    assert cell["value"] == pytest.approx(2 / 3) and cell["n"] == 3 and cell["n_clusters"] == 2 and cell["chance"] == 0.5
    assert cell["ci95"][0] < 2 / 3 < cell["ci95"][1] and cell["se"] > 0
    items = back.items("acc")
    assert items.items == ["a#0", "a#1", "b#0"] and items.clusters == ["a", "a", "b"]
    assert items.values.tolist() == [1.0, 0.0, 1.0]


def test_another_question_has_another_file(tmp_path):
    paths = {
        written(tmp_path).path,
        written(tmp_path, limit=2).path,
        written(tmp_path, source=DataId("cards", "test", "0" * 64, "cards")).path,
        written(tmp_path, model=ModelId(MODEL.name, "rev1", {}, {"precision": "bf16"})).path,
        written(tmp_path, model=ModelId(MODEL.name, "rev2")).path,
    }
    assert len(paths) == 5


def test_partial_results_say_so(tmp_path):
    assert not written(tmp_path).partial
    assert written(tmp_path, limit=2).partial
    bad = written(tmp_path, bad={"x.jpg": "not an image"})
    assert bad.partial and bad.record["skipped"] == [{"item": "x.jpg", "reason": "not an image"}]


def test_the_folder_of_an_extractor_is_no_part_of_the_protocol(tmp_path):
    network = {"extractor.network": "clip:scorer", "extractor.weights": "w"}
    ways = [
        ("clip:a/scorer", {}),
        ("clip:scorer", {}),
        ("clip-raw:a/scorer", {}),
        ("clip:a/scorer", {"extractor.weights": "v"}),
    ]
    one, two, raw, other = (
        put(tmp_path, "t2i-fd", f"m{number}", {"fd": scores([1, 2])}, settings={"extractor": word} | network | more)
        for number, (word, more) in enumerate(ways)
    )
    assert one.protocol() == two.protocol() and raw.protocol()["settings.extractor"] == "clip-raw:scorer"
    assert disagreement(one.protocol(), other.protocol()) == ["settings.extractor.weights is w, not v"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metrics": {}}', '{"metrics": {}, "items": {}, "schema_version": 99}'])
def test_a_damaged_record_is_named(tmp_path, content):
    path = written(tmp_path).path
    path.write_text(content)
    with pytest.raises(DataError, match=path.name):
        read_results(tmp_path)


def test_changed_items_are_refused(tmp_path):
    result = written(tmp_path)
    result.path.with_suffix(".parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="missing or was changed"):
        read_result(result.path).items("acc")


def test_file_names():
    assert slug("hf-hub:org/na me") == "hf-hub-org-na-me" and slug("../..") == "model"


def test_canonical_json_has_one_form_and_no_nan():
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"v": 1})
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"v": 1} and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_is_told():
    with pytest.raises(DataError, match="Cannot write"):
        write_json(Path("/dev/full/x.json"), {})


@pytest.mark.serial
def test_killed_at_any_moment_no_half_result_is_read(tmp_path):
    """A writer is killed again and again; every record that is there is whole, with its items."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from test_results import written\nfrom pathlib import Path\n"
        "from recap_eval.data.items import DataId\n"
        "n = 0\n"
        "while True:\n"
        "    written(Path(sys.argv[1]), source=DataId('cards', 'test', f'{n:064d}', 'cards')); n += 1; print(n, flush=True)\n"
    )
    here = [str(folder) for folder in Path(__file__).parents[:2]]
    for delay in (0.0, 0.003, 0.011, 0.02, 0.037):
        child = subprocess.Popen([sys.executable, "-c", code, tmp_path, *here], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        results = read_results(tmp_path)
        assert results
        for result in results:
            assert len(result.items("acc").items) == 3
            assert json.loads(result.path.read_text())["task"]["name"] == "t"
