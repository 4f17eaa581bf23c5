"""Recipe: named, frozen settings of the ascent, as data that a Record keeps and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from .. import checks, registry
from ..errors import RequestError, UnknownNameError, shown
from .canvases import Canvas, Pixels
from .priors import Prior
from .projections import Projection
from .views import Border, View

Optimiser = Literal["sgd", "adam"]
Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Recipe:
    """How a picture is rendered.

    name, source  what it is called and the paper it is from
    optimiser     "sgd": steps along the gradient of root-mean-square length `lr` per picture; "adam": Kingma & Ba 2015
    lr            in units of [0, 1] per step
    anneal        the last share of the steps over which lr falls linearly to 0; 0 keeps it
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

    def __post_init__(self) -> None:
        checks.steps(self.steps)
        checks.real("lr", self.lr, low=1e-12, high=1e6)
        checks.real("anneal", self.anneal, low=0, high=1)
        if self.optimiser not in ("sgd", "adam"):
            raise RequestError(f"optimiser {shown(self.optimiser)}; sgd or adam is needed")
        if self.border not in ("black", "mean", "reflect"):
            raise RequestError(f"border {shown(self.border)}; black, mean or reflect is needed")
        for group, kind in (("priors", Prior), ("projections", Projection), ("views", View)):
            self._check_group(group, kind)

    def _check_group(self, group: str, kind: type) -> None:
        members = getattr(self, group)
        if isinstance(members, list):
            members = tuple(members)
            object.__setattr__(self, group, members)
        wrong = [m for m in members if type(m) not in _kinds_of(group)] if isinstance(members, tuple) else [members]
        if wrong:
            raise RequestError(f"{group} hold {shown(wrong[0])}; {', '.join(registry.names(group))} make them")

    def replace(self, **changes: Any) -> Recipe:
        """A copy with other settings; None leaves one as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)

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
                said[group] = tuple(_made(group, part) for part in said[group])
        try:
            return cls(**said)
        except TypeError as error:
            raise RequestError(f"recipe cannot be made: {error}") from error


def find_recipe(name: str, shape: Shape) -> Recipe:
    """The recipe of that name for pictures (channels, height, width); "auto" is the best one for the size."""
    if name == "auto":
        name = "pixels"
    if name not in registry.names("recipes"):
        raise UnknownNameError("recipe", name, ["auto", *registry.names("recipes")])
    found = registry.find("recipes", name)
    recipe = found if isinstance(found, Recipe) else found(shape)
    if not isinstance(recipe, Recipe):
        raise RequestError(f"recipe {shown(name)} gives {type(recipe).__name__}; a Recipe is needed")
    return recipe


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
