"""Statistics over a batch, against those that batch norms learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.rendering.inversion import Inversion
from tests.nets import network

SIZE = (12, 12)


def normed() -> ph.Network:
    """Two batch norms, the first before all else; the second with a scale and a shift."""
    norms = nn.BatchNorm2d(3, eps=0), nn.BatchNorm2d(4, eps=0)
    module = nn.Sequential(norms[0], nn.Conv2d(3, 4, 1), norms[1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    stream = torch.Generator().manual_seed(0)
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=stream))
    return ph.Network(module, ph.Preprocess(size=SIZE))


def test_the_distance_is_the_sum_of_norms_over_the_batch() -> None:
    net = normed()
    given = {address: net.features(pictures(5), address) for address in ("0", "2")}
    expected = 0.0
    for address, factor in (("0", 10.0), ("2", 1.0)):
        norm: Any = net.module.get_submodule(address)
        values = given[address].movedim(1, -1).flatten(0, 2)
        means, variances = norm.bias.detach(), norm.weight.detach().square()
        off = (values.mean(0) - means).norm() + (values.var(0, correction=0) - variances).norm()
        expected += factor * float(off)
    found = Inversion.of(net, SIZE, 1.0, 10.0).distance(given)
    assert found.shape == (5,)
    torch.testing.assert_close(found, torch.full((5,), expected), rtol=1e-4, atol=1e-4)


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def test_a_batch_with_the_statistics_that_were_learned_is_at_distance_zero() -> None:
    """The statistics are its own, over the batch: no picture alone has them."""
    net = normed()
    norm: Any = net.module.get_submodule("0")
    shown = pictures(5)
    with torch.no_grad():
        variance, mean = torch.var_mean(shown, (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    prior = Inversion.of(net, SIZE, 1.0, 1.0)
    whole = {address: net.features(shown, address) for address in ("0", "2")}
    first = {"0": whole["0"], "2": _as_learned(net)}
    assert prior.distance(first)[0].item() == pytest.approx(0, abs=1e-4)
    assert prior.distance({"0": whole["0"][:1], "2": _as_learned(net)})[0].item() > 0.1


def _as_learned(net: ph.Network) -> Tensor:
    norm: Any = net.module.get_submodule("2")
    signs = torch.tensor([1.0, -1.0]).repeat(SIZE[0] * SIZE[1] // 2).view(1, 1, *SIZE)
    features: Tensor = (norm.bias.view(1, -1, 1, 1) + signs * norm.weight.view(1, -1, 1, 1)).detach()
    return features


def test_pictures_of_a_request_are_one_batch_and_are_rerun_as_one(tmp_path: Path) -> None:
    net = ph.load("demo:robust")
    asked = {"recipe": "yin2020", "steps": 3, "frames": 0}
    several = ph.render(net, ["logit:cat", "logit:ship", "channel:stage2.0:3"], batch=1, **asked)  # type: ignore[arg-type]
    alone = ph.render(net, "logit:cat", **asked)  # type: ignore[arg-type]
    assert several.record.batch == ("logit:3", "logit:8", "channel:stage2.0:3")
    assert (several.pictures[0] - alone.pictures[0]).abs().max() > 0.01
    assert all(item.notes[-1].startswith("drawn as one batch") for item in several.items)
    assert several.record.environment["learned"].startswith("18 batch norms, sha256 ")
    several.save(tmp_path / "out")
    assert ph.rerun(tmp_path / "out" / "ship.png").identical


def test_the_batch_gets_nearer_to_what_was_learned() -> None:
    net = ph.load("demo:standard")
    recipe = ph.Recipe("r", lr=0.02, steps=30)
    wanted = [f"logit:{i}" for i in range(10)]
    far = []
    for priors in ([], [ph.batch_statistics(1.0)]):
        drawn = ph.render(net, wanted, recipe=recipe, priors=priors, frames=0).pictures
        prior = Inversion.of(net, (32, 32), 1.0, 10.0)
        far.append(float(prior.distance({a: net.features(drawn, a) for a in prior.addresses})[0]))
    assert far[1] < 0.5 * far[0]


def test_networks_without_batch_norms_and_recipes_that_stop_early_are_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="must have batch norms, got none"):
        ph.render(network("plain", 12), "logit:1", recipe="yin2020", steps=1)
    with pytest.raises(ph.PhospheneError, match="patience must be 0"):
        ph.Recipe("r", patience=4, priors=(ph.batch_statistics(),))
    measured = ph.Network(normed().module, ph.Preprocess(size=SIZE), statistics=ph.statistics(normed(), [pictures(8)], "1"))
    with pytest.raises(ph.PhospheneError, match="must have batch norms, got none"):
        ph.render(measured, "logit:1", priors=[ph.batch_statistics()], steps=1)
