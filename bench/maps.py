"""`python -m bench explain` and `cam`: maps a second, beside Captum, pytorch-grad-cam and TorchCAM.

Each peer is run as its documentation does, on the module that the user has.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import phosphene as ph
from bench import networks, peers
from bench.arithmetic import FULL, HALF, NAMES, MatrixRate, of_a_pass, of_a_step
from bench.machine import version_of
from bench.measured import Bar, Measured, Row, number
from bench.settings import Settings
from bench.turns import Timed, in_turns, seconds, tell
from phosphene.network.prepared import native_half

HEAD = ("method", "program", "pictures/s", "ours ÷ theirs", "GFLOP/s", "of the limit")
TEXT = """{network} with random weights at {side} px: {what}. Medians of {rounds} rounds in which all take turns. The arithmetic
is counted on the plain float32 network: {counted}. The limit is what it allows at the best rate of square matrix products in
the same run."""
BATCH, MAPS = 16, 256  # pictures at once; maps of `layer1`
TARGET = 1
OURS = "phosphene"
Ours = Callable[[ph.Network, Tensor], Timed]  # prepares what is not timed, of pictures
Theirs = Callable[[nn.Module, Tensor], Timed]  # ditto, of the module's inputs


@dataclass(frozen=True)
class Race:
    """One method, ours and others', of so many pictures.

    peers  by the name of the distribution: how it begins, and how many times as many pictures a second ours must give
    count  the arithmetic of one picture;  kind: in which ours computes it
    """

    method: str
    ours: Ours
    peers: dict[str, tuple[Theirs, float]]
    count: Callable[[nn.Module, Tensor], int]
    pictures: int = BATCH
    kind: torch.dtype = FULL


@dataclass(frozen=True)
class Ran:
    """times: seconds by program, OURS among them; peers that are not installed are not. count: of one picture."""

    race: Race
    times: dict[str, float]
    count: int


def explain(settings: Settings) -> Measured:
    saliency = Race("saliency", ours(ph.explain, method="saliency"), {"captum": (of_captum, 1.3)}, of_a_step)
    return measured("explain", [saliency], f"{settings.of(BATCH, 1)} at once", settings)


def cam(settings: Settings) -> Measured:
    """Score-CAM is of `layer1`, whose 256 maps are an eighth of those of `layer4`: a map costs one pass anywhere."""
    beside = {"grad-cam": (of_grad_cam("GradCAM", "layer4"), 1.3), "torchcam": (of_torchcam, 1.1)}
    grad = Race("grad_cam", ours(ph.cam, method="grad_cam", layer="layer4"), beside, of_a_pass)
    slow = {"grad-cam": (of_grad_cam("ScoreCAM", "layer1", batch_size=BATCH), 2.0)}
    half = HALF if native_half(torch.device("cpu")) else FULL
    score = Race("score_cam", ours(ph.cam, method="score_cam", layer="layer1"), slow, of_masked_passes, 1, half)
    slowly = f"; Score-CAM one, with the {MAPS} maps of `layer1`, which ours goes through in {NAMES[half]}"
    what = f"{settings.of(BATCH, 1)} at once{settings.of(slowly, '')}"
    return measured("cam", settings.of([grad, score], [grad]), what, settings)


def measured(verb: str, races: Sequence[Race], what: str, settings: Settings) -> Measured:
    network = settings.of("ResNet-50", "ResNet-18")
    net, rates = networks.made(network, settings.side), MatrixRate(sides=settings.of((1024, 2048, 4096), (256,)))
    ran = []
    for race in races:
        tell(f"{verb}: {race.method}")
        ran.append(run(replace(race, pictures=settings.of(race.pictures, 1)), net, settings, rates))
    text = TEXT.format(
        network=network,
        side=settings.side,
        what=what,
        rounds=settings.rounds,
        counted=", ".join(f"{one.race.method} {number(one.count / 1e9)} GFLOP a picture" for one in ran),
    )
    every = [row for one in ran for row in rows(one, rates)]
    judged = [bar for one in ran for bar in bars(verb, one)]
    return Measured(text, HEAD, tuple(every), (str(rates),), tuple(judged), torch.get_num_threads())


def run(race: Race, net: ph.Network, settings: Settings, rates: MatrixRate) -> Ran:
    side = settings.side
    pictures = torch.rand(race.pictures, 3, side, side, generator=torch.Generator().manual_seed(1))
    timed = {OURS: race.ours(net, pictures)}
    inputs = net.preprocess.forward(pictures)
    for peer, (begin, _) in race.peers.items():
        if not peers.missing(peer):
            timed[peer] = begin(copy.deepcopy(net.module), inputs)  # with its own hooks, and no other's
    for one in timed.values():
        one()  # what is made once is made now
    times = in_turns([partial(seconds, one) for one in timed.values()], settings.rounds, rates.sample)
    return Ran(race, dict(zip(timed, times, strict=True)), race.count(net.module, pictures[:1]))


def bars(verb: str, ran: Ran) -> list[Bar]:
    return [
        Bar(f"{verb}, {ran.race.method}", _beside(ran, peer), bar, f" × {peer}", why=f"{peer} is not installed")
        for peer, (_, bar) in ran.race.peers.items()
    ]


def rows(ran: Ran, rates: MatrixRate) -> list[Row]:
    programs = [_row(program, ran, rates) for program in (OURS, *ran.race.peers)]
    return programs + [_limit(kind, ran, rates) for kind in dict.fromkeys((FULL, ran.race.kind))]


def _row(program: str, ran: Ran, rates: MatrixRate) -> Row:
    if program not in ran.times:
        return ran.race.method, f"{program}: not installed", "", "", "", ""
    rate, kind = ran.race.pictures / ran.times[program], ran.race.kind if program == OURS else FULL
    beside = "" if program == OURS else f"{_beside(ran, program):.2f}"
    share = f"{rate * ran.count / rates.limit(kind):.0%} of {NAMES[kind]}'s"
    return ran.race.method, f"{program} {version_of(program)}", number(rate), beside, number(rate * ran.count / 1e9), share


def _limit(kind: torch.dtype, ran: Ran, rates: MatrixRate) -> Row:
    limit = rates.limit(kind)
    return ran.race.method, f"the limit, {NAMES[kind]} matrices", number(limit / ran.count), "", number(limit / 1e9), ""


def _beside(ran: Ran, peer: str) -> float | None:
    return ran.times[peer] / ran.times[OURS] if peer in ran.times else None


def of_masked_passes(module: nn.Module, picture: Tensor) -> int:
    return (MAPS + 1) * of_a_pass(module, picture)


def ours(verb: Callable[..., Any], **settings: Any) -> Ours:
    return lambda net, pictures: partial(verb, net, pictures, f"logit:{TARGET}", **settings)


def of_captum(module: nn.Module, inputs: Tensor) -> Timed:
    from captum.attr import Saliency

    made = Saliency(module)
    return lambda: made.attribute(inputs.clone().requires_grad_(True), target=TARGET).amax(1)


def of_grad_cam(kind: str, layer: str, **settings: Any) -> Theirs:
    def begin(module: nn.Module, inputs: Tensor) -> Timed:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        made = getattr(pytorch_grad_cam, kind)(module, [module.get_submodule(layer)])
        for name, value in settings.items():
            setattr(made, name, value)
        return lambda: made(inputs, [ClassifierOutputTarget(TARGET)] * len(inputs))

    return begin


def of_torchcam(module: nn.Module, inputs: Tensor) -> Timed:
    from torchcam.methods import GradCAM

    def run() -> object:
        with GradCAM(module, target_layer="layer4") as made:
            return made([TARGET] * len(inputs), module(inputs))

    return run
