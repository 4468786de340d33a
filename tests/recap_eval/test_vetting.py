"""A record is taken as what it says only after everything that can be found out has been."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import put, put_captions, scores
from support import ROOT

from recap_eval.compare import compare
from recap_eval.errors import DataError
from recap_eval.files import digest_file
from recap_eval.results import record_path
from recap_eval.subjects import find_subjects
from recap_eval.vetting import known_versions, vet

COMMITTED = sorted((ROOT / "leaderboards" / "results").glob("*/*.json"))
SOME = {path.stem.rpartition("-")[0]: path for path in COMMITTED}  # of each task one
SOME |= {path.name + path.parent.name: path for path in COMMITTED[::4]}
SIX = {"i2t_r1": scores([1, 0, 1, 1, 0.5, 0]), "t2i_r1": scores([1, 0, 1, 1], list("aabb"))}


@pytest.fixture
def record(tmp_path) -> Path:
    return put(tmp_path, "scenes-retrieval", "m", SIX).path


def change(path: Path, place: str, value: object) -> Path:
    """Set a field of a record, or take it out."""
    whole = json.loads(path.read_text())
    *inner, last = place.split(".")
    part = whole
    for word in inner:
        part = part[word]
    part.pop(last) if value is None else part.update({last: value})
    path.write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize("path", sorted(set(SOME.values())), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_records_are_what_they_say_and_lie_where_they_belong(path):
    result = vet(path)
    assert record_path(ROOT / "leaderboards", result.record) == path


def test_a_record_of_ours_passes(record):
    assert vet(record).task == "scenes-retrieval"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("task", None, "task.name is missing"),
        ("metrics.i2t_r1.n", None, "metrics.i2t_r1.n is missing"),
        ("metrics.i2t_r1", 0.5, "metrics.i2t_r1.value is missing"),
        ("metrics", [], "metrics is '[]'"),
        ("task.version", True, "task.version is 'True'"),
        ("settings", "none", "settings is 'none'"),
        ("task.primary", "i2t_r9", "'i2t_r9' has no figure"),
        ("task.name", "scenes-retrievel", "no task is called 'scenes-retrievel'"),
        ("task.name", "scenes-retrieval@../../../up", "is no name of a task"),
        ("task.version", 99, "is of version 99"),
        ("schema_version", 2, "has schema version 2"),
        ("metrics.i2t_r1.value", math.nan, "metrics.i2t_r1.value is no finite number"),
        ("settings.extra", [1.0, math.inf], "settings.extra.1 is no finite number"),
        ("metrics.i2t_r1.ci95", [0.9, 0.95], "does not hold it"),
        ("metrics.i2t_r1.ci95", [0.1], "does not hold it"),
        ("metrics.t2i_r1.n_clusters", 5, "5 clusters of 4 items"),
        ("settings.precision", "bf16", "settings_hash is not that of the settings"),
        ("items.file", "../other.parquet", "not the name of a file beside it"),
        ("items.file", "other.parquet", "is missing"),
        ("items.sha256", "0" * 64, "its sha256 differs"),
        ("metrics.i2t_r1.n", 7, "is of 7 items, and 6 scores"),
        ("metrics.i2t_r1.value", 0.59, "its scores make"),
        ("metrics.i2t_r1.se", 0.01, "metrics.i2t_r1.se is 0.01"),
    ],
)
def test_each_thing_that_is_wrong_is_named_with_its_file(record, place, value, told):
    with pytest.raises(DataError) as caught:
        vet(change(record, place, value))
    assert told in caught.value.what and str(record.parent) in caught.value.what and caught.value.hint


def test_captions_that_claim_nothing_have_no_share_of_true_claims_and_are_a_record_all_the_same(tmp_path):
    for column in ("a", "b"):
        found = put_captions(tmp_path, "files", column, "captions-truth", {"recall": scores([0, 0])})
        assert "truth" not in vet(change(found.path, "task.primary", "truth")).record["metrics"]
    with pytest.raises(DataError, match="A on captions-truth, truth: it has no figure"):
        compare(find_subjects(["files:a", "files:b"], tmp_path))


def test_a_metric_that_its_task_has_not_is_refused(tmp_path):
    path = put(tmp_path, "scenes-retrieval", "m", {"i2t_r1": scores([1, 0]), "i2t_r2": scores([1, 0])}).path
    with pytest.raises(DataError, match="has no metric 'i2t_r2'"):
        vet(path)


def test_a_share_beyond_one_is_refused(record):
    whole = json.loads(record.read_text())
    whole["metrics"]["i2t_r1"] |= {"value": 58.3, "ci95": None}
    record.write_text(json.dumps(whole))
    with pytest.raises(DataError, match="no share between 0 and 1"):
        vet(record)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"record"', '{"metrics": {}, "items": {}}', "\ufeff{}"])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        vet(path)


def replace_items(record: Path, table: pa.Table | bytes) -> Path:
    """Put other items beside a record, signed as they should be."""
    items = record.with_suffix(".parquet")
    items.write_bytes(table) if isinstance(table, bytes) else pq.write_table(table, items)
    return change(record, "items.sha256", digest_file(items))


def test_items_that_were_signed_again_still_have_to_make_the_figures(record):
    rows = pq.read_table(record.with_suffix(".parquet"))
    values = rows["value"].to_numpy().copy()
    values[0] = 0
    with pytest.raises(DataError, match=r"i2t_r1\.value"):
        vet(replace_items(record, rows.set_column(rows.column_names.index("value"), "value", pa.array(values))))


def test_items_that_are_no_parquet_or_lack_a_column_are_refused(record):
    rows = pq.read_table(record.with_suffix(".parquet"))
    words = rows.set_column(rows.column_names.index("value"), "value", pa.array(["right"] * len(rows)))
    for wrong in (b"", b"PAR1 and no more", rows.drop_columns(["value"]), rows.slice(0, 0), words):
        with pytest.raises(DataError):
            vet(replace_items(record, wrong))


def test_a_score_that_is_not_a_number_is_refused(record):
    rows = pq.read_table(record.with_suffix(".parquet"))
    values = np.where(np.arange(len(rows)) == 0, np.nan, rows["value"].to_numpy())
    with pytest.raises(DataError, match="a score of i2t_r1 is no finite number"):
        vet(replace_items(record, rows.set_column(rows.column_names.index("value"), "value", pa.array(values))))


def test_tasks_of_a_data_root_count(record, tmp_path):
    shutil.copytree(record.parent, tmp_path / "copy")
    change(record, "task.name", "mine")
    own = tmp_path / "root"
    own.mkdir()
    reader = 'reader = "recap_eval.data.own:captioned"'
    (own / "tasks.toml").write_text(f'[mine]\nkind = "retrieval"\nsummary = "mine"\n{reader}\n')
    assert vet(record, own).task == "mine" and known_versions(own)["mine"] == 1
    with pytest.raises(DataError, match="no task is called 'mine'"):
        vet(record)
