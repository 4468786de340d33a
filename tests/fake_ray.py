"""As much of Ray as `recap_eval.cluster` uses, in this process: actors do what they are asked when somebody waits for it."""

from __future__ import annotations

import pickle
import random
from types import SimpleNamespace


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(f"remote traceback of {cause!r}")
        self.cause = cause


class RayActorError(RayError):
    pass


class OtherLoss(RayError):
    pass


EXCEPTIONS = SimpleNamespace(
    RayError=RayError, RayTaskError=RayTaskError, RayActorError=RayActorError, NodeDiedError=OtherLoss,
    WorkerCrashedError=OtherLoss, ObjectLostError=OtherLoss, OutOfMemoryError=OtherLoss,
)  # fmt: skip


class FakeRay:
    """A cluster.

    `machines` is [{"CPU": 4, …}, …]; `dies(method, argument)` says whether an actor dies when it is asked that.
    """

    exceptions = EXCEPTIONS

    def __init__(self, machines, dies=lambda method, argument: False, seed=0):
        self.machines, self._dies, self._random = list(machines), dies, random.Random(seed)
        self.actors, self.options, self.most, self.by_value = [], None, 0, set()
        self.cloudpickle = SimpleNamespace(
            dumps=pickle.dumps, register_pickle_by_value=self.by_value.add, unregister_pickle_by_value=self.by_value.remove
        )

    def remote(self, **options):
        self.options = options
        return lambda kind: SimpleNamespace(remote=lambda: self._start(kind))

    def _start(self, kind):
        actor = Actor(self, kind())
        self.actors.append(actor)
        return actor

    @property
    def living(self):
        return [actor for actor in self.actors if actor.alive]

    @property
    def running(self):
        """Those that have a place; the others wait for one."""
        room = sum(int(machine["CPU"] // self.options["num_cpus"]) for machine in self.machines)
        return self.living[:room]

    def lose_all(self):
        """Take away all machines."""
        self.machines = []
        for actor in self.actors:
            actor.alive = False

    def nodes(self):
        return [{"Alive": True, "Resources": machine} for machine in self.machines]

    def put(self, value):
        return value

    def kill(self, actor):
        actor.alive = False

    def wait(self, awaited, num_returns, timeout):
        assert num_returns == 1 and len(set(awaited)) == len(awaited)
        if lost := [one for one in awaited if not one.actor.alive]:
            return lost[:1], awaited
        running = self.running
        self.most = max(self.most, len(running))
        able = [one for one in awaited if one.actor in running]
        return ([self._random.choice(able)] if able else []), awaited

    def get(self, one):
        actor = one.actor
        if not actor.alive:
            raise OtherLoss("lost with its machine")
        if self._dies(one.method, one.arguments[0]):
            actor.alive = False
            raise RayActorError("The actor died. pid: 7 The actor is dead because its worker process has died. Exit type: X")
        try:
            return pickle.loads(pickle.dumps(getattr(actor.instance, one.method)(*one.arguments)))
        except Exception as error:  # noqa: BLE001 (so does Ray)
            raise RayTaskError(pickle.loads(pickle.dumps(error))) from None


class Actor:
    def __init__(self, ray, instance):
        self.ray, self.instance, self.alive = ray, instance, True

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *arguments: Asked(self, method, arguments))


class Asked:
    def __init__(self, actor, method, arguments):
        self.actor, self.method, self.arguments = actor, method, arguments
