"""Parts of a run on the actors of a Ray cluster; a part whose actor or machine dies is given out again.

Ray finds places and notices deaths. That nothing is lost or done twice is the business of those who use this: what a
part leaves behind must be whole or not there, and the same if it is done again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic

from recap_eval.cluster import worker
from recap_eval.cluster.code import code_here, difference
from recap_eval.cluster.job import Job, P, R, room_for
from recap_eval.console import note
from recap_eval.errors import DataError, UserError

TRIES = 5  # actors that a part may outlive; machines that can be taken away at any time take away more than one
POLL = 1.0  # seconds
LOOK = 10.0  # seconds between looks at which machines there are
SILENCE = 30.0  # seconds without any actor that works, before it is said


def on_cluster(ray: Any, parts: Sequence[P], job: Job[P, R], tell: Callable[[str], None] = note) -> Iterator[tuple[P, R]]:
    """Yield every part with what came of it, as they come.

    Args:
        ray: The library, connected: see `connect.connected`.
        parts: The parts.
        job: What is to be done with them.
        tell: Says what the user should know.

    Raises:
        UserError: What a part raised; or the cluster has no machine that is large enough.
        DataError: A machine runs other code; or a part was begun `TRIES` times and its actor died every time, and the others
            are done.
    """
    crew = Crew(ray, parts, job, tell)
    ray.cloudpickle.register_pickle_by_value(worker)
    try:
        yield from crew.results()
    finally:
        ray.cloudpickle.unregister_pickle_by_value(worker)
        crew.dismiss()


class Crew(Generic[P, R]):
    """The actors of a run, and who does what.

    Args:
        ray: The library, connected.
        parts: The parts.
        job: What is to be done with them.
        tell: Says what the user should know.
    """

    def __init__(self, ray: Any, parts: Sequence[P], job: Job[P, R], tell: Callable[[str], None]) -> None:
        self._ray, self._parts, self._job, self._tell = ray, parts, job, tell
        needs = job.needs
        self._new = ray.remote(
            max_restarts=0, max_task_retries=0, num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory or None
        )(worker.Worker)
        self._make: Any = None
        self._waiting = deque(range(len(parts)))
        self._deaths: Counter[int] = Counter()
        self._progress: object = None
        self._given_up: dict[int, str] = {}  # parts by number, and why
        self._stillborn = 0  # actors that died before they began, since the last one that did begin
        self._hired: dict[Any, str] = {}  # actors, and the machine of each that began
        self._beginning: dict[Any, Any] = {}  # what is awaited → actor
        self._doing: dict[Any, tuple[Any, int]] = {}  # what is awaited → actor, part
        self._idle: list[Any] = []
        self._next_look = 0.0
        self._last_work = time.monotonic()

    def results(self) -> Iterator[tuple[P, R]]:
        """Yield every part with what came of it."""
        while self._waiting or self._doing:
            if self._job.watch():
                self._begin_nothing()
            self._hire()
            self._hand_out()
            for awaited in self._ready():
                if awaited in self._beginning:
                    self._begun(awaited)
                else:
                    yield from self._done(awaited)
        self._tell_given_up()

    def _begin_nothing(self) -> None:
        self._waiting.clear()
        while self._beginning:
            self._drop(self._beginning.popitem()[1])

    def dismiss(self) -> None:
        """End all actors."""
        for actor in list(self._hired):
            self._drop(actor)

    def _drop(self, actor: Any) -> str:
        """End an actor, be it dead already or not; returns its machine."""
        self._ray.kill(actor)
        return self._hired.pop(actor)

    def _hire(self) -> None:
        """Start actors, as many as there is work and room for; those that still wait for a place are dropped if too many."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK
        room = self._job.actors or self._room(first=self._make is None)
        if self._make is None:
            self._make = self._ray.put(self._ray.cloudpickle.dumps(self._job.make))
        lacking = min(room, len(self._waiting) + len(self._doing)) - len(self._hired)
        for _ in range(lacking):
            actor = self._new.remote()
            self._hired[actor] = ""
            self._beginning[actor.begin.remote(self._make, code_here())] = actor
        for _ in range(min(-lacking, len(self._beginning))):
            self._drop(self._beginning.popitem()[1])

    def _room(self, first: bool) -> int:
        room = room_for(self._ray, self._job.needs)
        if first and not room:
            raise UserError(
                f"No machine of the cluster has {self._job.needs}, which one worker takes.",
                "Ask for less, add a machine, or say how many workers to wait for: --ray-workers N",
            )
        return room

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            actor, part = self._idle.pop(), self._waiting.popleft()
            self._doing[actor.do.remote(self._parts[part])] = (actor, part)
        while self._idle:  # nothing is left for them: others may have their place
            self._drop(self._idle.pop())

    def _ready(self) -> list[Any]:
        now = time.monotonic()
        if self._doing:
            self._last_work = now
        elif now - self._last_work > SILENCE:
            self._tell(f"Waiting for {len(self._beginning) or 'new'} workers to begin, each with {self._job.needs}.")
            self._last_work = now
        awaited = [*self._beginning, *self._doing]
        if not awaited:
            time.sleep(POLL)
            return []
        ready: list[Any] = self._ray.wait(awaited, num_returns=1, timeout=POLL)[0]
        return ready

    def _begun(self, awaited: Any) -> None:
        actor = self._beginning.pop(awaited)
        try:
            machine, code = self._get(awaited)
        except self._lost as error:
            self._stillborn += 1
            if self._stillborn >= TRIES * len(self._hired):
                raise DataError(f"Workers die before they begin ({_reason(error)}).", LOGS) from error
            self._drop(actor)
            return
        if (other := difference(code_here(), code)) is not None:
            what = other if code else "no recap that knows --ray"
            raise DataError(f"{machine} of the cluster has {what}.", "Install the same there as here: docs/scale.md says what.")
        self._stillborn = 0
        self._hired[actor] = machine
        self._idle.append(actor)

    def _done(self, awaited: Any) -> Iterator[tuple[P, R]]:
        actor, part = self._doing.pop(awaited)
        try:
            found = self._get(awaited)
        except self._lost as error:
            self._again(part, self._drop(actor), error)
            return
        self._idle.append(actor)
        self._hand_out()
        yield self._parts[part], found

    def _again(self, part: int, machine: str, error: Exception) -> None:
        if (progress := self._job.progress()) != self._progress:
            self._progress = progress
            self._deaths.clear()
        self._deaths[part] += 1
        self._next_look = 0.0
        name, times = self._job.name(self._parts[part]), self._deaths[part]
        if times < TRIES:
            self._waiting.append(part)
            self._tell(f"{name}: its process on {machine} died; it is begun again ({times} of {TRIES - 1}).")
            return
        self._given_up[part] = f"last on {machine}: {_reason(error)}"
        self._tell(f"{name}: {TRIES} processes died at it; it is set aside.")

    def _tell_given_up(self) -> None:
        for part, why in self._given_up.items():
            others = f", and at {len(self._given_up) - 1} others" if len(self._given_up) > 1 else ""
            raise DataError(f"{self._job.name(self._parts[part])}: {TRIES} processes died at it ({why}){others}.", LOGS)

    def _get(self, awaited: Any) -> Any:
        """Return what came, or raise what was raised there as if it were here."""
        try:
            return self._ray.get(awaited)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises when an actor or its machine is gone."""
        known = self._ray.exceptions
        return known.RayActorError, known.NodeDiedError, known.WorkerCrashedError, known.ObjectLostError, known.OutOfMemoryError


LOGS = "Ray's logs on that machine say why (/tmp/ray/session_latest/logs); often memory. What is done is kept."
DEAD = "The actor is dead because"


def _reason(error: Exception) -> str:
    """Return Ray's reason in one short line."""
    words = " ".join(str(error).split())
    return words[max(0, words.find(DEAD)) :][:200].rstrip(".")
