"""Imaging: when and where, as torchbearer's imaging callbacks say it; without torchbearer itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, Self

import torch
from torch import Tensor

from .. import checks
from ..errors import ExtraError, RequestError, UnknownNameError, first_line
from ..pictures import files
from ..pictures.colour import image_of
from ..pictures.tiles import grid
from .guard import Hung, limited, untouched
from .normalising import Transform
from .problems import Problems
from .sinks import Pyplot, Sink, needed

Handler = Callable[[Tensor, int, Any], Any]
Index = int | Sequence[int] | None


class Imaging:
    """Draws once an epoch, at the first batch of what `on_train`, `on_val` and `on_test` name.

    A handler is a function of (image (c, h, w), index, state). What fails is a warning, once, and one of `problems`.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._phases: set[str] = set()
        self._done: set[tuple[str, int]] = set()
        self._handlers: list[tuple[Handler, Index, float | None]] = []  # and the seconds that it may take
        self._writers: dict[Path, Any] = {}
        self._problems = Problems()
        self._hung: list[Handler] = []  # which are left out
        self._wanted = 0  # pictures to wait for
        self._cached: list[Tensor] = []
        self._gridding: Callable[[Tensor], Tensor] | None = None

    @abstractmethod
    def on_batch(self, state: Any) -> Tensor:
        """The picture, (c, h, w) or (b, c, h, w) in [0, 1]."""

    @abstractmethod
    def epoch_of(self, state: Any) -> int: ...

    @abstractmethod
    def fields_of(self, state: Any) -> dict[str, Any]: ...

    @property
    def problems(self) -> list[str]:
        return self._problems.said

    def on_train(self) -> Self:
        return self._when("train")

    def on_val(self) -> Self:
        return self._when("val")

    def on_test(self) -> Self:
        return self._when("test")

    def with_handler(self, handler: Handler, index: Index = None) -> Self:
        self._handlers.append((handler, index, Sink.longest))
        return self

    def to_file(self, filename: str | Path, index: Index = None) -> Self:
        """filename: with {index}, {epoch} and whatever number the state or its metrics hold."""
        pattern = str(filename)
        names = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
        if odd := [name for name in sorted(names) if not name.isidentifier()]:
            raise RequestError(f"field {odd[0]!r} in {pattern!r}; a plain name is needed")

        def handler(image: Tensor, place: int, state: Any) -> None:
            known = {**self.fields_of(state), "index": place}
            for name in names:
                if name not in known:
                    raise UnknownNameError("field", name, known)
            path = Path(pattern.format(**{k: files.slug(v) if isinstance(v, str) else v for k, v in known.items()}))
            files.folder(path.parent)
            files.write_whole(path, lambda beside: image_of(image.clamp(0, 1)).save(beside))

        return self.with_handler(handler, index)

    def to_pyplot(self, title: str | None = None, show: bool = True, index: Index = None) -> Self:
        needed("matplotlib", "matplotlib", "matplotlib")

        def handler(image: Tensor, place: int, _: Any) -> None:
            import matplotlib.pyplot as plt

            plt.imshow(image_of(image.clamp(0, 1)), cmap="gray")
            plt.axis("off")
            if title is not None:
                plt.title(title.format(index=place))
            if show:
                plt.show()

        self._handlers.append((handler, index, Pyplot.longest))
        return self

    def to_state(self, keys: Any, index: Index = None) -> Self:
        several = list(keys) if isinstance(keys, list | tuple) else [keys]

        def handler(image: Tensor, place: int, state: Any) -> None:
            state[several[place]] = image

        return self.with_handler(handler, index)

    def to_tensorboard(
        self, name: str = "Image", log_dir: str | Path = "./logs", comment: str = "torchbearer", index: Index = None
    ) -> Self:
        needed("tensorboard", "tensorboard", "tensorboard")
        folder = Path(log_dir) / comment

        def handler(image: Tensor, place: int, state: Any) -> None:
            from torch.utils.tensorboard import SummaryWriter

            if folder not in self._writers:
                self._writers[folder] = SummaryWriter(str(files.folder(folder)))
            self._writers[folder].add_image(name.format(index=place), image.clamp(0, 1), self.epoch_of(state))

        return self.with_handler(handler, index)

    def to_visdom(
        self,
        name: str = "Image",
        log_dir: str | Path = "./logs",
        comment: str = "torchbearer",
        visdom_params: Any = None,
        index: Index = None,
    ) -> Self:
        """ExtraError: visdom's last release no longer builds."""
        raise ExtraError(
            "visdom no longer installs: it asks for pkg_resources, which setuptools left out; take to_tensorboard()"
        )

    def cache(self, num_images: int) -> Self:
        """Keep pictures back, over epochs if need be, until there are so many, and hand them on together."""
        self._wanted = checks.whole("num_images", num_images, low=1, high=4096)
        return self

    def make_grid(
        self,
        nrow: int = 8,
        padding: int = 2,
        normalize: bool = False,
        norm_range: tuple[float, float] | None = None,
        scale_each: bool = False,
        pad_value: float = 0,
    ) -> Self:
        """One picture of all, nrow a row; normalize: from their lowest and highest values, or norm_range, to [0, 1]."""
        columns = checks.whole("nrow", nrow, low=1)

        def gridding(pictures: Tensor) -> Tensor:
            if normalize:
                pictures = _normalised(pictures, norm_range, scale_each)
            sheet = grid(pictures, min(columns, len(pictures)), padding, pad_value)
            return torch.nn.functional.pad(sheet, [padding] * 4, value=pad_value)

        self._gridding = gridding
        return self

    def due(self, phase: str, state: Any) -> None:
        """Told of each batch; draws at the first of an epoch. Never raises, but for Ctrl-C."""
        now = (phase, self.epoch_of(state))
        if phase not in self._phases or now in self._done:
            return
        self._done.add(now)
        with untouched():
            try:
                pictures = self._ready(self.transform(self.on_batch(state)))
            except Exception as error:  # whatever a network in training does, it must not end the training
                self._problems.report(self, f"no picture in epoch {now[1]}: {first_line(error)}")
                return
            for place in range(len(self._handlers)) if pictures is not None else ():
                self._hand(place, pictures, state)

    def forget(self) -> None:
        """Another run begins."""
        self._done.clear()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _ready(self, picture: Tensor) -> Tensor | None:
        """(b, c, h, w) to hand on; None while the cache is being filled."""
        pictures = picture if picture.ndim == 4 else picture[None]
        if self._wanted:
            self._cached += list(pictures.detach().cpu())
            if len(self._cached) < self._wanted:
                return None
            pictures, self._cached = torch.stack(self._cached[: self._wanted]), []
        return pictures if self._gridding is None else self._gridding(pictures.detach().cpu())[None]

    def _hand(self, place: int, pictures: Tensor | None, state: Any) -> None:
        handler, index, longest = self._handlers[place]
        if handler in self._hung:
            return
        assert pictures is not None
        places = range(len(pictures)) if index is None else [index] if isinstance(index, int) else index
        try:
            with limited(longest):
                for i in places:
                    handler(pictures[i], i, state)
        except Hung:
            self._hung.append(handler)
            said = f"a sink took over {longest:g} s and was stopped; the training goes on without it"
            self._problems.report(self._hung, said)
        except (Exception, SystemExit) as error:  # a full disk, a logger that is gone: a picture is worth no training
            self._problems.report(handler, f"a sink failed: {first_line(error)}; the training goes on without it")

    def _when(self, phase: str) -> Self:
        self._phases.add(phase)
        return self


def _normalised(pictures: Tensor, limits: tuple[float, float] | None, each: bool) -> Tensor:
    if each and limits is None:
        low, high = (f(pictures.flatten(1), 1).view(-1, 1, 1, 1) for f in (torch.amin, torch.amax))
    else:
        low, high = (pictures.new_tensor(v) for v in limits or (float(pictures.min()), float(pictures.max())))
    return ((pictures - low) / (high - low).clamp(min=1e-5)).clamp(0, 1)
