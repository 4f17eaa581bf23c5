"""Study: the trials of one tuning, suggested and kept by Optuna. The only place that speaks to it."""

from __future__ import annotations

import importlib.util
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..errors import ExtraError, FolderError, PhospheneError, RequestError, first_line, shown
from ..seeding import stream_seed
from .space import Knob

NAME = "phosphene tune"
IDENTITY = "phosphene"  # the attribute that says of what the study is
SAID = "said"  # the attribute that holds what a trial gave
RANDOM = 8  # trials before the first that learns from others
PATIENCE = 30.0  # seconds to wait for a file that another program is writing

T = TypeVar("T")


class Study:
    """A study in an SQLite file, or in memory; closed when left.

    identity  what the trials are of, in plain words and numbers; a file with another one is refused, in one sentence
    The k-th suggestion depends on the seed and the trials finished before it alone, so that a study that was interrupted goes
    on as if it had not been.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any], seed: int) -> None:
        check_extra()
        self._seed = seed
        self._path = path
        self._trial: Any = None  # the one that runs
        with _quiet(), self._kept(writing=False):
            self._storage, self._study = _opened(path)
            self._check(dict(identity))
            self.abandon()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is not None:
                self.abandon()
        finally:
            if self._storage is not None:
                self._storage.remove_session()
                self._storage.engine.dispose()

    def finished(self, made: Callable[[dict[str, Any]], T]) -> list[T]:
        """What the finished trials gave, in their order, each as `made` makes it."""
        with self._kept(writing=False):
            return [made(trial.user_attrs[SAID]) for trial in self._in_state("COMPLETE")]

    def suggest(self, knobs: tuple[Knob, ...]) -> dict[str, float]:
        """Settings to try next, of a trial that now runs; the base's first."""
        import optuna

        with _quiet(), self._kept():
            count = len(self._in_state("COMPLETE"))
            self._study.sampler = optuna.samplers.TPESampler(
                seed=stream_seed(self._seed, "trial", str(count)) % 2**32,
                n_startup_trials=RANDOM,
                multivariate=True,
                constant_liar=False,
            )
            if not count and not self._in_state("WAITING"):
                self._study.enqueue_trial({knob.name: knob.base for knob in knobs})
            self._trial = self._study.ask({knob.name: _distribution(knob) for knob in knobs})
        return {knob.name: knob.tidied(self._trial.params[knob.name]) for knob in knobs}

    def tell(self, score: float, passes: int, said: Mapping[str, Any]) -> None:
        """What the running trial gave. The search weighs the score against passes, not seconds: they are the same on every
        machine and at every load, so that its suggestions are too."""
        with _quiet(), self._kept():
            self._trial.set_user_attr(SAID, dict(said))
            self._study.tell(self._trial, [score, float(passes)])

    def abandon(self) -> None:
        """Mark as failed what runs, or ran when a program was killed; its settings will be suggested again."""
        from optuna.trial import TrialState

        with _quiet(), self._kept():
            for trial in self._in_state("RUNNING"):
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _in_state(self, name: str) -> list[Any]:
        from optuna.trial import TrialState

        return list(self._study.get_trials(deepcopy=False, states=(TrialState[name],)))

    def _check(self, identity: dict[str, Any]) -> None:
        kept = self._study.user_attrs.get(IDENTITY)
        if kept is None and not self._study.trials:
            self._study.set_user_attr(IDENTITY, identity)
            return
        if not isinstance(kept, dict):
            raise RequestError(f"{shown(str(self._path))} holds a study that is none of Phosphene's; another folder is needed")
        if other := [word for word, value in identity.items() if kept.get(word) != value]:
            raise RequestError(
                f"{shown(str(self._path))} holds a tuning with another {' and another '.join(other)}; "
                "go on as it was begun, or give another folder"
            )

    @contextmanager
    def _kept(self, *, writing: bool = True) -> Iterator[None]:
        """One sentence for whatever Optuna, SQLAlchemy and SQLite raise of a file that is no study, damaged or not writable."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except PhospheneError:
            raise
        except (SQLAlchemyError, OptunaError, RuntimeError, ValueError, LookupError, TypeError) as error:
            cause = error.__cause__ or error
            cause = getattr(cause, "orig", None) or cause  # SQLite's own, without what SQLAlchemy puts around it
            unwritable = FolderError.of(shown(str(self._path)), cause)
            if unwritable.status == 1 or (writing and isinstance(error, SQLAlchemyError | OptunaError)):
                raise unwritable from error
            raise RequestError(
                f"{shown(str(self._path))} cannot be read as a study: {first_line(cause)}; another folder is needed"
            ) from error


def check_extra() -> None:
    """ExtraError without Optuna."""
    if importlib.util.find_spec("optuna") is None:
        raise ExtraError("tuning needs Optuna; pip install 'phosphene[tune]'")


def _opened(path: Path | None) -> tuple[Any, Any]:
    import optuna

    storage = None
    if path is not None:
        # Not sqlite:///PATH: what a folder may be called, as with ? or %, cannot be said in a URL that all versions read alike.
        kept = {"creator": lambda: sqlite3.connect(path, timeout=PATIENCE)}
        storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=kept)
    directions = ["maximize", "minimize"]
    study = optuna.create_study(storage=storage, study_name=NAME, directions=directions, load_if_exists=True)
    return storage, study


def _distribution(knob: Knob) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return CategoricalDistribution(knob.choices) if knob.choices else FloatDistribution(knob.low, knob.high, log=knob.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of every trial on standard error, and that its sampler of joint settings may yet change."""
    import optuna

    level = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)
