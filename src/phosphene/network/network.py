"""Network: a module with its preprocessing, class names and addresses; the only place that runs a forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from .. import checks, links
from ..ambient import shielded_methods
from ..errors import ModelError, OutputError, RequestError, UnknownNameError, WeightsError, first_line, shown
from ..seeding import stream
from . import addresses, compiling, folding, layers, memory, outputs, passes, prepared, probe, room
from .compiling import Compile
from .layout import Layout, Layouts, Shapes
from .preprocess import Preprocess
from .sources import transformers
from .statistics import Statistics, batch_norm_places, check_channels, of_batch_norms, read_statistics
from .transforms import Assumption, assumption_of, preprocess_of

NO_GRADIENT = (
    "no gradient reaches the image: the objective does not depend on it, or forward cuts it (detach, no_grad, integer or "
    "quantised layers); occlusion, rise and score_cam work without one"
)
_CHOSEN = "of several tensors that the network returned, the one with"
LIKELY_SIZES = (224, 32, 28, 64, 96, 299)  # tried in this order where nobody says the size
_MEANS = "scores are means over all positions of {} maps of {}×{}, as of a segmentation network"
Changes = Mapping[str, probe.Change]
Runs = dict[str, list[tuple[int, ...]]]  # the shapes that a path gives, run by run


class Read(Protocol):
    """What `Network.reading` gives."""

    def __call__(
        self, pictures: Tensor, wanted: Collection[str], changes: Changes | None = None, rows: int | None = None
    ) -> dict[str, Tensor]: ...


@shielded_methods
class Network:
    """A trained network that can be looked into. The module itself is never changed.

    Several threads may ask one Network at once: passes through it take turns. It can be pickled and copied.

    module      any nn.Module that takes one batch of pictures; DataParallel and compiled modules are unwrapped
    preprocess  what stands between pictures and the module: a Preprocess, torchvision's `weights.transforms()` or a Compose, a
                timm data configuration, an image processor of transformers, or "imagenet". None: what the module of one of
                these libraries says itself, of torchvision ImageNet's mean and std; of another module pictures in [0, 1] go
                in as they are. The number of channels is then the first convolution's, the size the first of 224, 32, 28,
                64, 96, 299 that runs. `notes` say what was assumed
    classes     names in the order of the scores; None: those of a Hugging Face network's `config.id2label`, else "0", "1", …
    output      picks the (b, classes) tensor out of what the module returns, where that is not plain
    batch       the only batch size that the module takes, for exports that fixed one
    statistics  of its layers for photographs, as `ph.statistics` measures them, or a file of them; None: of its batch norms
    multilabel  whether classes do not exclude each other: raw scores become probabilities by a sigmoid each, not a softmax

    `notes` says in sentences what may mislead: a network that ends in softmax, preprocessing that was assumed, scores that
    depend on chance or on the rest of the batch, no gradient.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocess: Preprocess | Any | None = None,
        classes: Sequence[str] | None = None,
        *,
        output: outputs.Pick | None = None,
        name: str | None = None,
        batch: int | None = None,
        multilabel: bool = False,
        statistics: Statistics | str | Path | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if not isinstance(module, nn.Module):
            raise RequestError(f"a network is {shown(module)}; a torch.nn.Module is needed")
        known = None if preprocess is None else preprocess_of(preprocess)
        self.module = addresses.unwrapped(module)
        self.name = name or type(self.module).__name__
        self.batch = None if batch is None else checks.whole("batch", batch, low=1)
        self._output = output
        self.multilabel = bool(multilabel)
        self._width = len(classes) if isinstance(classes, Sequence) else None
        self._hashed: tuple[object, str] | None = None
        self._half_runs: bool | None = None
        self._rows: dict[tuple[int, int], tuple[object, layers.Layers]] = {}  # of `layers`, by size
        self._norms: tuple[object, dict[str, str]] | None = None  # of `statistics`
        self._check_weights()
        self._begin()
        assumption = Assumption() if known else assumption_of(self.module)
        assumed = [assumption.note] if assumption.note else []
        known = known or assumption.preprocess
        self.reentrant = False
        self.preprocess, runs, scores = self._first_run(known, assumption.numbers)
        self._calls = {path: len(shapes) for path, shapes in runs.items()}
        alone: Runs = {}
        if known is None:
            assumed.append(f"no size was given: {self.preprocess.height} px was assumed, the first that runs")
        self.classes = self._names(classes, scores.shape[1])
        self._width = len(self.classes)
        self.ending = outputs.ending(scores)
        self.reentrant = outputs.reentrant(scores)
        self.link = links.link_of(self.ending, len(self.classes), self.multilabel)
        more = (*self._choice, *self._no_gradient_note(scores), *self._unstable_notes(scores.detach(), alone))
        runs[addresses.OUTPUT] = [tuple(scores.shape)]
        self._layouts = Layouts(
            self.module, self._calls, self.preprocess.sides, self.batch or 2, _by_address(runs), _by_address(alone)
        )
        self.assumed = tuple(assumed)
        self.notes = (*notes, *assumed, *more, *self._ending_note())
        self._statistics = None if statistics is None else self._measured(statistics)

    def _begin(self, nature: passes.Nature | None = None) -> None:
        """What is made anew in another process: the private copies, and the turns that passes through them take."""
        self._twin = probe.Twin(self.module)
        self._preparation = prepared.Preparation(self._foldable, self._tried_way)
        self._passes = passes.Passes(nature)

    def __getstate__(self) -> dict[str, Any]:
        private: dict[str, Any] = {
            "_twin": None,
            "_rows": {},
            "_norms": None,
            "_preparation": None,
            "_hashed": None,
            "_passes": self._passes.nature,
        }
        return {**self.__dict__, **private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin(state["_passes"])

    def __repr__(self) -> str:
        p = self.preprocess
        return f"Network({self.name}, {p.channels}×{p.height}×{p.width}, {len(self.classes)} classes)"

    @property
    def device(self) -> torch.device:
        return probe.device(self.module)

    @property
    def dtype(self) -> torch.dtype:
        return probe.dtype(self.module)

    @property
    def calls(self) -> Mapping[str, int]:
        """How often each address runs in one forward pass."""
        return self._calls

    def index(self, name: str | int) -> int:
        """The index of a class, by name or by index.

        A name is taken letter by letter, then without regard to case, then as one of the synonyms in "tench, Tinca tinca",
        and digits that are no name as an index. A name that stands twice is an error: give the index.
        """
        if isinstance(name, str):
            found = _find_name(name, self.classes)
            if len(found) == 1:
                return found[0]
            if found:
                raise RequestError(f"class {shown(name)} stands at {found}; give one of these indices")
            if not (name.isascii() and name.isdigit() and len(name) < 10):
                raise UnknownNameError("class", name, self.classes)
        elif isinstance(name, bool):
            raise RequestError(f"class {shown(name)}; a name or an index is needed")
        number = checks.whole("class", int(name) if isinstance(name, str) else name, low=0)
        if number >= len(self.classes):
            raise UnknownNameError("class", number, self.classes, f"indices go from 0 to {len(self.classes) - 1}")
        return number

    def scores(self, pictures: Tensor) -> Tensor:
        """Raw scores (b, classes) of pictures (b, c, h, w) in [0, 1]; no softmax, no gradient."""
        with torch.inference_mode(False), torch.no_grad(), self.reading() as read:
            return read(self._checked(pictures), {addresses.OUTPUT})[addresses.OUTPUT]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities (…, classes) of this network's scores: an ending in softmax or sigmoid is not applied again."""
        if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.ndim == 0:
            raise RequestError(f"scores must be a float tensor (…, classes), got {shown(scores)}")
        return links.probabilities(scores, self.link)

    def features(self, pictures: Tensor, address: str) -> Tensor:
        """What an address gives for pictures (b, c, h, w) in [0, 1]: (b, …); no gradient."""
        self.check_addresses([address])
        with torch.inference_mode(False), torch.no_grad(), self.reading() as read:
            return read(self._checked(pictures), {address})[address]

    def layouts(self, wanted: Collection[str], size: tuple[int, int] | None = None, every: bool = True) -> dict[str, Layout]:
        """Where the batch, the channels and the positions are in what addresses give for pictures of (h, w).

        Raises where an address gives nothing for each image; every False: of those that give something at this size alone.
        """
        wanted = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(wanted, Collection):
            raise RequestError(f"wanted must be addresses of layers, got {shown(wanted)}")
        self.check_addresses(wanted)
        if not every:
            self._check_layers()
        sides = (int(size[0]), int(size[1])) if size is not None else self.preprocess.sides
        found = self._layouts.of(wanted, sides, self._shapes)
        for address in wanted if every else ():
            if address not in found or not found[address].by_image:
                self.features(self.preprocess.mean_picture(sides), address)  # which says why
                raise ModelError(f"{self.name}: what layer {address} gives could not be read at {sides[0]}×{sides[1]}")
        return found

    def channels(self, address: str, size: tuple[int, int] | None = None) -> int:
        """How many channels an address has."""
        return self.layouts([address], size)[address].channels_first[0]

    def _shapes(self, sides: tuple[int, int]) -> Shapes:
        """Of what all addresses give for one picture of this size; where the network does not run, up to there."""
        pictures = torch.rand((self._fewest, self.preprocess.channels, *sides), generator=stream(0, "layouts"))
        found: Runs = {}
        with torch.inference_mode(False), torch.no_grad(), self._twin.running() as module, suppress(Exception):
            inputs = self._inputs(pictures)
            with self._passes.one(module, self._passes.numbers(0)):
                probe.shapes(module, inputs, found)
            found[addresses.OUTPUT] = [(len(pictures), len(self.classes))]
        return _by_address(found)

    def layers(self, size: int | tuple[int, int] | None = None) -> layers.Layers:
        """Every module that runs: address, kind, shape of what it gives, runs, receptive field, for pictures of a size."""
        self._check_layers()
        h, w = checks.size(size) if size is not None else self.preprocess.sides
        layouts = self.layouts(self._calls, (h, w), every=False)
        pictures = torch.rand((self._fewest, self.preprocess.channels, h, w), generator=stream(0, "layers"))
        with torch.inference_mode(False), self._twin.running() as module:
            # Fields and shapes do not depend on the values of weights, only on what the modules are (as `Twin` sees it).
            made_of = (*map(id, self.module.modules()), *(tuple(t.shape) for t in probe.tensors(self.module).values()))
            if (found := self._rows.get((h, w))) is None or found[0] != made_of:
                inputs = self._inputs(pictures)
                with self._passes.one(module, self._passes.numbers(0)), self._guarded(pictures):
                    found = (made_of, layers.describe(module, inputs, self.preprocess.layout == "bhwc", layouts))
                self._rows[h, w] = found
            return found[1]

    @property
    def statistics(self) -> Statistics | None:
        """Of what layers give for photographs: those that were measured, else what the batch norms learned.

        None where there are neither, and of networks that take one size of batch alone.
        """
        if self._statistics is not None or self.batch is not None:
            return self._statistics
        with torch.inference_mode(False), self._twin.running() as module:
            parts = [id(part) for part in self.module.modules()]
            if self._norms is None or self._norms[0] != parts:
                self._norms = (parts, self._batch_norms(module))
            return of_batch_norms(module, self._norms[1])

    def _measured(self, given: Statistics | str | Path) -> Statistics:
        if self.batch is not None:
            raise RequestError(f"statistics cannot be used: {self.name} takes {self.batch} pictures at once alone")
        found = given if isinstance(given, Statistics) else read_statistics(checks.path("statistics", given))
        layouts = self.layouts(found.layers)
        check_channels(found, {address: layout.channels_first[0] for address, layout in layouts.items()})
        return found

    def _batch_norms(self, module: nn.Module) -> dict[str, str]:
        pictures = self._few()
        with self._passes.one(module, self._passes.numbers(0)), self._guarded(pictures):
            return batch_norm_places(module, self._inputs(pictures), self._calls)

    def check_addresses(self, wanted: Collection[str]) -> None:
        """Raise, with the nearest names, unless every address leads to a module that runs."""
        for address in wanted:
            if not isinstance(address, str):
                raise RequestError(f"layer must be an address such as 'layer4.1', got {shown(address)}")
        if any(wanted):
            self._check_layers()
        addresses.check(wanted, self._calls)

    def _check_layers(self) -> None:
        if not self._calls and isinstance(self.module, torch.jit.ScriptModule):
            raise ModelError(
                f"{self.name} is a TorchScript module, whose layers cannot be read: saliency, occlusion and class models work. "
                "Give the Python module that was scripted or traced"
            )

    def check_gradient(self) -> None:
        """Raise if torch cannot give gradients through this network."""
        if self.reentrant:
            raise ModelError(
                f"{self.name} must run without re-entrant checkpointing, through which torch gives no gradient of the picture, "
                "got torch.utils.checkpoint(use_reentrant=True). Set use_reentrant=False, or turn checkpointing off."
            )

    @contextmanager
    def reading(
        self, seed: int = 0, *, half: bool = False, programmed: bool = False, compile: Compile = "off", passes: int = 0
    ) -> Iterator[Read]:
        """Gives `read(pictures, addresses)` -> {address: tensor}; address "" is the raw scores (b, classes).

        Differentiable with respect to the pictures and to nothing else. The forward pass stops at the last address wanted.
        What the network draws are numbers of this reading, starting from `seed`. half: computed in bfloat16, given as float32.
        `read(pictures, addresses, {address: change})` also changes what addresses give, for the rest of the network; rows:
        how many a change makes of the pictures, if it makes another number. programmed: scores leave no autograd graph that can
        be looked into, and are quicker. compile, passes: whether scores are read through a compiled network; auto where so many
        passes repay it.
        """
        compiling.check(compile)
        numbers = self._passes.numbers(seed)
        with memory.kept(), self._twin.running() as module:
            ways = self._ways(module, half, programmed)
            read: Read = partial(self._read, ways, numbers=numbers)
            if compile != "off":
                read = compiling.Hastening(read, partial(self._compiled, ways, numbers), passes, compile, self.device)
            yield read

    def preparation(self, wanted: Collection[str], half: bool = False, programmed: bool = False) -> str:
        """How the network is run when these addresses are read: what was done to make it quicker, and what was not and why."""
        ways = self._preparation.last(half, programmed)  # for who has just read: weights take long to compare
        if ways is None:
            with self._twin.running() as module:
                ways = self._ways(module, half, programmed)
        return ways.told_of({addresses.split(address, self._calls)[0] for address in wanted})

    def _compiled(self, ways: prepared.Ways, numbers: passes.Numbers) -> Read:
        with self._passes.turn:
            way = ways.compiled(self.device)
        return partial(self._read, prepared.Ways(way, way), numbers=numbers)

    def computes_half(self, precision: prepared.Precision, sides: tuple[int, int]) -> tuple[bool, tuple[str, ...]]:
        """Whether to compute in bfloat16, and a note where "auto" would, but the network has parts that only run in float32."""
        if not prepared.wants_half(precision, self.dtype, self.device, sides):
            return False, ()
        if precision == "auto" and not self._runs_half():
            return False, (f"{self.name} does not run in bfloat16 (a part of it computes in float32): float32 was used",)
        return True, ()

    def _runs_half(self) -> bool:
        """Whether a pass and its gradient run in bfloat16; tried once."""
        if self._half_runs is None:
            few = self._few().requires_grad_(True)
            try:
                with torch.inference_mode(False), torch.enable_grad(), self.reading(half=True) as read:
                    scores = read(few.clone(), {addresses.OUTPUT})[addresses.OUTPUT]
                    if scores.requires_grad:
                        torch.autograd.grad(scores.sum(), few, allow_unused=True)
                self._half_runs = True
            except (ModelError, RuntimeError) as error:
                if is_out_of_memory(error):
                    raise
                self._half_runs = False
        return self._half_runs

    def kept_bytes(self, wanted: Collection[str], size: tuple[int, int], half: bool = False) -> int:
        """What a picture of this size more in a batch takes of memory until its gradient is known."""
        few = torch.zeros((2, self.preprocess.channels, *size), device=self.device)
        with torch.inference_mode(False), self.reading(half=half) as read:
            one, two = (room.kept_bytes(partial(read, few[:n].clone().requires_grad_(True), wanted)) for n in (1, 2))
        return max(two - one, 0)

    def sha256(self) -> str:
        """Of the weights and buffers: names, kinds, shapes and values, in the order of the names."""
        with self._twin.running() as module:
            state = None if module is self.module else probe.state(module)
        if state is None or self._hashed is None or self._hashed[0] != state:
            self._hashed = (state, _sha256(self.module))
        return self._hashed[1]

    def identity(self) -> dict[str, str]:
        """What a Record and a run.json name it by: ref and sha256."""
        return {"ref": self.name, "sha256": self.sha256(), **({"multilabel": "1"} if self.multilabel else {})}

    def _ways(self, module: nn.Module, half: bool, programmed: bool = False) -> prepared.Ways:
        if module is self.module:  # lent, and to be given back as it was
            return prepared.Ways(prepared.Way(module))
        with torch.inference_mode(False), self._passes.turn:
            ways = self._preparation.ways(module, half)
            return ways.programmed() if programmed else ways

    def _read(
        self,
        ways: prepared.Ways,
        pictures: Tensor,
        wanted: Collection[str],
        changes: Changes | None = None,
        rows: int | None = None,
        numbers: passes.Numbers | None = None,
    ) -> dict[str, Tensor]:
        self.check_addresses({*wanted, *(changes or {})})
        with self._passes.turn:
            way = ways.of({addresses.split(address, self._calls)[0] for address in (*wanted, *(changes or {}))})
        if self.batch is None or not len(pictures):
            return self._read_once(way, pictures, wanted, changes, rows or len(pictures), numbers)
        if changes:
            raise RequestError(f"{self.name} takes {self.batch} pictures at once and no other number; this needs any number")
        parts = []
        for chunk in pictures.split(self.batch):
            filled = torch.cat([chunk, chunk[-1:].expand(self.batch - len(chunk), -1, -1, -1)])
            read = self._read_once(way, filled, wanted, None, len(filled), numbers)
            parts.append({address: tensor[: len(chunk)] for address, tensor in read.items()})
        return {address: torch.cat([part[address] for part in parts]) for address in wanted}

    def _read_once(
        self,
        way: prepared.Way,
        pictures: Tensor,
        wanted: Collection[str],
        changes: Changes | None,
        rows: int,
        numbers: passes.Numbers | None = None,
    ) -> dict[str, Tensor]:
        inputs = self._inputs(pictures, way.dtype, way.channels_last)
        turn = self._passes.one(way.module, numbers or self._passes.numbers(0))
        with turn, self._guarded(pictures), _recurrent(way.module, inputs):
            read, output = probe.forward(way.module, inputs, wanted, self._calls, changes)
        self._check_rows(read, {len(pictures), rows})
        if pictures.requires_grad:
            self.check_gradient()
        if inputs.dtype == torch.bfloat16:
            read = {address: tensor.float() for address, tensor in read.items()}
        if addresses.OUTPUT in wanted:
            read[addresses.OUTPUT] = outputs.unpack(output, self._output, rows, self._width)
        return read

    def _check_rows(self, read: Mapping[str, Tensor], rows: Collection[int]) -> None:
        """Raise where a layer's first axis is not the image's: windows, patches and tables have no image of their own."""
        for address, tensor in read.items():
            if tensor.ndim == 0 or tensor.shape[0] not in rows or not self._layouts.by_image(address):
                raise RequestError(
                    f"layer {address} gives {tuple(tensor.shape)} for {max(rows)} images: its first axis must be the image, "
                    "not windows, patches or a table. Ask a layer before or after it"
                )

    def _inputs(self, pictures: Tensor, dtype: torch.dtype | None = None, channels_last: bool = False) -> Tensor:
        inputs = self.preprocess.forward(_moved(pictures, self.device)).to(dtype or self.dtype)
        return inputs.contiguous(memory_format=torch.channels_last) if channels_last and inputs.ndim == 4 else inputs

    @property
    def _fewest(self) -> int:
        """The smallest batch that the network is known to take."""
        return self.batch or (1 if self._layouts.alone else 2)

    def _few(self) -> Tensor:
        return torch.rand((self.batch or 2, self.preprocess.channels, *self.preprocess.sides), generator=stream(0, "first run"))

    def _foldable(self, module: nn.Module) -> folding.Folds:
        with self._passes.one(module, self._passes.numbers(0)):
            return folding.foldable(module, self._inputs(self._few().requires_grad_(True)), self._calls)

    def _tried_way(self, way: prepared.Way) -> prepared.Tried:
        with torch.enable_grad():
            few = self._few().requires_grad_(True)
            scores = self._read_once(way, few.clone(), {addresses.OUTPUT}, None, self.batch or 2)[addresses.OUTPUT]
            (gradient,) = torch.autograd.grad(scores.square().sum(), few) if scores.requires_grad else (torch.zeros_like(few),)
        return scores.detach().float(), gradient

    def _checked(self, pictures: Tensor) -> Tensor:
        if not isinstance(pictures, Tensor) or not pictures.is_floating_point() or pictures.ndim != 4:
            what = f"{pictures.dtype} {tuple(pictures.shape)}" if isinstance(pictures, Tensor) else shown(pictures)
            raise RequestError(f"pictures are {what}; a float tensor (b, c, h, w) in [0, 1] is needed, as ph.read gives it")
        return pictures.detach()

    @contextmanager
    def _guarded(self, pictures: Tensor) -> Iterator[None]:
        """What the network raises becomes one sentence with its name and the shape it was given."""
        shape = tuple(pictures.shape)
        try:
            yield
        except (ModelError, RequestError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"{self.name} does not run on pictures {shape}: {first_line(error)}") from error

    def _first_run(self, preprocess: Preprocess | None, numbers: Mapping[str, Any]) -> tuple[Preprocess, Runs, Tensor]:
        if preprocess is not None:
            return self._tried(preprocess)
        channels = _first_channels(self.module)
        refused: ModelError | None = None
        for side in LIKELY_SIZES:
            try:
                return self._tried(Preprocess(size=side, channels=channels, **numbers))
            except OutputError:
                raise
            except ModelError as error:
                refused = refused or error
        raise ModelError(f"{refused}; give its input: Network(..., preprocess=Preprocess(size=, channels=))") from refused

    def _tried(self, preprocess: Preprocess) -> tuple[Preprocess, Runs, Tensor]:
        self.preprocess = preprocess
        batch, pictures = self.batch or 2, self._few()
        with torch.inference_mode(False), torch.enable_grad(), self._twin.running() as module:
            # A clone is no inference tensor, and the input no leaf: a network may change it in place.
            inputs = self._inputs(pictures.clone().requires_grad_(True))

            def first() -> tuple[Runs, Any]:
                runs: Runs = {}
                return runs, probe.shapes(module, inputs, runs)

            with self._guarded(pictures):
                runs, output = self._passes.first(module, first)
            scores = outputs.unpack(output, self._output, batch, self._width)
        rivals = [] if self._output else outputs.rivals(output, batch)
        self._choice: tuple[str, ...] = (
            () if len(rivals) < 2 else (f"{_CHOSEN} {scores.shape[1]} columns is read as the scores: {outputs.kinds(output)}",)
        )
        if size := outputs.size_of_maps(output, self._output, batch, self._width):
            self._choice += (f"{_MEANS.format(scores.shape[1], *size)}; output=ph.targets.mean(mask) takes those of a mask",)
        return preprocess, runs, scores

    def _names(self, classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
        known = transformers.labels(self.module) if classes is None else None
        if known is not None and len(known) == count:
            return tuple(known)
        if classes is None:
            return tuple(str(index) for index in range(count))
        if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes):
            raise RequestError(f"classes are {shown(classes)}; a sequence of names is needed")
        if len(classes) != count:
            raise RequestError(f"{len(classes)} class names were given; {self.name} gives {count} scores")
        return tuple(classes)

    def _no_gradient_note(self, scores: Tensor) -> tuple[str, ...]:
        return () if scores.requires_grad else (f"{self.name}: {NO_GRADIENT}",)

    def _unstable_notes(self, scores: Tensor, alone: Runs) -> tuple[str, ...]:
        """Whether scores depend on chance (run again with another seed), or on the rest of the batch (a picture alone).

        Into `alone` go the shapes that layers give for one picture, where the network takes one.
        """
        pictures = self._few()
        allowed = self._rounding() * float(scores.abs().max())
        again = self._once_more(pictures, 1)
        if again is None or float((again - scores).abs().max()) > allowed:
            return (
                f"{self.name} gives other scores when it runs again: they depend on chance (dropout left on, noise) "
                "or on what it kept from the last run",
            )
        if self.batch == 1:
            return ()
        if self.batch is None:
            same = self._once_more(pictures[:1], 0, alone)
        else:
            same = self._once_more(pictures[:1].expand_as(pictures).clone(), 0)
        if same is None or float((same[0] - scores[0]).abs().max()) > allowed:
            what = "does not run on a picture alone" if same is None else "gives a picture other scores with other neighbours"
            return (f"{self.name} {what}: its scores depend on the rest of the batch (batch norm without running statistics)",)
        return ()

    def _once_more(self, pictures: Tensor, seed: int, shapes: Runs | None = None) -> Tensor | None:
        """Scores of the module as it is; None if it does not run. Into `shapes` go those of what layers give."""
        with torch.inference_mode(False), torch.no_grad(), self._twin.running() as module:
            try:
                # Laid out as in the first run, and no leaf: a network may change it in place.
                with self._passes.one(module, self._passes.numbers(seed)), self._guarded(pictures):
                    inputs = self._inputs(pictures.clone())
                    output = module(inputs) if shapes is None else probe.shapes(module, inputs, shapes)
                return outputs.unpack(output, self._output, len(pictures), self._width)
            except ModelError:
                return None

    def _rounding(self) -> float:
        """How far apart, relative to the largest, rounding may bring scores: between float32 and its square root."""
        eps = max(
            (torch.finfo(t.dtype).eps for t in probe.tensors(self.module).values() if t.is_floating_point()), default=1e-7
        )
        return float(max(eps**0.6, 0.0 if self.device.type == "cpu" else 5e-3))  # TF32 on a GPU

    def _ending_note(self) -> tuple[str, ...]:
        if self.ending is None:
            return ()
        return (
            f"{self.name} ends in {self.ending}: class models and saliency want raw scores, whose gradient does not vanish "
            "when one class wins; pass output= or a module without that last step",
        )

    def _check_weights(self) -> None:
        for name, tensor in probe.tensors(self.module).items():
            if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                raise ModelError(f"{self.name}: {name} is not initialised yet; run the module once on a batch")
            if tensor.is_meta:
                raise WeightsError(f"{self.name}: {name} is on the meta device and has no values. Load its weights first")
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise WeightsError(f"{self.name}: {name} holds NaN or infinite values; finite weights are needed")


def _by_address(runs: Runs) -> Shapes:
    """Of each path the last run, and path@k of those that run several times."""
    several = {f"{path}@{k}": shape for path, shapes in runs.items() if len(shapes) > 1 for k, shape in enumerate(shapes)}
    return {path: shapes[-1] for path, shapes in runs.items()} | several


def _recurrent(module: nn.Module, inputs: Tensor) -> AbstractContextManager[None]:
    """cuDNN off where a recurrent layer must give a gradient: in eval mode cuDNN has none."""
    if not (
        torch.is_grad_enabled() and inputs.requires_grad and any(isinstance(part, nn.RNNBase) for part in module.modules())
    ):
        return nullcontext()
    cudnn = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        False, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, cudnn.allow_tf32
    )
    return flags


def _moved(pictures: Tensor, device: torch.device) -> Tensor:
    """To a GPU from pinned memory, in which case the next batch can be read while it is still computing."""
    if device.type == "cuda" and pictures.device.type == "cpu" and not pictures.requires_grad:
        return pictures.pin_memory().to(device, non_blocking=True)
    return pictures.to(device)


def _sha256(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def is_out_of_memory(error: BaseException) -> bool:
    """Also on the CPU, where torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _first_channels(module: nn.Module) -> int:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    raise ModelError(
        f"{type(module).__name__} has no Conv2d to tell its channels; give preprocess=Preprocess(size=…, channels=…)"
    )


def _find_name(name: str, classes: Sequence[str]) -> list[int]:
    for same in (
        lambda known: known == name,
        lambda known: known.lower() == name.lower(),
        lambda known: name.strip().lower() in (word.strip().lower() for word in known.split(",")),
    ):
        if found := [index for index, known in enumerate(classes) if same(known)]:
            return found
    return []
