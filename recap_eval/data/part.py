"""A file that is coming in: its bytes on disk, the digest of them, and how to ask for the rest."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO, Any

from recap_eval.data.download import Refused
from recap_eval.data.sources import RemoteFile
from recap_eval.data.unpack import no_space
from recap_eval.errors import DataError
from recap_eval.files import read_json, write_json

BLOCK = 1 << 18


class Part:
    """What has come in of a file, with the digest of it.

    Args:
        file: The file.
        work: Folder of its part file; what is there already is read for the digest.
        bar: Progress bar over its bytes.
    """

    def __init__(self, file: RemoteFile, work: Path, bar: Any) -> None:
        self.file, self.bar = file, bar
        self.path, self.memory = work / f"{file.name}.part", work / f"{file.name}.etag"
        self.got, self.state = 0, file.new_state()
        if self.path.exists() and self.path.stat().st_size > file.size:
            self.path.unlink()
        if self.path.exists():
            with self.path.open("rb") as stream:
                while block := stream.read(BLOCK):
                    self._count(block)
            self.bar.initial = self.got  # so that the rate shown is the network's

    def _count(self, block: bytes) -> None:
        self.state.update(block)
        self.got += len(block)
        self.bar.update(len(block))

    def tell(self, text: str) -> None:
        """Show beside the bar what went wrong."""
        self.bar.set_postfix_str(text)

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that ask for the rest: of the same contents, if the server can tell."""
        if not self.got:
            return {}
        tag = self._known_tag(url)
        return {"Range": f"bytes={self.got}-"} | ({"If-Range": tag} if tag else {})

    def _known_tag(self, url: str) -> str:
        known = read_json(self.memory) if self.memory.exists() else {}
        return str(known.get("etag", "")) if known.get("url") == url else ""

    def receive(self, url: str, answer: Any) -> None:
        """Append an answer to the part file, which begins anew where the answer is the whole file or a changed one.

        Raises:
            Refused: The answer is another file.
            ConnectionError: It ended too early.
            DataError: The disk is full or cannot be written.
        """
        tag = answer.headers.get("ETag") or ""
        tag = "" if tag.startswith("W/") else tag  # a weak one does not say that the bytes are the same
        self._check_answer(url, answer)
        if answer.status == 206 and not self._goes_on(url, answer, tag):
            self._restart()
            raise ConnectionError("the file changed; from the beginning")
        if answer.status != 206:
            self._restart()
        write_json(self.memory, {"url": url, "etag": tag})
        self._append(url, answer)
        if self.got != self.file.size:
            raise ConnectionError(f"it ended after {self.got:,} of {self.file.size:,} bytes")

    def _check_answer(self, url: str, answer: Any) -> None:
        said = answer.headers.get("Content-Length") or ""
        if answer.status == 206:
            said = (answer.headers.get("Content-Range") or "").partition("/")[2]
        if said.isdigit() and int(said) != self.file.size:
            raise Refused(f"{url} has {int(said):,} bytes, not {self.file.size:,}")
        if (answer.headers.get("Content-Encoding") or "identity") != "identity":
            raise Refused(f"{url} comes encoded, not as it is")

    def _goes_on(self, url: str, answer: Any, tag: str) -> bool:
        known = self._known_tag(url)
        begins = (answer.headers.get("Content-Range") or "").startswith(f"bytes {self.got}-")
        return begins and not (known and tag and known != tag)

    def _restart(self) -> None:
        self.got, self.state = 0, self.file.new_state()
        self.path.unlink(missing_ok=True)
        self.bar.initial = 0
        self.bar.reset()

    def _append(self, url: str, answer: Any) -> None:
        with self.path.open("ab", buffering=0) as stream:
            while block := answer.read(BLOCK):
                if self.got + len(block) > self.file.size:
                    raise Refused(f"{url} has more than {self.file.size:,} bytes")
                self._write(stream, block)
                self._count(block)

    def _write(self, stream: IO[bytes], block: bytes) -> None:
        """Write all of a block; here, so that a full disk is not taken for a lost connection."""
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(self.path.parent).free
                raise no_space(self.path.parent, self.file.size - self.got, free, self.file.name) from error
            raise DataError(f"Cannot write {self.path}: {error.strerror}.", "Choose another --data.") from error

    def verify(self) -> None:
        """Make sure that the file is what it should be, and on the disk.

        Raises:
            DataError: Its digest is another; the part is deleted.
        """
        found = self.state.hexdigest()
        if found != self.file.digest:
            self.path.unlink()
            raise DataError(
                f"{self.file.name} is not the file it should be: {self.file.kind} {self.file.digest} expected, {found} found.",
                "It was deleted. Run the same command once more; if it happens again, the file was changed where it lies.",
            )
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.memory.unlink(missing_ok=True)
