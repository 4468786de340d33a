"""Repositories on the hub: their commit, which is what a result of a model is a result of, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from recap_eval.errors import DataError


def revision_of(repo: str) -> str:
    """Return the commit that a repository's main branch has now.

    Raises:
        DataError: There is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(repo, timeout=30).sha)
    except _failures(ValueError) as error:
        raise DataError(
            f"Cannot reach {repo} on the hub ({type(error).__name__}).", "Check its name and the network."
        ) from error


def fetch_files(repo: str, patterns: Sequence[str], kind: str = "model", revision: str | None = None) -> Path:
    """Return a folder in the hub's cache that holds files of a repository; what is there already is not fetched again.

    Args:
        repo: ORG/NAME.
        patterns: Which files, such as "*.safetensors". A folder without any of them is returned all the same.
        kind: "model" or "dataset".
        revision: A commit; the main branch by default.

    Returns:
        The folder, whose name is the commit.

    Raises:
        DataError: There is no such repository, access to it must be asked for, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with _telling(repo, kind, f"; or name a folder that holds {', '.join(patterns[:4])}"):
        return Path(snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=list(patterns)))


def list_hub_files(repo: str, pattern: str, kind: str = "dataset") -> list[str]:
    """Return the names of a repository's files that match a pattern, sorted.

    Raises:
        DataError: There are none, no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with _telling(repo, kind, ""):
        names = sorted(name for name in HfApi().list_repo_files(repo, repo_type=kind) if fnmatch(name, pattern))
    if not names:
        raise DataError(f"{repo} has no {pattern} on the hub.", "Look at its page; name files at hand instead.")
    return names


def _failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what the hub's library raises where the hub cannot be reached or says no, and others.

    A lost connection comes as the error of the web library below it, whichever that is: its own errors stand on that one's.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    return HfHubHTTPError.__bases__[0], HfHubHTTPError, OfflineModeIsEnabled, OSError, *others


@contextmanager
def _telling(repo: str, kind: str, otherwise: str) -> Iterator[None]:
    """Tell what the hub's library raises in two lines.

    Args:
        repo: What was asked for.
        kind: "model" or "dataset".
        otherwise: What else the user may do, as the end of a sentence.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise DataError(f"{repo} is neither a folder nor ORG/NAME on the hub.", "Check the path.") from error
    except errors.GatedRepoError as error:
        hint = f"Ask on its page on the hub, then `hf auth login`{otherwise}."
        raise DataError(f"{repo} is gated: its owners must let you in first.", hint) from error
    except errors.RepositoryNotFoundError as error:
        what = f"The hub shows you no {kind} {repo}."
        raise DataError(what, f"Check its name; for a private one: `hf auth login`{otherwise}.") from error
    except _failures(errors.LocalEntryNotFoundError) as error:
        what = f"Cannot get {repo} from the hub ({type(error).__name__})."
        raise DataError(what, f"Check the network{otherwise}.") from error
