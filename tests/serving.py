"""`transformers serve` on a CPU, also where accelerate is not installed: it is asked for only to place weights on devices."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder):
    """Serve a model's folder from a process of its own; gives the server's base URL when it answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    words = [sys.executable, Path(__file__), folder, "--device", "cpu", "--host", "127.0.0.1", "--port", port]
    with (folder.parent / "log").open("w") as log:
        process = subprocess.Popen(words, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def _wait(url, process):
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"the server did not come up, code {process.poll()}")


def main():
    import transformers.modeling_utils as loading
    from transformers.cli.transformers import main as command

    if importlib.util.find_spec("accelerate") is None:
        loading.check_and_set_device_map = lambda device_map: None
    sys.argv = ["transformers", "serve", *sys.argv[1:]]
    command()


if __name__ == "__main__":
    main()
