"""Recipe: named, frozen settings of the ascent, as data that a Record keeps and gives back."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .. import checks, registry
from ..errors import PhospheneError, RequestError, UnknownNameError, first_line, shown
from .canvases import Canvas, Pixels
from .priors import BatchStatistics, FeatureDistributions, LayerStatistics, OfLayers, Prior
from .projections import Projection
from .views import Border, View

Optimiser = Literal["sgd", "adam", "nadam"]
Shape = tuple[int, int, int]  # channels, height, width
NATURAL_FROM = 96  # pixels of the shorter side: below it natural frequencies alone leave too little room for shapes
SMALLEST = 24  # pixels of the shorter side: the same for networks that learned from photographs
LARGEST_FILE = 1 << 20  # bytes of a recipe
MOST_PARTS = 64  # of each of priors, projections and views


@dataclass(frozen=True)
class Recipe:
    """How a picture is rendered.

    name, source  what it is called and the paper it is from
    optimiser     "sgd": steps along the gradient of root-mean-square length `lr` per picture; "adam": Kingma & Ba 2015;
                  "nadam": Dozat 2016
    lr            in units of the canvas's numbers per step: of [0, 1] for pixels
    samples       views of each picture at each step, whose objectives are averaged
    threshold     percentile: gradients of a picture smaller than so many per cent of its own count as 0
    diversity     how much pictures of one objective and different seeds are kept apart: their styles' mean cosine, times this,
                  is taken off each one's objective; 0 leaves each picture alone
    diversity_at  the address whose maps' correlations are the style (Olah, Mordvintsev & Schubert 2017, on diversity)
    anneal        the last share of the steps over which lr falls linearly to 0; 0 keeps it
    patience      steps; an item whose objective, averaged over so many, is less than a hundredth above what it was over as many
                  before has converged and leaves the batch; 0: every item takes every step
    border        what a view shows beyond the picture: "black", "mean" or "reflect"
    priors are subtracted from the objective; views are taken before a step and projections done after it, in their order
    """

    name: str
    source: str = ""
    canvas: Canvas = Pixels()  # noqa: RUF009  frozen, so one for all is safe
    optimiser: Optimiser = "sgd"
    lr: float = 0.02
    anneal: float = 0.0
    steps: int = 128
    priors: tuple[Prior, ...] = ()
    projections: tuple[Projection, ...] = ()
    views: tuple[View, ...] = ()
    border: Border = "reflect"
    samples: int = 1
    threshold: float = 0.0
    diversity: float = 0.0
    diversity_at: str = ""
    patience: int = 0

    def __post_init__(self) -> None:
        checks.steps(self.steps)
        checks.real("lr", self.lr, low=1e-12, high=1e6)
        checks.real("anneal", self.anneal, low=0, high=1)
        checks.whole("samples", self.samples, low=1, high=1024)
        checks.real("threshold", self.threshold, low=0, high=100)
        checks.real("diversity", self.diversity, low=0, high=1e6)
        if checks.whole("patience", self.patience, low=0, high=1_000_000) and self.diversity:
            raise RequestError(
                "patience with diversity; one or the other is needed, since neighbours that left would pull no more"
            )
        if not isinstance(self.diversity_at, str):
            raise RequestError(f"diversity at {shown(self.diversity_at)}; the address of a layer with maps is needed")
        if self.optimiser not in ("sgd", "adam", "nadam"):
            raise RequestError(f"optimiser {shown(self.optimiser)}; sgd, adam or nadam is needed")
        if self.border not in ("black", "mean", "reflect"):
            raise RequestError(f"border {shown(self.border)}; black, mean or reflect is needed")
        for group, kind in (("priors", Prior), ("projections", Projection), ("views", View)):
            self._check_group(group, kind)
        for kind in (FeatureDistributions, BatchStatistics):
            if (count := sum(isinstance(prior, kind) for prior in self.priors)) > 1:
                raise RequestError(f"priors must hold one {kind.__name__} at most, got {count}")
        if self.patience and self.over_batches:
            raise RequestError("patience must be 0 beside batch_statistics, which all pictures share to the last step")
        if not hasattr(self.canvas, "fixed"):
            makers = ", ".join(registry.names("canvases"))
            raise RequestError(f"canvas must be one that {makers} make, got {shown(self.canvas)}")
        if self.canvas.fixed and self.projections:
            first = type(self.projections[0]).__name__
            raise RequestError(
                f"{first} would change {self.canvas.fixed}, which the canvas keeps; take it off, or the pixels canvas"
            )

    def _check_group(self, group: str, kind: type) -> None:
        members = getattr(self, group)
        if isinstance(members, list):
            members = tuple(members)
            object.__setattr__(self, group, members)
        if isinstance(members, tuple) and len(members) > MOST_PARTS:
            raise RequestError(f"{group} are {len(members):,}; up to {MOST_PARTS} are needed")
        wrong = [m for m in members if type(m) not in _kinds_of(group)] if isinstance(members, tuple) else [members]
        if wrong:
            raise RequestError(f"{group} hold {shown(wrong[0])}; {', '.join(registry.names(group))} make them")

    def replace(self, **changes: Any) -> Recipe:
        """A copy with other settings; None leaves one as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)

    @property
    def picture_priors(self) -> tuple[Prior, ...]:
        """Those that ask for the picture alone."""
        return tuple(prior for prior in self.priors if not isinstance(prior, OfLayers))

    @property
    def layers_weight(self) -> float:
        """Of the distance of layer statistics."""
        return sum(prior.weight for prior in self.priors if isinstance(prior, LayerStatistics))

    @property
    def over_batches(self) -> bool:
        """Whether a picture depends on those beside it, by batch_statistics."""
        return any(isinstance(prior, BatchStatistics) and prior.weight for prior in self.priors)

    @property
    def distributions(self) -> FeatureDistributions | None:
        """The prior that names reference photographs."""
        return next((prior for prior in self.priors if isinstance(prior, FeatureDistributions) and prior.weight), None)

    @property
    def files(self) -> tuple[str, ...]:
        """Files and folders that are read."""
        like = self.distributions
        return self.canvas.files + ((like.like,) if like else ())

    def rate(self, step: int) -> float:
        """lr at a step, from 0."""
        start = round(self.steps * (1 - self.anneal))
        return self.lr if step < start else self.lr * (self.steps - step) / (self.steps - start + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain words and numbers: each part as its name in the registry with its settings."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        said["canvas"] = _said("canvases", self.canvas)
        for group in ("priors", "projections", "views"):
            said[group] = [_said(group, part) for part in said[group]]
        return said

    def to_toml(self) -> str:
        """The same as a TOML file, a line a setting: `read_recipe` and `--recipe FILE.toml` take it."""
        lines = []
        for name, value in self.to_dict().items():
            parts = [_toml(part) for part in value] if isinstance(value, list) else []
            lines.append(f"{name} = [\n    " + ",\n    ".join(parts) + ",\n]" if parts else f"{name} = {_toml(value)}")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The other way. Every name must be one of the registry's, every setting one that its part takes."""
        said = dict(values)
        if extra := sorted(set(said) - {field.name for field in fields(cls)}):
            raise RequestError(f"recipe has {shown(extra)}, which is no setting of a recipe")
        if "canvas" in said:
            said["canvas"] = _made("canvases", said["canvas"])
        for group in ("priors", "projections", "views"):
            if group in said:
                if not isinstance(said[group], list | tuple):
                    raise RequestError(f"{group} are {shown(said[group])}; a list of parts is needed")
                said[group] = tuple(_made(group, part) for part in said[group])
        try:
            return cls(**said)
        except TypeError as error:
            raise RequestError(f"recipe cannot be made: {error}") from error


def find_recipe(name: str, shape: Shape, statistics: bool = False) -> Recipe:
    """The recipe of that name, or in that .toml file, for pictures (channels, height, width); "auto" fits the size.

    statistics: whether the network has statistics of its layers; told to recipes that take it as their second argument.
    """
    if name == "auto":
        name = "natural" if min(shape[1:]) >= NATURAL_FROM else "pixels"
    if name.endswith(".toml"):
        return read_recipe(name)
    if name not in registry.names("recipes"):
        raise UnknownNameError("recipe", name, ["auto", *registry.names("recipes")])
    found = registry.find("recipes", name)
    if isinstance(found, Recipe):
        return found
    recipe = found(shape, statistics) if len(inspect.signature(found).parameters) > 1 else found(shape)
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {shown(name)} gives {type(recipe).__name__}; a Recipe is needed")
    return recipe


def read_recipe(path: str) -> Recipe:
    """The recipe in a TOML file, as `to_toml` writes it; what is left out has its default."""
    file = Path(path)
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise RequestError(f"recipe {shown(path)} has over {LARGEST_FILE >> 10} KiB")
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"recipe {shown(path)} cannot be read: {first_line(error)}") from error
    try:
        return Recipe.from_dict({"name": file.stem} | values)
    except PhospheneError as error:
        raise RequestError(f"recipe {shown(path)}: {error}") from error


def _toml(value: Any) -> str:
    """A word, a number, a truth or a table in one line; JSON's words and numbers are TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=True)


def _kinds_of(group: str) -> dict[type, str]:
    return {registry.find(group, name): name for name in registry.names(group)}


def _said(group: str, part: Any) -> dict[str, Any]:
    name = _kinds_of(group).get(type(part))
    if name is None or not is_dataclass(part) or isinstance(part, type):
        raise RequestError(f"{shown(part)} is not registered among the {group}, so no record could name it")
    return {"kind": name, **asdict(part)}


def _made(group: str, said: Any) -> Any:
    if not isinstance(said, Mapping) or not isinstance(said.get("kind"), str):
        raise RequestError(f"{group} hold {shown(said)}; a kind with its settings is needed")
    settings = {key: value for key, value in said.items() if key != "kind"}
    try:
        return registry.find(group, said["kind"])(**settings)
    except TypeError as error:
        raise RequestError(f"{group} {said['kind']}: {error}") from error
