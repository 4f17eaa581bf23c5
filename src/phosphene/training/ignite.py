"""For Ignite: handlers on its engines."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from ..errors import ExtraError, RequestError, shown
from .fluent import Fluent
from .moment import Event


class EngineState(MutableMapping[Any, Any]):
    """`engine.state` as a mapping: a key is the name of an attribute."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getitem__(self, key: Any) -> Any:
        try:
            return getattr(self._state, str(key))
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        setattr(self._state, str(key), value)

    def __delitem__(self, key: Any) -> None:
        delattr(self._state, str(key))

    def __iter__(self) -> Iterator[Any]:
        return iter(vars(self._state))

    def __len__(self) -> int:
        return len(vars(self._state))


def attach(watch: Fluent, trainer: Any, evaluator: Any = None, tester: Any = None) -> Fluent:
    """The engines tell `watch` what they do. Epochs and steps are the trainer's; a step is an iteration.

    Where gradients are accumulated an iteration is a part of a step: every=4 is then every second update of two parts.
    """
    try:
        from ignite.engine import Engine, Events
    except ImportError as error:
        raise ExtraError("a handler for Ignite needs it; pip install 'phosphene[ignite]'") from error
    for engine in (trainer, evaluator, tester):
        if engine is not None and not isinstance(engine, Engine):
            raise RequestError(f"an engine is {shown(engine)}; an ignite.engine.Engine is needed")

    def tell(event: Event) -> None:
        state = trainer.state
        watch.tell(event, max(state.epoch - 1, 0), state.iteration, state=EngineState(state))

    trainer.add_event_handler(Events.STARTED, watch.begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, tell, "step")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, tell, "epoch")
    trainer.add_event_handler(Events.COMPLETED, watch.close)
    # No handler for exceptions: with one, Ignite would not raise them to the caller. What is open is closed at the exit.
    if evaluator is not None:
        evaluator.add_event_handler(Events.COMPLETED, tell, "val")
    if tester is not None:
        tester.add_event_handler(Events.COMPLETED, tell, "test")
        tester.add_event_handler(Events.COMPLETED, watch.close)
    return watch
