"""What the hub's library raises, told in two lines; no network."""

from types import MappingProxyType

import pytest
from huggingface_hub import errors

from recap_eval.errors import DataError
from recap_eval.models import hub


class Answer:
    """As much of an HTTP answer as the errors look at."""

    headers = MappingProxyType({})
    status_code = 403
    request = None


def raised(kind):
    if issubclass(kind, errors.HfHubHTTPError):
        return kind("no", response=Answer())
    return kind("no")


ERRORS = {
    errors.GatedRepoError: ("org/name is gated", "hf auth login"),
    errors.RepositoryNotFoundError: ("shows you no model org/name", "hf auth login"),
    errors.HFValidationError: ("neither a folder nor ORG/NAME", "Check the path"),
    errors.HfHubHTTPError: ("Cannot get org/name from the hub (HfHubHTTPError)", "network; or name a folder that holds a.json"),
    errors.OfflineModeIsEnabled: ("(OfflineModeIsEnabled)", "network"),
    errors.LocalEntryNotFoundError: ("(LocalEntryNotFoundError)", "network"),
    ConnectionError: ("(ConnectionError)", "network"),
    errors.HfHubHTTPError.__bases__[0]: ("(HTTPError)", "network"),  # of the web library, as a lost connection comes
}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_errors_of_the_hub_are_told(kind, monkeypatch):
    def fail(*given, **options):
        raise raised(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(DataError) as found:
        hub.fetch_files("org/name", ["a.json"])
    what, hint = ERRORS[kind]
    assert what in found.value.what and hint in found.value.hint and "\n" not in found.value.what + found.value.hint


def test_a_lost_connection_is_told_where_a_commit_is_asked_for(monkeypatch):
    def fail(*given, **options):
        raise errors.HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    with pytest.raises(DataError, match="Cannot reach org/name on the hub"):
        hub.revision_of("org/name")


def test_files_are_asked_for_by_kind_revision_and_pattern(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **options: asked.append((repo, options)) or tmp_path)
    assert hub.fetch_files("org/name", ("*.json",), "dataset", "abc") == tmp_path
    assert asked == [("org/name", {"repo_type": "dataset", "revision": "abc", "allow_patterns": ["*.json"]})]


def test_files_of_a_repository_are_listed_by_pattern(monkeypatch):
    names = ["data/b.parquet", "data/a.parquet", "README.md"]
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, repo, repo_type: names)
    assert hub.list_hub_files("org/name", "data/*.parquet") == ["data/a.parquet", "data/b.parquet"]
    with pytest.raises(DataError, match=r"org/name has no \*\.csv"):
        hub.list_hub_files("org/name", "*.csv")
