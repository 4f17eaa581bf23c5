"""Sinks of other people's loggers: TensorBoard, Weights & Biases, MLflow. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pictures import contact_sheet, files
from .moment import Moment, Shown
from .sinks import Sink, needed, tag

LOG_DIR = "runs/phosphene"


class TensorBoard(Sink):
    """Images of TensorBoard, at the step of the training.

    writer   a SummaryWriter, or what has its `add_image`
    log_dir  of a writer of our own. None of both: the training's own (Lightning's TensorBoardLogger, the folder of Hugging
             Face's Trainer), or one in runs/phosphene
    """

    def __init__(self, log_dir: str | Path | None = None, *, writer: Any = None) -> None:
        if writer is None:
            needed("tensorboard", "tensorboard", "tensorboard")
        self._log_dir, self._given = log_dir, writer
        self._own: Any = None

    def take(self, pictures: Sequence[Shown]) -> None:
        writer = self._writer(pictures[0].moment)
        for one in pictures:
            writer.add_image(tag(one), _captioned(one).array, one.moment.step, dataformats="HWC")
        writer.flush()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def _writer(self, moment: Moment) -> Any:
        if self._given is not None:
            return self._given
        theirs = next((one.experiment for one in moment.loggers if type(one).__name__ == "TensorBoardLogger"), None)
        if theirs is not None and self._log_dir is None:
            return theirs
        if self._own is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = files.folder(self._log_dir or moment.log_dir or LOG_DIR)
            self._own = SummaryWriter(str(folder))
        return self._own


class Wandb(Sink):
    """Images of Weights & Biases, with the epoch and the step beside them.

    run   that of `wandb.init`; None: the run that is open, or one of our own of these settings of `wandb.init`
    In a run that is not ours, pictures join the next row that the training logs: its steps stay its own.
    """

    def __init__(self, *, run: Any = None, **settings: Any) -> None:
        needed("wandb", "wandb", "wandb")
        self._given, self._settings = run, settings
        self._own: Any = None
        self._waiting: int | None = None  # the row that our last pictures wait in

    def take(self, pictures: Sequence[Shown]) -> None:
        import wandb

        run = self._given or self._own or wandb.run
        if run is None:
            run = self._own = wandb.init(**self._settings)
        # It makes paths of these keys: no class name may lead out of its folder.
        keys = [f"{one.kind}/{files.slug(one.photo or one.name)}" for one in pictures]
        images = [wandb.Image(one.image.convert("RGB"), caption=_caption(one)) for one in pictures]
        row: dict[str, Any] = dict(zip(keys, images, strict=True))
        row |= {"phosphene/epoch": pictures[0].moment.epoch, "phosphene/step": pictures[0].moment.step}
        if run is not self._own and self._waiting == run.step:
            run.log({}, commit=True)  # nothing was logged since: these would take the place of the last ones
        run.log(row, commit=run is self._own)
        self._waiting = run.step

    def close(self) -> None:
        if self._own is not None:
            self._own.finish()
            self._own = None


class Mlflow(Sink):
    """Images of MLflow, by name and step, in the run that is open; else in one of our own.

    run_id        of a run, as Lightning's MLFlowLogger tells it
    tracking_uri  of the store; None: the one that MLflow has
    """

    def __init__(self, run_id: str | None = None, *, tracking_uri: str | None = None, experiment: str = "phosphene") -> None:
        needed("mlflow", "mlflow", "mlflow")
        self._run_id, self._uri, self._experiment = run_id, tracking_uri, experiment
        self._own: str | None = None

    def take(self, pictures: Sequence[Shown]) -> None:
        client, run_id = self._client(), self._run()
        for one in pictures:
            key = files.slug(tag(one))
            client.log_image(run_id, one.image.convert("RGB"), key=key, step=one.moment.step, synchronous=True)

    def close(self) -> None:
        if self._own is not None:
            self._client().set_terminated(self._own)
            self._own = None

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    def _run(self) -> str:
        import mlflow

        if self._run_id or self._own:
            return self._run_id or self._own or ""
        active = mlflow.active_run()
        if active is not None:
            return str(active.info.run_id)
        client = self._client()
        found = client.get_experiment_by_name(self._experiment)
        home = found.experiment_id if found else client.create_experiment(self._experiment)
        self._own = str(client.create_run(home).info.run_id)
        return self._own


def _captioned(one: Shown) -> Shown:
    """With its class and score below, where its tag says only the photograph: TensorBoard has no captions."""
    if not one.photo:
        return one
    score = () if one.score is None else (f"score {one.score:.1f}",)
    return one.replace(image=contact_sheet.contact_sheet([contact_sheet.Tile(one.image, (one.name, *score))]))


def _caption(one: Shown) -> str:
    score = "" if one.score is None else f", score {one.score:.3g}"
    return f"{one.name}, {one.moment}{score}"
