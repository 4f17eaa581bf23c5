"""Values do not change: dataclasses are frozen, and those that hold tensors are compared as objects."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import phosphene

WITH_STATE = {
    "Ascent", "Budget", "Dreamer", "Layouts", "Stream", "Trigger", "Ways", "_Found", "_Said", "Another", "Convolving",
}  # fmt: skip
# By what they compare themselves, or never compared.
COMPARED = {"Ascended", "Ascent", "Custom", "Dreamer", "Likeness", "PixelSurface"}


def dataclasses_of_the_package() -> list[type]:
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(phosphene.__path__, "phosphene.")]
    values = [(module, value) for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [value for module, value in values if value.__module__ == module.__name__ and "__dataclass_fields__" in vars(value)]


def parameters(of: type) -> tuple[bool, bool]:
    """Whether it is frozen, and whether it compares its fields."""
    made = vars(of)["__dataclass_params__"]
    return made.frozen, made.eq


def test_dataclasses_are_frozen_but_for_those_that_keep_a_state() -> None:
    assert {one.__name__ for one in dataclasses_of_the_package() if not parameters(one)[0]} == WITH_STATE


def test_dataclasses_that_hold_tensors_compare_no_fields() -> None:
    """Tensors of several numbers have no truth value."""
    holding = [one for one in dataclasses_of_the_package() if any("Tensor" in str(f.type) for f in dataclasses.fields(one))]
    assert len(holding) > 40
    assert {one.__name__ for one in holding if parameters(one)[1]} == COMPARED
