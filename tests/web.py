"""A local web server whose answers a test prescribes, and small archives to put there."""

import hashlib
import io
import re
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from recap_eval.data.sources import Source

DATA = bytes(range(256)) * 4000  # a file of 1,024,000 bytes
NAME = "photos.bin"


class Host:
    """A local web server whose answers a test prescribes.

    `files` are its contents by path, `tags` their ETags, `answers` a list of status codes given before any other answer, `cuts`
    the bytes after which the next answers break off, `ranges` whether it understands Range, `pause` seconds between blocks.
    """

    def __init__(self):
        self.files, self.tags, self.answers, self.cuts, self.ranges, self.asked = {}, {}, [], [], True, []
        self.pause, self.moved, self.encoding, self.lengths = 0.0, {}, "", True
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.answer(self)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, to):
        path = to.path.partition("?")[0]
        self.asked.append((path, dict(to.headers)))
        if self.answers:
            return self.say(to, self.answers.pop(0))
        if path in self.moved:
            return self.say(to, 302, Location=self.moved[path])
        if path not in self.files:
            return self.say(to, 404)
        return self.send(to, path, self.files[path])

    def say(self, to, status, **headers):
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("Content-Length", "0")
        to.end_headers()

    def send(self, to, path, body):
        tag, start = self.tags.get(path), 0
        wanted = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        if wanted and self.ranges and to.headers.get("If-Range") in (None, tag):
            start = int(wanted[1])
        to.send_response(206 if start else 200)
        if start:
            to.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.lengths:
            to.send_header("Content-Length", str(len(body) - start))
        for name, value in (("ETag", tag), ("Content-Encoding", self.encoding)):
            if value:
                to.send_header(name, value)
        to.end_headers()
        rest = body[start:][: self.cuts.pop(0) if self.cuts else None]
        try:
            for at in range(0, len(rest), 1 << 14):
                to.wfile.write(rest[at : at + (1 << 14)])
                time.sleep(self.pause)
        except OSError:
            pass  # the other side was killed

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def described(content, name=NAME, **other):
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | other


def source_of(*addresses, files=None, **other):
    urls = [f"{address}/{{file}}" for address in addresses]
    facts = {"place": "photos", "makes": [f"photos/{NAME}"], "licence": "free", "page": "https://example.org", "urls": urls}
    return Source("photos", [described(DATA)] if files is None else files, **(facts | other))


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def tarred(members, mode="w"):
    """Return a tar of regular members, given as bytes, and of others, given as changes to their TarInfo."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                for field, value in content.items():
                    setattr(info, field, value)
                file.addfile(info)
    return stream.getvalue()
