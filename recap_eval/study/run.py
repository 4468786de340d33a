"""Runs a graph's nodes as processes: what is done is skipped, what fails stops only what needs it, Ctrl-C loses nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from recap_eval.artifact import is_unfinished
from recap_eval.console import LIVE
from recap_eval.study import lock
from recap_eval.study.graph import Graph, Node
from recap_eval.study.spec import PROGRAMS
from recap_eval.study.state import Stamp, duration, log_path, rates, read_stamps, remaining, write_stamp

POLL, STATUS_EVERY = 0.1, 30.0  # seconds
TAIL = 15  # lines
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)  # at the first wish to stop, the second, the third


@dataclass(frozen=True)
class How:
    """How a graph is run.

    Args:
        jobs: Nodes at once.
        tell: Says a line about the whole.
        show: Shows what the running command says, at one job; None keeps it in the log.
        live: The command may draw its progress bar over and over, as in a terminal.
        seconds: After that time it ends as if it was asked to; None for no such time.
    """

    jobs: int
    tell: Callable[[str], None]
    show: Callable[[bytes], None] | None = None
    live: bool = False
    seconds: float | None = None


@dataclass
class Outcome:
    """What became of the nodes.

    Args:
        state: By node: "done", "done before", "failed", "not run" (what it needs failed), "stopped" or "waiting".
        seconds: Wall time of those that ran now.
        codes: Exit codes of those that failed.
        stopped: Whether a signal, or the end of its time, stopped it.
        over: Whether it was the end of its time.
    """

    state: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    stopped: bool = False
    over: bool = False

    def of(self, *states: str) -> list[str]:
        """Return the nodes in some states."""
        return [name for name, state in self.state.items() if state in states]


@dataclass
class Running:
    """A node at work.

    Args:
        node: The node.
        process: Its process, the leader of a group of its own.
        log: Its log.
        start: When it was started.
        resumed: An earlier run of it was interrupted.
        slot: Which of the jobs it is.
        shown: Bytes of the log that were shown.
    """

    node: Node
    process: subprocess.Popen[bytes]
    log: Path
    start: float
    resumed: bool
    slot: int
    shown: int


@contextlib.contextmanager
def stop_wishes() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of being ended by them; a hang-up ignored before stays so."""
    wishes: list[int] = []

    def wish(number: int, frame: FrameType | None) -> None:
        wishes.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    before = {number: signal.signal(number, wish) for number in numbers}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_graph(graph: Graph, chosen: set[str], how: How) -> Outcome:
    """Run the chosen nodes that are not done, each after what it needs.

    Raises:
        DataError: Another study runs in the root, or it cannot be written.
    """
    with lock.held(graph.root, how.tell) as handle:
        work = Work(graph, chosen, how, handle)
        with stop_wishes() as wishes:
            try:
                work.run(wishes)
            finally:  # a full disk, a closed pipe: nothing is left running unseen
                work.end()
        return work.outcome


