"""An OpenAI-compatible server over real HTTP whose answers and faults a test prescribes."""

import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

KEY = "sk-secret-0123456789"


def completion(text, *, refusal=None, finish="stop", model="judge-1", tokens=(100, 4)):
    """Return a chat completion as the protocol has it."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": model, "system_fingerprint": "fp",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def caption_of(body):
    """Return the caption that the paper's template was filled with."""
    text = next(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")
    return re.match(r"\[Image Caption\] (.*)\nRate whether", text, re.DOTALL)[1]


class Endpoint:
    """A server.

    `say(body)` returns the text of an answer, or a whole completion; `faults(n, body)` the fault of the n-th request, or None.
    A fault is a status, (status, headers), (status, headers, JSON), "cut", "garbage", "hang", "reset" or seconds to wait first.
    """

    def __init__(self, say=None, faults=None, key=None):
        self.say, self.faults, self.key = say or (lambda body: "Rating: 4"), faults or (lambda n, body: None), key
        self.bodies, self.answered, self.times, self.headers = [], Counter(), [], []
        self.under_way, self.most, self._lock = 0, 0, threading.Lock()
        self.files, self.batches, self.closed = {}, {}, threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def do_POST(self):
                endpoint.serve(self)

            def do_GET(self):
                endpoint.serve(self)

            def log_message(self, *words):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, address):
                pass  # clients that went away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve(self, to):
        payload = to.rfile.read(int(to.headers.get("Content-Length", 0)))
        if self.key is not None and to.headers.get("Authorization") != f"Bearer {self.key}":
            given = to.headers.get("Authorization", "")  # some servers echo what they were given
            return self.reply(to, 401, {"error": {"message": f"Incorrect API key: {given}", "code": "invalid_api_key"}})
        if to.path == "/v1/chat/completions":
            return self.chat(to, json.loads(payload))
        return self.other(to, payload)

    def other(self, to, payload):
        self.reply(to, 404, {"error": {"message": "no such path"}})

    def chat(self, to, body):
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.headers.append({name.lower(): value for name, value in to.headers.items()})
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            self.answer(to, body, self.faults(number, body))
        finally:
            with self._lock:
                self.under_way -= 1

    def answer(self, to, body, fault):
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault is not None:
            return self.fail(to, fault)
        said = self.say(body)
        payload = said if isinstance(said, dict) else completion(said)
        with self._lock:
            self.answered[digest(body)] += 1
        return self.reply(to, 200, payload)

    def fail(self, to, fault):
        if fault == "hang":
            self.closed.wait(20)
        elif fault == "reset":
            to.connection.shutdown(socket.SHUT_RDWR)
            to.close_connection = True
        elif fault == "cut":
            to.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices')
            to.wfile.flush()
            to.connection.shutdown(socket.SHUT_RDWR)
            to.close_connection = True
        elif fault == "garbage":
            self.raw(to, 200, b'<html>busy {"choices": [', {})
        else:
            status, headers, payload = (*(fault if isinstance(fault, tuple) else (fault,)), {}, {"error": {"message": "no"}})[
                :3
            ]
            self.reply(to, status, payload, headers)

    def reply(self, to, status, payload, headers=None):
        self.raw(to, status, json.dumps(payload).encode(), headers or {})

    def raw(self, to, status, payload, headers):
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("Content-Type", "application/json")
        to.send_header("Content-Length", str(len(payload)))
        to.end_headers()
        to.wfile.write(payload)


def digest(body):
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class BatchEndpoint(Endpoint):
    """A server with files and batches. A batch stays under way until `finish` ends it."""

    def other(self, to, payload):
        parts = to.path.partition("?")[0].removeprefix("/v1/").split("/")
        route = f"{to.command} {parts[0]}" + (" content" if parts[-1] == "content" else " one" if len(parts) > 1 else "")
        self.ROUTES.get(route, type(self).nothing)(self, to, payload, parts[1] if len(parts) > 1 else "")

    def nothing(self, to, payload, name):
        self.reply(to, 404, {"error": {"message": "no such path"}})

    def upload(self, to, payload, name):
        boundary = to.headers["Content-Type"].partition("boundary=")[2].encode()
        part = next(one for one in payload.split(b"--" + boundary) if b"filename=" in one)
        file = f"file-{len(self.files)}"
        self.files[file] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        self.reply(
            to,
            200,
            {"id": file, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch", "status": "ok"},
        )

    def create(self, to, payload, name):
        body = json.loads(payload)
        batch = {
            "id": f"batch_{len(self.batches)}", "object": "batch", "status": "in_progress", "created_at": 0,
            "endpoint": body["endpoint"], "completion_window": "24h", "input_file_id": body["input_file_id"],
            "metadata": body["metadata"], "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        self.batches[batch["id"]] = batch
        if self.faults(-1, body) is not None:  # the batch is there, and nobody is told
            return self.fail(to, self.faults(-1, body))
        return self.reply(to, 200, batch)

    def list(self, to, payload, name):
        self.reply(to, 200, {"object": "list", "data": list(self.batches.values())[::-1], "has_more": False})

    def one(self, to, payload, name):
        self.reply(to, 200, self.batches[name])

    def content(self, to, payload, name):
        self.raw(to, 200, self.files[name], {})

    ROUTES: ClassVar = {
        "POST files": upload, "POST batches": create, "GET batches": list, "GET batches one": one, "GET files content": content,
    }  # fmt: skip

    def finish(self, batch, status="completed", lose=lambda number: None):
        """End a batch: `lose(n)` says what goes wrong with its n-th request: an error's text, or "drop"; None for nothing."""
        found, good, bad = self.batches[batch], [], []
        rows = [json.loads(line) for line in self.files[found["input_file_id"]].splitlines()]
        for number, row in enumerate(rows):
            wrong = lose(number)
            head = {"id": "r", "custom_id": row["custom_id"]}
            if wrong is None:
                said = self.say(row["body"])
                body = said if isinstance(said, dict) else completion(said)
                good.append(head | {"response": {"status_code": 200, "body": body}, "error": None})
            elif wrong != "drop":
                body = {"error": {"message": wrong}}
                bad.append(head | {"response": {"status_code": 400, "body": body}, "error": None})
        for name, kept in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if kept:
                self.files[f"{batch}-{name}"] = "".join(json.dumps(row) + "\n" for row in kept).encode()
                found[name] = f"{batch}-{name}"
        found["status"] = status
        found["request_counts"] = {"total": len(rows), "completed": len(good), "failed": len(bad)}
