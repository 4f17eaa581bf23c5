"""Fluent: how a callback is put together, as a sentence: what, when, where, for which training loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from .. import checks, registry
from ..errors import RequestError, shown
from ..pictures import animation
from .moment import Event, Shown
from .schedule import FLOOR, SHARE, Budget, Every, Trigger
from .sinks import Handled, Handler, Sink

if TYPE_CHECKING:
    from .loop import Loop

Ranks = Literal["first", "share"]


class Fluent:
    """Every method but the adapters gives the callback itself."""

    def __init__(self) -> None:
        self.triggers: list[Trigger] = []
        self.sinks: list[Sink] = []
        self.budgeted = Budget(floor=FLOOR)
        self.ranks: Ranks = "first"
        self.cached = 0
        self.columns: int | None = None
        self.gridded = False

    # when

    def on_train(self, every: Every = "1 epoch") -> Self:
        """During training: every=100 or "100 steps", "2 epochs", "5 minutes". A step is an update of the weights."""
        unit = Trigger.of(("step",), every).unit
        events: tuple[Event, ...] = ("epoch",) if unit == "epochs" else ("step",)
        if unit == "runs":
            raise RequestError(f"every is {shown(every)}; in training, steps, epochs or minutes are needed")
        return self._when(Trigger.of(events, every))

    def on_val(self, every: Every = 1) -> Self:
        """After a run over the validation data: every=2 is every second run; or "2 epochs", "500 steps", "10 minutes"."""
        return self._when(Trigger.of(("val",), every))

    def on_test(self) -> Self:
        """After a run over the test data. The budget does not hold there: there is no training to keep from its work."""
        return self._when(Trigger.of(("test",), 1))

    def budget(self, share: float | None = SHARE) -> Self:
        """The share of the training's time that drawing may take, 0 to 1; None: as much as it needs.

        Unless this is called, 5 seconds are allowed however short the training.
        A drawing that would pass it is put off to the next moment at which it is due; the last one is made up for at the end.
        """
        self.budgeted.floor = 0.0
        self.budgeted.share = None if share is None else checks.real("budget", share, low=0, high=1)
        return self

    def on_ranks(self, which: Ranks) -> Self:
        """Of several processes "first": rank 0 draws; "share": each draws a part, for sinks of its own process."""
        if which not in ("first", "share"):
            raise RequestError(f"ranks {shown(which)}; first or share is needed")
        self.ranks = which
        return self

    # where

    def to(self, sink: str | Sink, *settings: Any, **named: Any) -> Self:
        """A Sink, or the name of a registered one with its settings."""
        made = registry.find("sinks", sink)(*settings, **named) if isinstance(sink, str) else sink
        if not isinstance(made, Sink):
            raise RequestError(f"sink is {shown(made)}; one of {', '.join(registry.names('sinks'))} or a Sink is needed")
        self.sinks.append(made)
        return self

    def to_file(self, pattern: str | Path) -> Self:
        """A file a picture: "epoch{epoch:03d}-{class}.png"; {epoch} {step} {phase} {class} {index} {kind} {photo}."""
        return self.to("file", pattern)

    def to_animation(self, path: str | Path, *, seconds: float = animation.SECONDS, label: bool = True) -> Self:
        """The picture over the epochs: "{class}.gif", also .webp, .apng, .mp4."""
        return self.to("animation", path, seconds=seconds, label=label)

    def to_pyplot(self, title: str | None = None, *, show: bool = True) -> Self:
        return self.to("pyplot", title, show=show)

    def to_tensorboard(self, log_dir: str | Path | None = None, *, writer: Any = None) -> Self:
        """Into this folder or SummaryWriter; of none, into that of Lightning or the Trainer, else runs/phosphene."""
        return self.to("tensorboard", log_dir, writer=writer)

    def to_wandb(self, *, run: Any = None, project: str | None = None, directory: str | Path | None = None) -> Self:
        """Into this run, or the one that is open, or a new one of that project."""
        settings = {"project": project, "dir": None if directory is None else str(directory)}
        return self.to("wandb", run=run, **{name: value for name, value in settings.items() if value is not None})

    def to_mlflow(self, run_id: str | None = None, *, tracking_uri: str | None = None, experiment: str = "phosphene") -> Self:
        """Into this run, or the one that is open, or a new one of that experiment."""
        return self.to("mlflow", run_id, tracking_uri=tracking_uri, experiment=experiment)

    def to_state(self, keys: Any) -> Self:
        """Into the training's state, (c, h, w) in [0, 1] per key: torchbearer's state, Ignite's engine.state, Loop.state."""
        return self.to("state", keys)

    def with_handler(self, handler: Handler, index: int | Sequence[int] | None = None) -> Self:
        """Any function of a Shown."""
        return self.to(Handled(handler, index))

    def cache(self, count: int) -> Self:
        """Keep pictures back until there are so many, over several moments if need be, and hand them on together."""
        self.cached = checks.whole("cache", count, low=1, high=4096)
        return self

    def make_grid(self, columns: int | None = None) -> Self:
        """All pictures of one moment, or of one cache, as one labelled sheet."""
        self.columns = None if columns is None else checks.whole("columns", columns, low=1)
        self.gridded = True
        return self

    # for which training loop

    def for_loop(self) -> Loop:
        """For a loop of one's own."""
        from .loop import Loop

        return Loop(self)

    def for_lightning(self) -> Any:
        """A Callback for `Trainer(callbacks=[…])` of lightning or pytorch_lightning."""
        from .lightning import callback

        return callback(self)

    def for_ignite(self, trainer: Any, evaluator: Any = None, tester: Any = None) -> Any:
        """Attached to Ignite's engines: of training, of validation, of testing."""
        from .ignite import attach

        return attach(self, trainer, evaluator, tester)

    def for_transformers(self) -> Any:
        """A TrainerCallback for Hugging Face's `Trainer(callbacks=[…])`."""
        from .transformers import callback

        return callback(self)

    def for_keras(self) -> Any:
        """A Callback for Keras 3 on torch: `model.fit(callbacks=[…])`."""
        from .keras import callback

        return callback(self)

    def for_torchbearer(self) -> Any:
        """A Callback for torchbearer's `Trial(callbacks=[…])`."""
        from .torchbearer import callback

        return callback(self)

    def _when(self, trigger: Trigger) -> Self:
        self.triggers.append(trigger)
        return self

    # what the adapters tell; `Callback` answers

    def begin(self) -> None:
        raise NotImplementedError

    def tell(
        self,
        event: Event,
        epoch: int,
        step: int,
        *,
        state: Any = None,
        loggers: Sequence[Any] = (),
        log_dir: str | None = None,
    ) -> None:
        raise NotImplementedError

    def close(self, *, finished: bool = True) -> None:
        raise NotImplementedError

    def drawn(self, items: Sequence[int]) -> list[Shown]:
        raise NotImplementedError
