"""Repositories on the hub: their commit, which is what a result of a model is a result of, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recap_eval.errors import DataError


def revision_of(repo: str) -> str:
    """Return the commit that a repository's main branch has now.

    Raises:
        DataError: There is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return str(HfApi().model_info(repo, timeout=30).sha)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
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
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise DataError(f"{repo} is neither a folder nor ORG/NAME on the hub.", "Check the path.") from error
    except GatedRepoError as error:
        hint = f"Ask on its page on the hub, then `hf auth login`; or name a folder that holds {', '.join(patterns)}."
        raise DataError(f"{repo} is gated: its owners must let you in first.", hint) from error
    except RepositoryNotFoundError as error:
        raise DataError(f"The hub shows you no {kind} {repo}.", "Check its name; for a private one: `hf auth login`") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise DataError(
            f"Cannot get {repo} from the hub ({type(error).__name__}).", "Check the network; or name a folder that holds it."
        ) from error
