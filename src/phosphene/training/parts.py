"""Parts of the network as they learn: filters, activations, and which pictures excite a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .. import checks
from ..exemplars.examples import examples
from ..exemplars.units import asked
from ..inspection.activations import activations
from ..inspection.filters import filters
from ..network.network import Network
from ..objectives.expression import Objective
from ..objectives.spec import Meant
from ..objectives.units import ClassUnit
from ..pictures import contact_sheet
from ..pictures.colour import image_of
from ..pictures.data import open_data
from ..results import door
from .averaged import Weights
from .callback import Callback
from .moment import Moment, Shown

TOP = 9


class Filters(Callback):
    """The filters of one or several layers, as `ph.filters` shows them; None: of the first convolution."""

    kind = "filters"

    def __init__(
        self, net: Network | nn.Module, layer: str | Sequence[str] | None = None, *, weights: Weights | None = None
    ) -> None:
        super().__init__(net, weights=weights)
        layer = door.layers_or_none("layer", layer, {})
        several = [layer] if layer is None or isinstance(layer, str) else list(layer)
        self._layers = [filters(self.net, one).layer for one in several]  # raises now what is wrong

    @property
    def count(self) -> int:
        return len(self._layers)

    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        found = [(i, filters(net, self._layers[i])) for i in items]
        return [Shown(f.image(), f.layer, i, self.kind, moment, record=f.record.to_json()) for i, f in found]


class Activations(Callback):
    """What one picture makes of all channels of a layer, as `ph.activations` shows it.

    picture  (1, c, h, w) in [0, 1]; layer: one or several; None: of each size of map the last
    """

    kind = "activations"

    def __init__(
        self,
        net: Network | nn.Module,
        picture: Tensor,
        layer: str | Sequence[str] | None = None,
        *,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(net, weights=weights)
        found = activations(self.net, picture, layer)  # raises now what is wrong
        self._picture, self._layers = found.picture, [one.layer for one in found.maps]

    @property
    def count(self) -> int:
        return len(self._layers)

    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        found = activations(net, self._picture, [self._layers[i] for i in items])
        return [
            Shown(one.image(), one.layer, i, self.kind, moment, record=one.record.to_json())
            for i, one in zip(items, found.maps, strict=True)
        ]


class TopExamples(Callback):
    """The patches of a data set that excite units most, one sheet a unit, as `ph.examples` finds them.

    data  as for `ph.examples`: a folder, a Dataset, a tensor (n, c, h, w). All of it is seen every time: give a small one
    The budget cannot know what the first scan takes.
    """

    kind = "top examples"

    def __init__(
        self,
        net: Network | nn.Module,
        data: Any,
        objectives: Meant | Sequence[Meant],
        *,
        top: int = TOP,
        normalised: bool = False,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(net, weights=weights)
        undo = self.net.preprocess.inverse if normalised else None
        self._data = open_data(data, channels=self.net.preprocess.bands, undo=undo)
        self._top = checks.whole("top", top, low=1, high=100)
        wanted = door.objective_list("objectives", objectives)
        self._objectives = [*asked(self.net, wanted).objectives]  # raises now what is wrong

    @property
    def count(self) -> int:
        return len(self._objectives)

    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        found = examples(net, self._data, [self._objectives[i] for i in items], top=self._top)
        sheets = [_sheet(patches, values) for patches, values in zip(found.patches(), found.values, strict=True)]
        return [
            Shown(sheet, self._name(self._objectives[i]), i, self.kind, moment, float(values[0]))
            for i, sheet, values in zip(items, sheets, found.values, strict=True)
        ]

    def _name(self, objective: Objective) -> str:
        """Of a class its name, as `ClassModels` has it."""
        only = objective.only
        target = only.target if isinstance(only, ClassUnit) else None
        return self.net.classes[target] if isinstance(target, int) else str(objective)


def _sheet(patches: list[Tensor], values: Tensor) -> Image.Image:
    """Best first, each with its value. A unit that nothing excites has a grey tile."""
    shown = patches or [torch.full((1, 8, 8), 0.5)]
    said = [f"{value:.3g}" for value in values.tolist()] if patches else ["no patch"]
    tiles = [contact_sheet.Tile(image_of(patch), (text,)) for patch, text in zip(shown, said, strict=False)]
    return contact_sheet.contact_sheet(tiles, tile=96)
