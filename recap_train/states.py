"""A run's weights and optimiser as one plain state: the same names and shapes for one process, DDP and FSDP.

A state saved by any number of processes is loaded by any other (torch.distributed.checkpoint's state-dict helpers).
All processes must call these functions; only the first is given a state to write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_train.parallel import local

if TYPE_CHECKING:
    import torch

State = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A module as a process holds it.

    Args:
        module: What is called in a training step; its weights may be parts.
        scalars: Names of the weights that it holds with one dimension and that have none (see `parallel.spread`).
    """

    module: torch.nn.Module
    scalars: frozenset[str] = frozenset()

    def settle(self) -> None:
        """Let FSDP hold its parts only: a forward pass without a backward pass leaves some weights whole."""
        reshard = getattr(self.module, "reshard", None)
        if reshard is not None:
            reshard()

    def weights(self) -> State:
        """Return the whole weights on the CPU."""
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        self.settle()
        return self._shaped(get_model_state_dict(self.module, options=_options()), ())

    def load_weights(self, state: State) -> None:
        """Put whole weights into the module."""
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        set_model_state_dict(self.module, self._shaped(state, (1,)), options=_options())

    def optimizer(self, optimizer: torch.optim.Optimizer) -> State:
        """Return the whole optimiser state, by names of weights."""
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        return self._moments_shaped(get_optimizer_state_dict(self.module, optimizer, options=_options()), ())

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Put a whole optimiser state into an optimiser."""
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        set_optimizer_state_dict(self.module, optimizer, self._moments_shaped(state, (1,)), options=_options())

    def _shaped(self, state: State, shape: tuple[int, ...]) -> State:
        return state | {name: state[name].reshape(shape) for name in self.scalars & state.keys()}

    def _moments_shaped(self, state: State, shape: tuple[int, ...]) -> State:
        moments = dict(state.get("state", {}))
        for name in self.scalars & moments.keys():
            moments[name] = {key: value if key == "step" else value.reshape(shape) for key, value in moments[name].items()}
        return state | {"state": moments} if state else state


def _options() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)


class Average:
    """An exponential moving average of the weights, each process holding its own part of it.

    It begins at the initial weights, as DiT's does.

    Args:
        spread: The module whose weights are averaged.
        decay: What is kept of the average at each step.
    """

    def __init__(self, spread: Spread, decay: float) -> None:
        from torch.optim.swa_utils import get_ema_multi_avg_fn

        self._spread, self._lerp = spread, get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._shadow = [weight.clone() for weight in self._live()]

    def _live(self) -> list[torch.Tensor]:
        self._spread.settle()
        return [local(weight.detach()) for weight in self._spread.module.parameters()]

    def update(self) -> None:
        """Take the weights of a step into the average."""
        self._lerp(self._shadow, self._live(), 0)  # under no_grad by itself

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module for as long as the block lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for shadow, live in zip(self._shadow, self._live(), strict=True):
            held = live.clone()
            live.copy_(shadow)
            shadow.copy_(held)

    def weights(self) -> State:
        """Return the whole average on the CPU, under the names of the weights."""
        with self.applied():
            return {name: value.clone() for name, value in self._spread.weights().items()}

    def load(self, state: State) -> None:
        """Go on from a saved average; the module's weights are overwritten."""
        self._spread.load_weights(state)
        self._shadow = [weight.clone() for weight in self._live()]
