"""`locate`: the verb. From maps of what a network looks at to boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .. import checks
from ..ambient import shielded
from ..errors import RequestError, shown
from ..network.preprocess import Preprocess
from ..pictures import overlay
from ..pictures.converting import Pictures
from ..results import door
from ..results.heatmap import Heatmap
from .boxes import boxes_of, fitting, to_photo
from .consensus import consensus, thresholds
from .graphcut import Seeds, check_extra, graphcut, has_opencv
from .located import Located
from .threshold import level_of, mask_of

Way = Literal["auto", "consensus", "graphcut", "thresholds", "threshold"]
SMOOTHING = 6 / 224  # of the shorter side: σ of the blur of a map of single pixels
ROUGH = (
    "saliency",
    "vargrad",
    "gradient_x_input",
    "integrated_gradients",
)  # of single pixels too, with a sign that means something
LEAST = 0.1  # of the largest component's size: what is smaller is no further box


@shielded
@door.takes(heatmap=door.heatmap, picture=door.photos_or_none)
def locate(
    heatmap: Heatmap,
    method: Way = "auto",
    *,
    picture: Pictures | None = None,
    threshold: float | str = "otsu",
    most: int = 1,
    least: float = LEAST,
) -> Located:
    """Boxes (left, top, right, bottom) in pixels, right and bottom outside, and masks, one of each map.

    heatmap    what `cam` or `explain` gave; negative values speak against the objective and count as 0. Maps of
               single pixels, as of gradients, are blurred; where their sign alternates |values| are
    method     threshold: what exceeds a number. graphcut: that is parted from the rest by its colours and edges, as OpenCV's
               GrabCut does; the extra `opencv`. consensus: the mean of boxes by many thresholds and by graph cut; likewise.
               thresholds: the same mean without the cut. auto: consensus, where OpenCV is missing thresholds with a note
    picture    the photographs (1, c, h, w) that the pictures were fitted from, one for all or one per map: boxes and masks are
               then in their pixels. None: in those of `heatmap.pictures`
    threshold  a share of each map's maximum (0.2: Zhou et al. 2016), "otsu" or "mean"
    most       boxes per map, of the largest components; least: the size of a further one as a share of the largest

    Scaling the values by a positive number changes nothing.
    Source: Simonyan, Vedaldi & Zisserman 2013, §3.2; Zhou et al. 2016, §3.3.

    >>> import phosphene as ph
    >>> import torch
    >>> h = ph.cam(ph.load("demo:robust"), torch.rand(1, 3, 48, 64), "logit:cat")
    >>> ph.locate(h, "threshold", threshold=0.2).boxes.shape
    torch.Size([1, 4])
    """
    method = check(method, threshold, most)
    checks.real("least", least, low=0, high=1)
    photos = _photos(heatmap, picture)
    preprocess = Preprocess.from_dict(heatmap.record.preprocess)
    values = places(heatmap)
    every, masks, points = [], [], []
    for one, fitted, photo in zip(values, heatmap.pictures, photos, strict=True):
        mask, boxes = WAYS[method](one, fitted, threshold, most, least)
        size = (int(photo.shape[1]), int(photo.shape[2]))
        every.append(to_photo(boxes, preprocess, size))
        masks.append(_mask_in(mask, preprocess, size))
        points.append(to_photo(peak(one).repeat(2)[None], preprocess, size)[0, :2])
    first = torch.stack([boxes[0] if len(boxes) else torch.zeros(4) for boxes in every])
    return Located(first, tuple(every), tuple(masks), torch.stack(points), photos, heatmap, method, threshold)


def check(method: str, threshold: float | str, most: int) -> Way:
    """The method that is meant, found to be there; RequestError or ExtraError if the request cannot be met."""
    level_of(torch.ones(1, 1), threshold)
    checks.whole("most", most, low=1)
    if isinstance(method, str) and method == "threshold":
        return "threshold"
    if not isinstance(method, str) or method not in ("auto", *WAYS):
        raise RequestError(f"method is {shown(method)}; auto, consensus, graphcut, thresholds or threshold is needed")
    if method == "auto":
        return "consensus" if has_opencv() else "thresholds"
    if method == "thresholds":
        return "thresholds"
    check_extra()
    return "graphcut" if method == "graphcut" else "consensus"


def _by_threshold(values: Tensor, picture: Tensor, threshold: float | str, most: int, least: float) -> tuple[Tensor, Tensor]:
    mask = mask_of(values, threshold)
    return mask, boxes_of(mask, most, least)


def _by_graphcut(values: Tensor, picture: Tensor, threshold: float | str, most: int, least: float) -> tuple[Tensor, Tensor]:
    mask = graphcut(values, picture, Seeds.of_quantiles(values, level_of(values, threshold)))
    return mask, boxes_of(mask, most, least)


WAYS: dict[str, Callable[[Tensor, Tensor, float | str, int, float], tuple[Tensor, Tensor]]] = {
    "consensus": consensus,
    "graphcut": _by_graphcut,
    "threshold": _by_threshold,
    "thresholds": thresholds,
}


def places(heatmap: Heatmap) -> Tensor:
    """The maps (b, h, w) that boxes are looked for in: of the pictures' size, 0 or more."""
    fine = heatmap.upsampled()
    if heatmap.by_size or heatmap.method in ROUGH:
        sigma = max(SMOOTHING * min(fine.shape[1:]), 0.5)
        fine = torch.stack([overlay.blurred(one.abs() if heatmap.by_size else one, sigma) for one in fine])
    return fine.clamp(min=0)


def peak(values: Tensor) -> Tensor:
    """x and y of the middle of the pixel where a map (h, w) is largest, the first if several are."""
    place = int(values.argmax())
    return torch.tensor([place % values.shape[1] + 0.5, place // values.shape[1] + 0.5])


def _photos(heatmap: Heatmap, picture: Any) -> tuple[Tensor, ...]:
    """(c, h, w) of each map."""
    if picture is None:
        return tuple(heatmap.pictures)
    several = list(picture.split(1)) if isinstance(picture, Tensor) and picture.ndim == 4 else picture
    good = isinstance(several, Sequence) and all(isinstance(one, Tensor) and one.ndim == 4 and len(one) == 1 for one in several)
    if not good or len(several) not in (1, len(heatmap)):
        what = tuple(picture.shape) if isinstance(picture, Tensor) else shown(picture)
        raise RequestError(f"picture is {what}; (1, c, h, w), or one such per map, {len(heatmap)}, is needed")
    photos = [one[0].detach().cpu().float() for one in several]
    return tuple(photos * (len(heatmap) if len(photos) == 1 else 1))


def _mask_in(mask: Tensor, preprocess: Preprocess, size: tuple[int, int]) -> Tensor:
    """A mask of a fitted picture as one of the photograph (h, w): the nearest pixel, nothing where it was cropped away."""
    scale, offset = (numbers.tolist() for numbers in fitting(preprocess, size))
    found = []
    for axis, side in enumerate(size):
        k = 1 - axis  # scale and offset stand in the order x, y
        place = ((torch.arange(side, dtype=torch.double) + 0.5) * scale[k] - offset[k]).floor().long()
        found.append((place.clamp(0, mask.shape[axis] - 1), (place >= 0) & (place < mask.shape[axis])))
    (rows, in_rows), (columns, in_columns) = found
    seen: Tensor = mask[rows][:, columns] & in_rows[:, None] & in_columns
    return seen
