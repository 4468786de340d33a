"""Of the generations of a caption file readers take the newest, and nothing else for one."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_eval.captions.files import find_files
from recap_eval.captions.generations import join_name, newest, split_name, stem_of
from recap_eval.captions.row_files import list_files


@pytest.mark.parametrize(("name", "parts"), [
    ("00012.parquet", ("00012", 0)), ("00012.g3.parquet", ("00012", 3)), ("a.g1.g2.parquet", ("a.g1", 2)),
    ("g1.parquet", ("g1", 0)),
])  # fmt: skip
def test_names(name, parts):
    assert split_name(name) == parts and join_name(*parts) == name


def lay(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pq.write_table(pa.table({"key": ["a"]}), folder / name)
    return folder


def test_the_newest_is_taken_where_the_first_lies_beside_it(tmp_path):
    one = lay(tmp_path / "one", "0.parquet", "0.g1.parquet", "0.g10.parquet", "0.g2.parquet", "1.parquet", "x.g1.parquet")
    other = lay(tmp_path / "other", "0.parquet")
    paths = [*sorted(one.iterdir()), *other.iterdir()]
    assert [path.name for path in newest(paths)] == ["0.g10.parquet", "1.parquet", "x.g1.parquet", "0.parquet"]
    assert newest([]) == [] and stem_of(one / "0.g2.parquet") == "0" and stem_of(one / "x.g1.parquet") == "x.g1"


def test_readers_know_the_folder_of_a_run(tmp_path):
    lay(tmp_path / "run/captions", "0.parquet", "0.g1.parquet", "1.parquet")
    lay(tmp_path / "run", "manifest.parquet")
    (tmp_path / "run/run.json").write_text("{}")
    for words in ("run", "run/captions", "run/captions/*.parquet"):
        expected = ["0.g1.parquet", "1.parquet"]
        assert [path.name for path in find_files([str(tmp_path / words)])] == expected
        assert [path.name for path in list_files(str(tmp_path / words))] == expected
