"""`parts`: what a layer's activations are made of, as non-negative factors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded, shielded_methods
from ..errors import ExtraError, RequestError, first_line
from ..network.network import Network
from ..objectives.direction import direction
from ..objectives.expression import Objective
from ..pictures import colour, contact_sheet, overlay
from ..pictures.notebook import figure
from ..results import door
from .layer import maps_at, pictures_of

NEGATIVE = 1e-3  # share of the activations' sum that may be negative before it is noted
SHOWN = 6  # pictures of the sheet, of each part


@shielded_methods
@dataclass(frozen=True, eq=False)
class Parts:
    """What `parts` gives: activations ≈ Σ over parts of map · vector.

    vectors   (parts, k), non-negative, one number per channel; the part that explains most stands first
    maps      (b, parts, h, w), non-negative: how much of each part is at each position of each picture
    pictures  (b, c, H, W) as the network saw them
    error     ‖A − ÛV‖ / ‖A‖ over all pictures
    """

    layer: str
    vectors: Tensor
    maps: Tensor
    pictures: Tensor
    error: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Parts({self.layer}, {len(self)} of {len(self.pictures)} pictures, error {self.error:.2f})"

    @property
    def directions(self) -> tuple[Objective, ...]:
        """The parts as objectives ⟨f, v⟩: draw them, explain with them, find their patches."""
        return tuple(direction(self.layer, vector) for vector in self.vectors)

    def sheet(self) -> Image.Image:
        """A row for each part: the pictures that have most of it, and where."""
        tiles = []
        for part in range(len(self)):
            amounts = self.maps[:, part].flatten(1).amax(1)
            for row in amounts.argsort(descending=True, stable=True)[:SHOWN].tolist():
                shown = overlay.overlay(self.pictures[row], self.maps[row, part], False)
                tiles.append(contact_sheet.Tile(colour.image_of(shown), (f"part {part + 1}", f"{float(amounts[row]):.3g}")))
        columns = min(SHOWN, len(self.pictures))
        return contact_sheet.contact_sheet(tiles, title=f"{self.layer}, {len(self)} parts", columns=columns)

    def _repr_html_(self) -> str:
        return figure(self.sheet(), repr(self), self.notes)


@shielded
@door.takes(net=door.network, layer=door.layer_or_none)
def parts(net: Network, pictures: Any, layer: str, k: int = 8, *, steps: int = 400, seed: int = 0) -> Parts:
    """The non-negative factors of what a layer gives for pictures: what it sees them made of.

    pictures  as every verb takes them, best of one class or theme
    layer     an address with positions, whose activations are not negative, as after a ReLU; negative ones count as zero
    k         how many parts
    steps     of scikit-learn's coordinate descent (extra `concepts`); seed: of its start

    Source: Collins, Achanta & Süsstrunk 2018, Deep Feature Factorization; Fel et al. 2023, CRAFT, without its recursion.
    """
    if layer is None:
        raise RequestError("layer must be the address of a layer, such as 'layer4.1', got None")
    shown = pictures_of(net, "pictures", pictures)
    given = maps_at(net, shown, layer)
    rows = given.movedim(1, -1).flatten(0, 2).double()
    checks.whole("k", k, low=1, high=min(rows.shape))
    negative = float(-rows.clamp(max=0).sum() / rows.abs().sum().clamp(min=1e-12))
    rows = rows.clamp(min=0)
    if not bool(rows.any()):
        raise RequestError(f"layer {layer} must give numbers above 0 for these pictures, got none")
    amounts, vectors = _factors(rows, k, checks.whole("steps", steps, low=1), checks.seed(seed))
    order = (amounts.square().sum(0) * vectors.square().sum(1)).argsort(descending=True, stable=True)
    amounts, vectors = amounts[:, order], vectors[order]
    error = float((rows - amounts @ vectors).norm() / rows.norm())
    maps = amounts.unflatten(0, (len(shown), *given.shape[2:])).movedim(-1, 1)
    note = f"{negative:.0%} of the activations are negative and counted as zero. Name a layer after its ReLU"
    return Parts(layer, vectors.float(), maps.float(), shown.cpu(), error, (note,) if negative > NEGATIVE else ())


def _factors(rows: Tensor, k: int, steps: int, seed: int) -> Sequence[Tensor]:
    """(n, k) and (k, channels)."""
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ExtraError(f"parts need scikit-learn: pip install 'phosphene[concepts]' ({first_line(error)})") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = NMF(k, init="nndsvda", random_state=seed % 2**32, max_iter=steps)
        amounts = model.fit_transform(rows.numpy())
    return torch.from_numpy(amounts), torch.from_numpy(model.components_)
