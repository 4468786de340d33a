"""The commit of a model on the hub: what a result of it is a result of."""

from __future__ import annotations

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
