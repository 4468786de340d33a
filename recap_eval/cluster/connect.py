"""To a Ray cluster, or to one of this machine alone, and away from it again."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recap_eval.errors import DataError, UserError

LOCAL, AUTO = "local", "auto"
EXAMPLES = "Examples: --ray local, --ray auto on a machine of the cluster, --ray 10.0.0.1:6379"
START = "Start one with `ray start --head` and run this on a machine of it, or use --ray local."
TOKEN = "If the cluster has a token: export RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token (docs/scale.md)."
PATIENCE = 10.0  # seconds for a head to answer; Ray itself would wait for minutes
OBJECTS = 256 << 20  # bytes of shared memory of a local cluster: parts and what comes of them are small
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # no telemetry; no warning for no GPU


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give the ray library, connected to a cluster; what the block started there ends with it.

    Args:
        address: "local" for the processors of this machine, "auto" for the cluster that this machine is in, or HOST:PORT
            of its head.

    Raises:
        UserError: Ray is not installed, or the address is none.
        DataError: No cluster answers, or it has another Ray or Python.
    """
    _check(address)
    ray = _library()
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **_of_own(address))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refused(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _library() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--ray needs Ray, which is not installed.",
            "pip install 'recap[ray]' here and on every machine of the cluster, or leave --ray out.",
        ) from error
    return ray


def _of_own(address: str) -> dict[str, Any]:
    return {"object_store_memory": OBJECTS} if address == LOCAL else {}


def _check(address: str) -> None:
    """Refuse what is no address, and a head that does not answer."""
    if address.startswith("ray://"):
        raise UserError(f"{address} is an address of Ray's client, which is not used here.", START)
    place = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    if place in ("", LOCAL, AUTO):
        return
    found = re.fullmatch(r"([^\s:/]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", place)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise UserError(f"{place!r} is no address of a Ray cluster.", EXAMPLES)
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), PATIENCE).close()
    except OSError as error:
        raise DataError(f"No Ray cluster answers at {place} ({error.strerror or error}).", START) from error


def _refused(address: str, error: Exception) -> DataError:
    words = " ".join(str(error).split())
    if "ersion mismatch" in words:
        return DataError(f"The cluster at {address} has another Ray or Python: {words[:300]}", "Install the same everywhere.")
    if address == AUTO and isinstance(error, ConnectionError):
        return DataError("This machine is in no Ray cluster that runs.", START)
    if isinstance(error, ConnectionError) or "oken" in words:
        return DataError(f"What answers at {address} takes no connection of Ray ({words[:200].rstrip('.')}).", TOKEN)
    return DataError(f"No Ray cluster is to be had at {address!r} ({words[:300]}).", START)
