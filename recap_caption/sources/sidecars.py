"""The texts beside an image: KEY.txt and KEY.json, in a tar or in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recap_caption.rows import BAD_TEXT
from recap_caption.sources.base import Fault, plain_text


def texts_of(found: Mapping[str, bytes], roles: Mapping[str, str]) -> tuple[dict[str, Any], Fault | None]:
    """Return fields of `Item` as the texts beside an image say them, and what is wrong with these texts.

    Args:
        found: Contents by ending, ".txt" and ".json"; only those that are there.
        roles: Field of `Item` to "txt" or "json:FIELD".
    """
    try:
        meta = _meta(found.get(".json"))
        fields: dict[str, Any] = {name: _role(role, meta, found.get(".txt")) for name, role in roles.items()}
    except (ValueError, RecursionError) as error:
        return {}, Fault(BAD_TEXT, type(error).__name__, f"a text beside the image is unreadable: {error}")
    return fields | {name: plain_text(meta.get(name)) or None for name in ("url", "sha256")}, None


def _meta(payload: bytes | None) -> dict[str, Any]:
    meta = {} if payload is None else json.loads(payload)
    if not isinstance(meta, dict):
        raise ValueError("its JSON is no object")
    return meta


def _role(role: str, meta: dict[str, Any], payload: bytes | None) -> str | None:
    if role == "txt":
        return None if payload is None else payload.decode()
    return plain_text(meta.get(role.removeprefix("json:")))
