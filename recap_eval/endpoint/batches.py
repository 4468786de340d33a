"""OpenAI's Batch API: files of requests handed in, and their answers fetched within a day. Every call is one request."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from recap_eval.endpoint.address import Address
from recap_eval.endpoint.client import WHOLE
from recap_eval.endpoint.failures import EndpointDown, EndpointFailure, clean
from recap_eval.endpoint.reply import Reply, reply_of

MOST_BYTES, MOST_REQUESTS = 200_000_000, 50_000  # of one file
PATH: Literal["/v1/chat/completions"] = "/v1/chat/completions"
WINDOW: Literal["24h"] = "24h"
FINAL = ("completed", "failed", "expired", "cancelled")
TRIES = 4  # of a call; the library waits in between
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """How a batch stands.

    Args:
        id: Its id.
        status: "validating", "in_progress", "completed", "failed", "expired", …
        total: Requests in it.
        completed: Requests answered.
        failed: Requests that failed.
        outputs: Ids of the files with answers and with errors, those that there are.
        label: What we called it.
        errors: What is wrong with the file that was handed in, in a line.
    """

    id: str
    status: str
    total: int
    completed: int
    failed: int
    outputs: tuple[str, ...]
    label: str
    errors: str = ""

    @property
    def is_final(self) -> bool:
        """True if nothing will change any more."""
        return self.status in FINAL


class BatchClient:
    """Hands in and fetches batches.

    Args:
        address: The server; the first one, if there are several.
        timeout: Seconds a call may take.
    """

    def __init__(self, address: Address, timeout: float = 600.0) -> None:
        from openai import OpenAI

        self.address = address
        self._sdk = OpenAI(
            api_key=address.key.reveal(), base_url=address.urls[0], max_retries=TRIES - 1, timeout=timeout
        )  # fmt: skip

    def submit(self, name: str, lines: bytes, label: str) -> str:
        """Hand in a file of requests; returns the batch's id.

        Raises:
            EndpointDown: The server refuses, or cannot be reached.
        """
        file = self._tried(lambda: self._sdk.files.create(file=(name, io.BytesIO(lines)), purpose="batch"))
        made = self._tried(
            lambda: self._sdk.batches.create(
                input_file_id=file.id, endpoint=PATH, completion_window=WINDOW, metadata={"recap": label}
            )
        )
        return str(made.id)

    def find(self, label: str) -> str | None:
        """Return the id of a batch by its label, among the newest hundred; None if there is none."""
        page = self._tried(lambda: self._sdk.batches.list(limit=100))
        return next((str(one.id) for one in page.data if (one.metadata or {}).get("recap") == label), None)

    def status(self, batch: str) -> Batch:
        """Return how a batch stands."""
        found = self._tried(lambda: self._sdk.batches.retrieve(batch))
        counts = found.request_counts
        outputs = tuple(one for one in (found.output_file_id, found.error_file_id) if one)
        numbers = (counts.total, counts.completed, counts.failed) if counts else (0, 0, 0)
        wrong = "; ".join(str(one.message) for one in (found.errors.data or [])) if found.errors else ""
        label = (found.metadata or {}).get("recap", "")
        return Batch(found.id, clean(found.status, 40), *numbers, outputs, label, self._hidden(wrong))

    def rows(self, file: str) -> Iterator[tuple[str, Reply | str]]:
        """Yield the key and the answer, or what went wrong, of each request in a file of answers or errors."""
        content = self._tried(lambda: self._sdk.files.content(file)).text
        for line in content.splitlines():
            if line.strip():
                yield self._row(line)

    def _row(self, line: str) -> tuple[str, Reply | str]:
        try:
            row = json.loads(line)
            key = str(row["custom_id"])
            response = row.get("response") or {}
            if row.get("error") or response.get("status_code") != 200:
                wrong = row.get("error") or (response.get("body") or {}).get("error") or response.get("status_code")
                return key, self._hidden(wrong.get("message", wrong) if isinstance(wrong, dict) else wrong)
            return key, reply_of(response["body"], self.address.key.hide)
        except EndpointFailure as failure:
            return key, failure.detail
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            return "", f"a line that is no row of a batch: {self._hidden(line[:60])}"

    def _hidden(self, words: object) -> str:
        return clean(self.address.key.hide(str(words)))

    def _tried(self, call: Callable[[], T]) -> T:
        from openai import APIError, APIStatusError

        try:
            return call()
        except APIStatusError as error:
            what, hint = WHOLE.get(error.status_code, WHOLE[0])
            detail = self._hidden(f"HTTP {error.status_code}, {error.message}")
            raise EndpointDown(f"{what} ({detail}).", hint.format(variable=self.address.variable)) from None
        except APIError as error:
            detail = self._hidden(f"{self.address.urls[0]}: {error.__cause__ or error}")
            raise EndpointDown(
                f"Nobody answers: {detail}", "The same command goes on; or name a server: --base-url URL"
            ) from None