class Work:
    """A run in progress.

    Args:
        graph: The graph.
        chosen: Which nodes count.
        how: How they are run.
        handle: The lock's descriptor.
    """

    def __init__(self, graph: Graph, chosen: set[str], how: How, handle: int) -> None:
        self.graph, self.how, self.handle = graph, how, handle
        self.stamps = read_stamps(graph)
        state = {
            name: "done before" if name in self.stamps and not graph.nodes[name].always else "waiting"
            for name in graph.nodes
            if name in chosen
        }
        self.outcome = Outcome(state)
        self.running: list[Running] = []
        self.depth = {step: number for number, step in enumerate(dict.fromkeys(n.step for n in graph.nodes.values()))}
        self.begun = self.told = time.monotonic()

    def run(self, wishes: list[int]) -> None:
        """Start, watch and end processes until nothing is left, or a wish to stop has been fulfilled."""
        heeded = 0
        while self.running or (not wishes and self._ready()):
            self._heed_time(wishes)
            if len(wishes) > heeded:
                heeded = len(wishes)
                self._stop(STOP[min(heeded, len(STOP)) - 1])
            while not wishes and len(self.running) < self.how.jobs and (ready := self._ready()):
                self._start(ready[0])
            time.sleep(POLL)
            for one in list(self.running):
                self._watch(one, bool(wishes))
            self._status()
        left = self.outcome.of("waiting", "stopped")
        asked = bool(wishes[1:] if self.outcome.over else wishes)  # by a signal: the clock's wish is one of them
        self.outcome.over = self.outcome.over and bool(left)
        self.outcome.stopped = asked or self.outcome.over

    def _heed_time(self, wishes: list[int]) -> None:
        """Ask to stop, once, when the time of this part is over."""
        if self.how.seconds is not None and not self.outcome.over and time.monotonic() - self.begun >= self.how.seconds:
            self.outcome.over = True
            wishes.append(STOP[0])

    def end(self) -> None:
        """Ask what still runs to end, and wait for it."""
        for one in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, STOP[0])
        for one in self.running:
            one.process.wait()

    def _ready(self) -> list[Node]:
        """Return the nodes that may start, those of the latest step first, so that what is begun gets finished."""
        state = self.outcome.state
        nodes = [self.graph.nodes[name] for name in self.outcome.of("waiting")]
        able = [node for node in nodes if all(state.get(need, "done before") in ("done", "done before") for need in node.needs)]
        return sorted(able, key=lambda node: -self.depth[node.step])

    def _start(self, node: Node) -> None:
        log = log_path(self.graph.root, node)
        log.parent.mkdir(parents=True, exist_ok=True)
        slot = min(set(range(self.how.jobs)) - {one.slot for one in self.running})
        resumed = log.is_file() or (node.out is not None and node.out.exists())
        self.outcome.state[node.name] = "running"
        self.how.tell(f"\n[{self._count()}] {node.name}\n$ {command_line(node)}")
        with log.open("ab") as stream:
            stream.write(f"$ {command_line(node)}\n".encode())
            stream.flush()
            process = subprocess.Popen(
                started(node), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, process_group=0, pass_fds=(self.handle,),
                env=environment(self.how, slot),
            )  # fmt: skip
        self.running.append(Running(node, process, log, time.monotonic(), resumed, slot, log.stat().st_size))
        self._note()

    def _note(self) -> None:
        lock.note(self.handle, [one.process.pid for one in self.running])

    def _count(self) -> str:
        """Return where the whole stands: which node this is, of how many."""
        state = self.outcome.state
        return f"{sum(value not in ('waiting', 'not run') for value in state.values())}/{len(state)}"

    def _watch(self, one: Running, stopping: bool) -> None:
        code = one.process.poll()
        self._follow(one)
        if code is None:
            return
        self.running.remove(one)
        self._note()
        name, seconds = one.node.name, time.monotonic() - one.start
        self.outcome.seconds[name] = seconds
        if stopping:  # even at exit 0: it may have saved its state only; the same command tells the next time
            self.outcome.state[name] = "stopped"
        elif code == 0 and made(one.node):
            write_stamp(self.graph.root, one.node, seconds, one.resumed)
            self.outcome.state[name] = "done"
            self.stamps[name] = Stamp(one.node.key, seconds, one.resumed, list(one.node.words))
            self.how.tell(f"{name}: done in {duration(seconds)}{self._rest()}")
        else:
            self._failed(name, code)

    def _failed(self, name: str, code: int) -> None:
        self.outcome.state[name] = "failed"
        self.outcome.codes[name] = code
        lost = [other for other in self.graph.dependants(name) if self.outcome.state.get(other) == "waiting"]
        self.outcome.state |= dict.fromkeys(lost, "not run")
        reason = why(self.graph.nodes[name], code)
        self.how.tell(f"{name}: FAILED ({reason}); {len(lost)} that need it not run, the rest goes on")

    def _rest(self) -> str:
        """Say what is left and how long it takes."""
        now = time.monotonic()
        left = dict.fromkeys(self.outcome.of("waiting"), 0.0) | {one.node.name: now - one.start for one in self.running}
        if not left:
            return ""
        estimate = remaining(self.graph, left, rates(self.graph, self.stamps), self.how.jobs).text()
        return f"; {len(left)} to go, {estimate}"

    def _status(self) -> None:
        """Say from time to time what runs, where the commands themselves are not shown."""
        if self.how.show is not None or time.monotonic() - self.told < STATUS_EVERY or not self.running:
            return
        self.told = now = time.monotonic()
        names = ", ".join(f"{one.node.name} ({duration(now - one.start)})" for one in self.running)
        self.how.tell(f"running: {names}{self._rest()}")

    def _follow(self, one: Running) -> None:
        """Show what was added to the log."""
        if self.how.show is None:
            return
        with one.log.open("rb") as stream:
            stream.seek(one.shown)
            more = stream.read()
        if more:
            one.shown += len(more)
            self.how.show(more)

    def _stop(self, number: signal.Signals) -> None:
        """Send a signal to every running group, once: a second one would end a training before it has saved."""
        if self.running:
            names = ", ".join(one.node.name for one in self.running)
            self.how.tell(f"\nstopping: {names} may save and end (again: end at once)")
        for one in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, number)


def started(node: Node) -> list[str]:
    """Return what a node's process is started as: our module, by torchrun if there are several processes."""
    many = (
        ["torch.distributed.run", "--standalone", "--nproc-per-node", str(node.processes), "-m"] if node.processes > 1 else []
    )
    return [sys.executable, "-m", *many, PROGRAMS[node.words[0]], *node.words[1:]]


def environment(how: How, slot: int) -> dict[str, str]:
    """Return a child's environment: its share of the cores and of the GPUs named, and whether its bar is looked at."""
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    if how.live:
        size = shutil.get_terminal_size()
        env |= {LIVE: "1", "COLUMNS": str(size.columns), "LINES": str(size.lines)}
    if how.jobs > 1:
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // how.jobs)))
        if devices := [device for device in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]:
            env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return env


def command_line(node: Node) -> str:
    """Return a node's command as one would type it."""
    import shlex

    many = f"torchrun --standalone --nproc-per-node {node.processes} -m " if node.processes > 1 else ""
    program = PROGRAMS[node.words[0]] if many else node.words[0]
    return many + shlex.join([program, *node.words[1:]])


def made(node: Node) -> bool:
    """Tell whether what a node is to make is there, and whole: a training that SIGTERM stops ends well, too."""
    return node.out is None or (node.out.exists() and not is_unfinished(node.out))


def why(node: Node, code: int) -> str:
    """Return how a node failed, in words."""
    if code == 0 and node.out is not None and is_unfinished(node.out):
        return "it was asked to stop and has saved its state; the same study goes on"
    if code == 0:
        return f"it ended well, but {node.out} is not there"
    return f"exit {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def tail(path: Path, lines: int = TAIL) -> list[str]:
    """Return the last lines of a log; of a line that was redrawn, what stood there last."""
    text = path.read_bytes()[-65536:].decode("utf-8", "replace") if path.is_file() else ""
    drawn = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in drawn if line][-lines:]
