"""An OpenAI-compatible server over real HTTP whose answers and faults a test prescribes."""

import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
            self.headers.append(dict(to.headers))
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
