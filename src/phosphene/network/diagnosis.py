"""What can be done with a network, and why not: the findings that `phosphene doctor` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import PhospheneError
from ..seeding import stream
from .addresses import OUTPUT
from .load import parse
from .network import NO_GRADIENT, Network

Verdict = Literal["yes", "partly", "no"]
TOLERANCE = 1e-3  # relative, of scores that should be equal


@dataclass(frozen=True)
class Finding:
    """A question, its answer, and what the answer rests on."""

    question: str
    verdict: Verdict
    detail: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(net: Network) -> Iterator[Finding]:
    """Findings one after another, cheap ones first. Nothing is changed; noise pictures are used throughout."""
    p = net.preprocess
    parameters = sum(t.numel() for t in net.module.parameters())
    about = f"{parameters:,} parameters, {str(net.dtype).removeprefix('torch.')}, on {net.device}"
    yield Finding("runs", "yes", f"on pictures of {p.channels}×{p.height}×{p.width}; {about}")
    yield _preprocessing(net)
    yield _raw_scores(net)
    yield _names(net)
    yield _gradient(net)
    yield _one_by_one(net)
    yield _repeatable(net)
    yield _sizes(net)
    yield _fields(net)
    yield _remakable(net)


def _preprocessing(net: Network) -> Finding:
    p = net.preprocess
    assumed = [note for note in net.notes if "preprocessing" in note or "no size" in note]
    said = f"mean {_few(p.means)}, std {_few(p.stds)}, range {_few(p.range)}, {p.order}, {p.layout}"
    detail = "; ".join((said, *assumed))
    return Finding("preprocessing is known", "partly" if assumed else "yes", detail)


def _raw_scores(net: Network) -> Finding:
    if net.ending is None:
        return Finding("gives raw scores", "yes", f"{len(net.classes)} scores, no softmax after them")
    return Finding("gives raw scores", "no", net.notes[-1])


def _names(net: Network) -> Finding:
    if net.classes == tuple(map(str, range(len(net.classes)))):
        return Finding("class names are known", "partly", "numbered 0, 1, …: give classes=FILE after ? for names")
    twice = sorted({name for name in net.classes if net.classes.count(name) > 1})
    detail = f"{net.classes[0]}, {net.classes[1] if len(net.classes) > 1 else ''}, …"
    if twice:
        return Finding("class names are known", "partly", f"{detail}; {', '.join(twice[:3])} stand twice: give the index")
    return Finding("class names are known", "yes", detail)


def _gradient(net: Network) -> Finding:
    pictures = _noise(net, 4)
    with torch.inference_mode(False), torch.enable_grad(), net.reading() as read:
        pictures.requires_grad_(True)
        scores = read(pictures, {OUTPUT})[OUTPUT]
        if not scores.requires_grad:
            return Finding("class models can be drawn", "no", f"the output is detached from the picture: {NO_GRADIENT}")
        (gradient,) = torch.autograd.grad(scores.amax(1).sum(), pictures, allow_unused=True)
    if gradient is None:
        return Finding("class models can be drawn", "no", NO_GRADIENT)
    if not bool(gradient.any()):
        return Finding("class models can be drawn", "no", "the gradient of the scores at noise is zero everywhere")
    if not bool(torch.isfinite(gradient).all()):
        return Finding("class models can be drawn", "no", "the gradient of the scores at noise is not finite")
    alive = int(gradient.flatten(1).any(1).sum())
    return Finding(
        "class models can be drawn",
        "yes" if alive == 4 else "partly",
        f"the gradient reaches {alive} of 4 noise pictures",
    )


def _one_by_one(net: Network) -> Finding:
    pictures = _noise(net, 3)
    together = net.scores(pictures)
    alone = torch.cat([net.scores(one) for one in pictures.split(1)])
    return _equal("pictures do not mix in a batch", together, alone)


def _repeatable(net: Network) -> Finding:
    pictures = _noise(net, 2)
    first = net.scores(pictures)
    with net.reading(seed=1) as read, torch.no_grad():
        second = read(pictures, {OUTPUT})[OUTPUT]
    return _equal("the same picture gives the same scores", first, second)


def _sizes(net: Network) -> Finding:
    p, works = net.preprocess, []
    for h, w in ((p.height // 2, p.width // 2), (p.height * 2, p.width * 2), (p.height, p.width + p.width // 4)):
        try:
            net.scores(_noise(net, 1, (max(h, 1), max(w, 1))))
        except PhospheneError:
            continue
        works.append(f"{h}×{w}")
    verdict: Verdict = "yes" if len(works) == 3 else "partly" if works else "no"
    return Finding("other sizes run (--size)", verdict, f"height×width {', '.join(works)}" if works else "only its own")


def _fields(net: Network) -> Finding:
    layers = net.layers()
    exact = sum(1 for layer in layers if layer.receptive_field and layer.receptive_field.exact)
    bounded = sum(1 for layer in layers if layer.receptive_field) - exact
    shared = [layer.address for layer in layers if layer.calls > 1]
    detail = f"{len(layers)} layers; {exact} exact, {bounded} as an upper bound, {len(layers) - exact - bounded} have none"
    if shared:
        detail += (
            f"; {shared[0]} and {len(shared) - 1} more run several times: ADDRESS@RUN"
            if len(shared) > 1
            else (f"; {shared[0]} runs several times: {shared[0]}@RUN")
        )
    return Finding("receptive fields are known", "yes" if exact + bounded else "no", detail)


def _remakable(net: Network) -> Finding:
    try:
        runs_code = parse(net.name).runs_code
    except PhospheneError:
        runs_code = True
    if runs_code:
        return Finding(
            "pictures can be made again from their file",
            "partly",
            "rerun wants -m, since opening it runs code or reads files",
        )
    return Finding("pictures can be made again from their file", "yes", "phosphene rerun PICTURE.png")


def _equal(question: str, a: Tensor, b: Tensor) -> Finding:
    apart = float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))
    return Finding(question, "yes" if apart <= TOLERANCE else "no", f"scores differ by {apart:.1e} of the largest")


def _noise(net: Network, count: int, size: tuple[int, int] | None = None) -> Tensor:
    shape = (count, net.preprocess.channels, *(size or net.preprocess.sides))
    return torch.rand(shape, generator=stream(0, "doctor"))


def _few(numbers: tuple[float, ...]) -> str:
    same = len(set(numbers)) == 1
    return f"{numbers[0]:g}" if same else ", ".join(f"{n:g}" for n in numbers[:4]) + (", …" if len(numbers) > 4 else "")
