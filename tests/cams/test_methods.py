"""Closed forms of the methods that have a target layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.attribution.methods import largest
from phosphene.cams.eigen import EigenCam, principal
from phosphene.cams.methods import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from phosphene.cams.perturbed import AblationCam, ScoreCam
from phosphene.errors import RequestError
from phosphene.pictures.overlay import resized
from tests.cams.pooled import SIZE, close, last, net, pictures, weights, zhou

A, G = weights(2, 5, 3, 4, seed=3), weights(2, 5, 3, 4, seed=4)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "xgrad_cam", "cam"])
def test_of_a_linear_head_these_are_the_same_map(method: str) -> None:
    of, shown = net(nn.ReLU()), pictures()
    h = ph.cam(of, shown, "logit:b", method=method)
    assert close(h.values, zhou(of, shown, 1, "1"))


@pytest.mark.parametrize("method", ["hires_cam", "xgrad_cam"])
def test_the_map_of_a_rectified_network_without_biases_sums_to_the_score(method: str) -> None:
    of = net(nn.ReLU(), nn.Conv2d(6, 6, 3, bias=False), nn.ReLU(), bias=False)
    h = ph.cam(of, pictures(), "logit:b", method=method, layer="1")
    assert torch.allclose(h.total().float(), h.score, rtol=1e-4, atol=1e-4)


def test_grad_cam_is_the_mean_gradient_times_the_maps() -> None:
    by_hand = sum(G[:, k].mean((1, 2))[:, None, None] * A[:, k] for k in range(5))
    assert torch.allclose(GradCam().map_of(A, G), torch.as_tensor(by_hand), atol=1e-6)


def test_layer_cam_counts_positive_gradients_alone() -> None:
    assert torch.allclose(LayerCam().map_of(A, G), (A * G.clamp(min=0)).sum(1))


def test_at_one_place_layer_cam_is_the_positive_part_of_grad_cam() -> None:
    a, g = A[:, :, :1, :1], G[:, :, :1, :1]
    assert torch.allclose(LayerCam().map_of(a, g), GradCam().map_of(a, g.clamp(min=0)))
    assert torch.allclose(HiResCam().map_of(a, g), GradCam().map_of(a, g))


def test_grad_cam_plus_plus_is_its_equation_for_rectified_maps() -> None:
    a = A.clamp(min=0)
    alpha = G**2 / (2 * G**2 + a.sum((2, 3), keepdim=True) * G**3)
    by_hand = torch.einsum("nk,nkhw->nhw", (alpha * G.clamp(min=0)).sum((2, 3)), a)
    assert torch.allclose(GradCamPlusPlus().map_of(a, G), by_hand, rtol=1e-4, atol=1e-6)


def test_grad_cam_plus_plus_keeps_away_from_the_pole() -> None:
    """Where 2 + G · Σ A is 0, as with maps that are not rectified."""
    a, g = torch.full((1, 1, 2, 2), -0.5), torch.ones(1, 1, 2, 2)
    assert torch.equal(GradCamPlusPlus().map_of(a, g), torch.full((1, 2, 2), -1.0))


def test_xgrad_cam_has_the_sum_of_hires_cam() -> None:
    a = A.clamp(min=0)
    assert torch.allclose(XGradCam().map_of(a, G).sum((1, 2)), HiResCam().map_of(a, G).sum((1, 2)), atol=1e-5)


def test_xgrad_cam_gives_a_map_that_cancels_out_no_weight() -> None:
    a = torch.tensor([[[[1.0, -1.0]], [[1.0, 1.0]]]])
    g = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    assert torch.equal(XGradCam().map_of(a, g), torch.full((1, 1, 2), 0.5))


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "xgrad_cam", "ablation_cam", "cam"])
def test_maps_of_a_difference_are_the_difference_of_maps_where_weights_are_linear(method: str) -> None:
    of, shown = net(nn.ReLU()), pictures()
    both, a, b = (ph.cam(of, shown, o, method=method).values for o in ("logit:a - logit:b", "logit:a", "logit:b"))
    assert close(both, a - b, 1e-4)


def test_ablation_of_a_linear_head_weighs_a_map_by_what_it_contributes() -> None:
    of, shown = net(nn.ReLU()), pictures()
    f, w = of.features(shown, "1"), last(of).weight.detach()[2]
    h = ph.cam(of, shown, "logit:c", method="ablation_cam")
    assert close(h.values, torch.einsum("bk,bkhw->bhw", w * f.mean((2, 3)), f), 1e-4)


def test_ablation_of_some_channels_weighs_those_that_vary_most() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    f, w = of.features(shown, "1"), last(of).weight.detach()[2]
    spread = (f.amax((2, 3)) - f.amin((2, 3)))[0]
    kept = torch.zeros(6).index_fill(0, spread.argsort(descending=True)[:2], 1)
    h = ph.cam(of, shown, "logit:c", method=AblationCam(channels=2))
    assert close(h.values, torch.einsum("bk,bkhw->bhw", kept * w * f.mean((2, 3)), f), 1e-4)


def test_ablation_does_not_turn_over_where_the_score_is_negative() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    up, down = (ph.cam(of, shown, o, method="ablation_cam").values for o in ("logit:a", "-1*logit:a"))
    assert close(down, -up)


class Counting(nn.Module):
    """Reckons with the number of pictures that it was given."""

    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.body, self.head, self.mixes = nn.Conv2d(3, 6, 3), nn.Linear(6 * 60, 5), mixes

    def forward(self, x: Tensor) -> Tensor:
        rows = len(x)
        x = self.body(x).relu()
        if not self.mixes:
            x = torch.cat([x, torch.zeros(rows, *x.shape[1:])], 1)[:, :6]
        scores: Tensor = self.head(x.reshape(rows, -1))
        return scores


@pytest.mark.parametrize("mixes", [True, False])
def test_a_network_that_counts_its_pictures_is_given_as_many(mixes: bool) -> None:
    torch.manual_seed(0)
    of, shown = ph.Network(Counting(mixes), ph.Preprocess(size=SIZE)), pictures(1)
    f, w = of.features(shown, "body").relu(), last(of).weight.detach()[0].view(6, *[s - 2 for s in SIZE])
    h = ph.cam(of, shown, "logit:0", method="ablation_cam")
    assert close(h.values, torch.einsum("k,bkhw->bhw", (f[0] * w).sum((1, 2)), of.features(shown, "body")), 1e-4)


def test_a_hidden_layer_that_counts_the_pictures_is_given_as_many() -> None:
    class Folding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.kept, self.head = nn.Conv2d(3, 6, 3), nn.Identity(), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            folded = self.body(x).reshape(len(x), -1, 6, 60).mean(1)
            scores: Tensor = self.head(self.kept(folded).mean(2))
            return scores

    of, shown = ph.Network(Folding(), ph.Preprocess(size=SIZE)), pictures(1)
    f = of.features(shown, "body")
    h = ph.cam(of, shown, "layer:kept", method="ablation_cam", layer="body")
    assert close(h.values, torch.einsum("bk,bkhw->bhw", f.sum((2, 3)), f), 1e-3)


def test_score_cam_weighs_by_the_softmax_of_what_is_seen_through_each_map() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    f, mean = of.features(shown, "1"), of.preprocess.mean_picture()
    low, high = f.amin((2, 3), keepdim=True), f.amax((2, 3), keepdim=True)
    masks = ((f - low) / (high - low))[0, :, None]
    worth = of.scores(mean + masks * (shown - mean))[:, 2]
    assert close(ph.cam(of, shown, "logit:c", method="score_cam").values[0], (worth.softmax(0)[:, None, None] * f[0]).sum(0))


def test_score_cam_in_half_precision_is_nearly_the_same() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    full, half = (ph.cam(of, shown, "logit:c", method=ScoreCam(precision=p)).values for p in ("full", "half"))
    assert close(half, full, 0.05)
    assert not torch.equal(half, full)


def test_score_cam_knows_two_precisions() -> None:
    with pytest.raises(RequestError, match="precision 'double'; auto, full or half is needed"):
        ScoreCam(precision="double")  # type: ignore[arg-type]  # on purpose


def test_score_cam_asks_about_no_map_that_is_the_same_everywhere() -> None:
    of = net(nn.ReLU())
    h = ph.cam(of, torch.full((1, 3, *SIZE), 0.5), "logit:c", method="score_cam")
    assert not h.values.any()
    assert h.items[0].notes == ("empty: the map is zero everywhere",)


@pytest.mark.parametrize("channels", [0, -1, 1.5, "all"])
def test_a_wrong_number_of_channels_is_refused(channels: object) -> None:
    with pytest.raises(RequestError, match="channels is"):
        ScoreCam(channels=channels)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 20, 3, 4), (1, 3, 5, 1)])
@pytest.mark.parametrize("centred", [False, True])
def test_eigen_cam_is_the_first_singular_direction(shape: tuple[int, ...], centred: bool) -> None:
    a = weights(*shape)
    rows = a.flatten(2).mT.double()
    rows = rows - rows.mean(1, keepdim=True) if centred else rows
    u, s, _ = torch.linalg.svd(rows, full_matrices=False)
    wanted = (u[:, :, 0] * s[:, :1]).view(len(a), *shape[2:])
    found = principal(a, centred)
    assert torch.allclose(found.abs(), wanted.abs().float(), atol=1e-5)


def test_eigen_cam_of_rectified_maps_is_nowhere_negative() -> None:
    assert float(principal(A.abs()).min()) >= 0


@pytest.mark.parametrize("centred", [False, True])
def test_eigen_cam_is_positive_where_the_layer_is_strong(centred: bool) -> None:
    strong = torch.zeros(1, 4, 6, 6)
    strong[:, :, 1:3, 1:3] = torch.tensor([1.0, -2, 3, -1]).view(1, 4, 1, 1)
    for sign in (1, -1):
        found = principal(sign * strong, centred)[0]
        assert float(found[1:3, 1:3].min()) > float(found[4:, 4:].max()) + 0.5


@pytest.mark.parametrize("maps", [torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), torch.inf), torch.full((1, 3, 2, 2), 1e30)])
def test_eigen_cam_is_always_finite(maps: Tensor) -> None:
    assert bool(torch.isfinite(principal(maps)).all())


def test_eigen_cam_says_that_it_does_not_depend_on_the_objective() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    a, b = (ph.cam(of, shown, o, method=EigenCam()) for o in ("logit:a", "logit:b"))
    assert torch.equal(a.values, b.values)
    assert "does not depend on the objective" in a.notes[0]


def test_guided_grad_cam_is_guided_backprop_under_the_positive_part_of_grad_cam() -> None:
    of, shown = net(nn.ReLU()), pictures()
    h, coarse = (ph.cam(of, shown, "logit:a", method=m) for m in ("guided_grad_cam", "grad_cam"))
    fine = ph.explain(of, shown, "logit:a", method="guided_backprop")
    assert h.colour is not None
    assert fine.colour is not None
    assert torch.allclose(h.colour, fine.colour * resized(coarse.values.clamp(min=0), SIZE)[:, None])
    assert torch.equal(h.values, largest(h.colour))


def test_several_layers_are_averaged_with_their_sums_kept() -> None:
    of, shown = net(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 1), nn.ReLU()), pictures()
    fused, fine, coarse = (ph.cam(of, shown, "logit:a", method="hires_cam", layer=layer) for layer in (["1", "3"], "1", "3"))
    assert fused.values.shape == fine.values.shape == (2, *SIZE)
    assert torch.allclose(fused.total(), (fine.total() + coarse.total()) / 2, rtol=1e-4)
    assert fused.items[0].layer == "1, 3"


def test_several_layers_without_a_unit_count_alike() -> None:
    of, shown = net(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 1), nn.ReLU()), pictures()
    h = ph.cam(of, shown, "logit:a", method="eigen_cam", layer=["1", "4"])
    assert torch.allclose(h.total().float(), torch.ones(2), atol=1e-3)


def test_a_hidden_channel_has_its_activation_map() -> None:
    of, shown = net(nn.ReLU()), pictures()
    for method in ("grad_cam", "hires_cam"):
        assert close(ph.cam(of, shown, "channel:1:2", method=method).values, of.features(shown, "1")[:, 2] / 96)


def test_a_single_neuron_is_told_that_its_place_is_lost() -> None:
    of, shown = net(nn.ReLU()), pictures(1)
    h = ph.cam(of, shown, "neuron:1:2,3,4", method="grad_cam")
    assert "is one place of the layer that the map is of" in h.notes[0]
    earlier = ph.cam(of, shown, "neuron:1:2,3,4", method="grad_cam", layer="0")
    assert not any("one place" in note for note in earlier.notes)
