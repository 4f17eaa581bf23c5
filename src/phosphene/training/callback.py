"""Callback: the core of all that draws during training. Told of moments, it draws what is due and hands it to the sinks."""

from __future__ import annotations

import atexit
from abc import abstractmethod
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import nn

from ..ambient import shielded_methods
from ..errors import RequestError, first_line
from ..network.network import Network
from ..pictures import contact_sheet
from . import guard
from .averaged import Weights, averaged
from .fluent import Fluent
from .moment import Event, Moment, Shown
from .problems import LOG, Problems
from .sinks import Sink


@shielded_methods
class Callback(Fluent):
    """What all callbacks share. A subclass says what is drawn.

    net      the Network whose module is trained, or the module. It is read through a private copy: modes, frozen layers, hooks,
             gradients, random numbers and autocast stay as they are, and the losses are those of a training without this
    weights  others than the module's own, for averaged ones (EMA): a module such as AveragedModel, or a function that gives one
             or a state dict

    What goes wrong while drawing is a warning, once, and one of `problems`; the training goes on.
    drawings, put_off  how often it drew, and how often the budget did not allow it
    """

    kind = "pictures"

    def __init__(self, net: Network | nn.Module, *, weights: Weights | None = None) -> None:
        super().__init__()
        self.net = net if isinstance(net, Network) else Network(net)
        self._averaged = None if weights is None else averaged(self.net, weights)
        self._problems = Problems()
        self.drawings, self.put_off = 0, 0
        self._cache: list[Shown] = []
        self._expected: float | None = None  # seconds of the next drawing
        self._owed: Moment | None = None  # the last one that was put off
        self._hung: list[Sink] = []  # which are left out
        self._open = False

    def __repr__(self) -> str:
        where = ", ".join(type(sink).__name__ for sink in self.sinks)
        return f"{type(self).__name__}({self.net.name}, {self.count} pictures a time, to {where or 'nowhere'})"

    @property
    @abstractmethod
    def count(self) -> int:
        """How many pictures there are to draw."""

    @abstractmethod
    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        """The pictures of these places."""

    def rehearse(self, net: Network, items: Sequence[int]) -> float:
        """Seconds that a first drawing will take about; 0 where that is little or only to be found by drawing."""
        return 0.0

    @property
    def problems(self) -> list[str]:
        """What went wrong so far."""
        return self._problems.said

    def begin(self) -> None:
        """The training begins, or goes on. RequestError unless it was said when to draw and where to put it."""
        if not self.triggers:
            raise RequestError(
                f"{type(self).__name__} is not told when to draw; .on_train(), .on_val() or .on_test() is needed"
            )
        if not self.sinks:
            raise RequestError(
                f"{type(self).__name__} is not told where to draw; .to_file(), .to_tensorboard() or another is needed"
            )
        self.budgeted.start()
        if not self._open:
            atexit.register(self.close, finished=False)
            self._open = True

    def tell(
        self,
        event: Event,
        epoch: int,
        step: int,
        *,
        state: MutableMapping[Any, Any] | None = None,
        loggers: Sequence[Any] = (),
        log_dir: str | None = None,
    ) -> None:
        """What the training has just done. Never raises, but for Ctrl-C."""
        if not self._open:
            self.begin()
        moment = Moment(event, epoch, step, {} if state is None else state, tuple(loggers), log_dir)
        now = self.budgeted.clock()
        due = [trigger.due(moment, now) for trigger in self.triggers]  # all of them: they count
        if any(due) and self._items():
            self._answer(moment)

    def close(self, *, finished: bool = True) -> None:
        """The training has ended: what was put off last is made up for, unless it broke off, and files are completed."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        with guard.untouched(), self.budgeted.spending():
            if finished and self._owed is not None:
                self._draw(self._owed)
            if self._cache:
                self._hand_on(self._cache)
                self._cache = []
            for sink in self.sinks:
                self._trying(sink.close, sink)
        if self.put_off:
            LOG.warning(self._said_of_budget())

    def _answer(self, moment: Moment) -> None:
        with guard.untouched():
            with self.budgeted.spending():
                if self._expected is None and self.budgeted.share is not None and moment.event != "test":
                    self._expected = self._rehearsed()
            if moment.event != "test" and not self.budgeted.allows(self._expected or 0.0):
                self.put_off += 1
                self._owed = moment
                return
            before = self.budgeted.spent
            with self.budgeted.spending():
                self._draw(moment)
            self._expected = self.budgeted.spent - before
            self.budgeted.drew()

    def _rehearsed(self) -> float:
        try:
            return self.rehearse(self.net, self._items())
        except (Exception, SystemExit) as error:  # as in `_draw`, which will meet it again if it lasts
            self._problems.report(self, f"{self.kind} were not tried: {first_line(error)}")
            return 0.0

    def _draw(self, moment: Moment) -> None:
        self._owed = None
        try:
            net = self.net if self._averaged is None else self._averaged()
            _check_finite(net)
            # A validation may run in inference mode, whose tensors no gradient passes.
            with torch.inference_mode(False):
                pictures = self.draw(net, self._items(), moment)
        except (Exception, SystemExit) as error:  # whatever a network in training does, it must not end the training
            self._problems.report(self, f"{self.kind} were not drawn at {moment}: {first_line(error)}")
            return
        self.drawings += 1
        self._cache += pictures
        if not self.cached or len(self._cache) >= self.cached:
            kept = len(self._cache) // self.cached * self.cached if self.cached else len(self._cache)
            ready, self._cache = self._cache[:kept], self._cache[kept:]
            size = self.cached or kept
            for start in range(0, kept, size):
                self._hand_on(ready[start : start + size])

    def _hand_on(self, pictures: list[Shown]) -> None:
        several = [self._grid(pictures)] if self.gridded else pictures
        for sink in self.sinks:
            self._trying(partial(sink.take, several), sink)

    def _trying(self, act: Callable[[], object], sink: Sink) -> None:
        if sink in self._hung:
            return
        try:
            with guard.limited(sink.longest):
                act()
        except guard.Hung:
            self._hung.append(sink)
            said = f"{type(sink).__name__} took over {sink.longest:g} s and was stopped; the training goes on without it"
            self._problems.report(act, said)
        except (Exception, SystemExit) as error:  # a full disk, a logger that is gone: a picture is worth no training
            self._problems.report(sink, f"{type(sink).__name__} failed: {first_line(error)}; the training goes on without it")

    def _grid(self, pictures: list[Shown]) -> Shown:
        last = pictures[-1]
        several = len({one.moment.step for one in pictures}) > 1
        tiles = [contact_sheet.Tile(one.image, (one.name, *((str(one.moment),) if several else ()))) for one in pictures]
        image: Image.Image = contact_sheet.contact_sheet(tiles, title=f"{self.kind}, {last.moment}", columns=self.columns)
        return Shown(image, "all", 0, self.kind, last.moment)

    def _items(self) -> Sequence[int]:
        """The pictures that this process draws."""
        rank, world = guard.rank()
        if self.ranks == "share":
            return range(rank, self.count, world)
        return range(self.count) if rank == 0 else range(0)

    def _said_of_budget(self) -> str:
        share = self.budgeted.share or 0.0
        return (
            f"{self.kind}: drawn {self.drawings} times, put off {self.put_off} times to stay within {share:.0%} of the "
            "training's time; .budget(0.2), fewer steps or a smaller size draws more often"
        )


def _check_finite(net: Network) -> None:
    """A loss that was NaN has made the weights so; no picture can be drawn of them."""
    for name, tensor in net.module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RequestError(f"{name} holds NaN or infinite values")
