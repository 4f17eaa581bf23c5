from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import phosphene as ph
from phosphene.errors import RequestError

CHANNELS = (1, 2, 3, 4, 24)


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def preprocesses(draw: st.DrawFn) -> ph.Preprocess:
    channels = draw(st.sampled_from(CHANNELS))
    many = draw(st.sampled_from([1, channels]))
    low = draw(st.floats(-300, 300))
    return ph.Preprocess(
        size=(draw(st.integers(1, 6)), draw(st.integers(1, 6))),
        mean=tuple(draw(st.lists(st.floats(-300, 300), min_size=many, max_size=many))),
        std=tuple(draw(st.lists(st.floats(0.1, 300), min_size=many, max_size=many))),
        range=(low, low + draw(st.floats(1, 300))),
        channels=channels,
        order=draw(st.sampled_from(["rgb", "bgr"])) if channels == 3 else "rgb",
        layout=draw(st.sampled_from(["bchw", "bhwc"])),
    )


@settings(max_examples=50)
@given(preprocesses())
def test_the_way_back_ends_where_the_way_there_began(p: ph.Preprocess) -> None:
    given_ = pictures(2, p.channels, *p.sides).double()
    torch.testing.assert_close(p.inverse(p.forward(given_)), given_, rtol=0, atol=1e-9)


@settings(max_examples=50)
@given(preprocesses())
def test_a_dict_of_plain_numbers_makes_the_same_again(p: ph.Preprocess) -> None:
    assert ph.Preprocess.from_dict(json.loads(json.dumps(p.to_dict()))) == p


def test_network_input_is_the_ranged_picture_less_the_mean_over_the_std() -> None:
    p = ph.Preprocess(size=2, mean=(1, 2), std=(2, 4), range=(0, 255), channels=2)
    white = p.forward(torch.ones(1, 2, 2, 2))
    assert white[0, :, 0, 0].tolist() == [127.0, 63.25]


def test_bgr_swaps_channels_and_takes_mean_and_std_in_the_order_of_the_network() -> None:
    p = ph.Preprocess(size=1, mean=(0.1, 0.2, 0.3), std=(1, 2, 4), order="bgr")
    blue = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    expected = torch.tensor([0.9, -0.1, -0.075])
    torch.testing.assert_close(p.forward(blue).flatten(), expected)


def test_bhwc_puts_channels_last() -> None:
    p = ph.Preprocess(size=(2, 4), layout="bhwc")
    given_ = pictures(5, 3, 2, 4)
    torch.testing.assert_close(p.forward(given_), given_.permute(0, 2, 3, 1))


def test_the_gradient_passes_with_the_gain() -> None:
    given_ = pictures(1, 3, 2, 2).requires_grad_(True)
    ph.Preprocess(size=2, std=0.25).forward(given_).sum().backward()
    assert given_.grad is not None
    torch.testing.assert_close(given_.grad, torch.full_like(given_, 4.0))


def test_neither_way_changes_its_input() -> None:
    p, given_ = ph.Preprocess(size=2, mean=0.5, std=0.2, order="bgr"), pictures(1, 3, 2, 2)
    before = given_.clone()
    p.forward(given_), p.inverse(given_), p.fit(given_)
    assert torch.equal(given_, before)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"std": 0}, r"std is \(0.0, 0.0, 0.0\); positive numbers are needed, or there is no way back"),
        ({"std": (1.0, -1.0, 1.0)}, "positive numbers are needed"),
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers for 3 channels; 1 or as many are needed"),
        ({"mean": float("nan")}, "mean is nan; a finite number is needed"),
        ({"mean": ()}, "mean is empty"),
        ({"range": (1, 0)}, r"range is \(1.0, 0.0\); \(low, high\) with low < high is needed"),
        ({"range": (1, 2, 3)}, r"\(low, high\) with low < high is needed"),
        ({"range": 1}, r"\(low, high\) with low < high is needed"),
        ({"order": "gbr"}, "order is 'gbr'; one of rgb, bgr is needed"),
        ({"order": "bgr", "channels": 4}, "order 'bgr' is of 3 channels; channels is 4"),
        ({"layout": "bcwh"}, "layout is 'bcwh'; one of bchw, bhwc is needed"),
        ({"interpolation": "lanczos"}, "interpolation is 'lanczos'; one of nearest, bilinear, bicubic is needed"),
        ({"size": 0}, "size is 0; 1 to 8192 is needed"),
        ({"size": (1, 2, 3)}, r"size is \(1, 2, 3\); one side or \(height, width\) is needed"),
        ({"channels": 0}, "channels is 0; 1 to 4096 is needed"),
        ({"resize": 0}, "resize is 0; 1 to 8192 is needed"),
        ({"colour": 1}, r"preprocess has \['colour'\]; it takes channels, interpolation"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_right(settings_: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.Preprocess.from_dict(settings_)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (1, 4, 4, 3)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"pictures are .*; \(b, 3, h, w\) is needed"):
        ph.Preprocess(size=4).forward(torch.zeros(shape))


@pytest.mark.parametrize(
    "p",
    [
        ph.Preprocess(size=(2, 3), mean=(0.2, 0.4, 0.6), std=0.3),
        ph.Preprocess(size=(2, 3), mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3), order="bgr"),
        ph.Preprocess(size=(2, 3), mean=(100, 110, 120), range=(0, 255), layout="bhwc"),
        ph.Preprocess(size=(2, 3), mean=0, range=(-1, 1)),
        ph.Preprocess(size=(2, 3), mean=0.3, channels=24),
    ],
)
def test_the_network_sees_the_mean_picture_as_zero(p: ph.Preprocess) -> None:
    picture = p.mean_picture()
    assert picture.shape == (1, p.channels, 2, 3)
    assert p.forward(picture).abs().max() < 1e-4


def test_mid_grey_stands_for_a_mean_that_nobody_took() -> None:
    assert ph.Preprocess(size=2).mean_picture((1, 5)).unique().tolist() == [0.5]


def test_a_mean_outside_the_range_is_clipped() -> None:
    assert ph.Preprocess(size=1, mean=(-1, 0.5, 2)).mean_picture().flatten().tolist() == [0, 0.5, 1]


def test_a_mean_picture_can_be_written_into() -> None:
    ph.Preprocess(size=4).mean_picture()[0, 0, 0, 0] = 1.0


def test_replace_changes_one_setting_and_keeps_the_rest() -> None:
    p = ph.Preprocess(size=8, mean=(0.1, 0.2, 0.3), std=0.5, order="bgr")
    assert p.replace(size=16) == ph.Preprocess(size=16, mean=(0.1, 0.2, 0.3), std=0.5, order="bgr")


def test_replaced_channels_keep_one_mean_for_all() -> None:
    assert ph.Preprocess(size=8, mean=0.5, std=0.25).replace(channels=5).means == (0.5,) * 5


def test_replaced_channels_do_not_guess_a_mean() -> None:
    with pytest.raises(RequestError, match="mean has 3 numbers for 5 channels"):
        ph.Preprocess(size=8, mean=(0.1, 0.2, 0.3)).replace(channels=5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(40, 61), (61, 40), (20, 33), (24, 24), (29, 100)])
def test_a_photograph_is_resized_and_cropped_as_torchvision_does(interpolation: Any, sides: tuple[int, int]) -> None:
    from torchvision import transforms

    photo = pictures(1, 3, *sides)
    resize = transforms.Resize(29, transforms.InterpolationMode(interpolation), antialias=True)
    expected = transforms.CenterCrop((24, 22))(resize(photo)).clamp(0, 1)
    p = ph.Preprocess(size=(24, 22), resize=29, interpolation=interpolation)
    torch.testing.assert_close(p.fit(photo), expected)


def test_without_resize_a_photograph_is_squeezed_to_the_size() -> None:
    step = torch.zeros(1, 3, 4, 8)
    step[..., 4:] = 1.0
    fitted = ph.Preprocess(size=(2, 2), interpolation="nearest").fit(step)
    assert fitted[0, 0].tolist() == [[0, 1], [0, 1]]


def test_a_photograph_of_the_right_size_stays_as_it_is() -> None:
    photo = pictures(1, 3, 5, 7)
    assert torch.equal(ph.Preprocess(size=(5, 7), interpolation="bicubic").fit(photo), photo)


@settings(max_examples=25)
@given(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 20)] * 2), st.none() | st.integers(1, 30))
def test_any_photograph_fits_any_network(photo: tuple[int, int], size: tuple[int, int], resize: int | None) -> None:
    fitted = ph.Preprocess(size=size, resize=resize, interpolation="bicubic").fit(pictures(1, 3, *photo))
    assert fitted.shape == (1, 3, *size)
    assert fitted.min() >= 0
    assert fitted.max() <= 1


def test_a_grey_photograph_fits_a_colour_network() -> None:
    grey = pictures(1, 1, 4, 4)
    assert torch.equal(ph.Preprocess(size=4).fit(grey), grey.expand(1, 3, 4, 4))


def test_a_colour_photograph_becomes_its_luma() -> None:
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert ph.Preprocess(size=1, channels=1).fit(green).item() == pytest.approx(0.587)


def test_channels_that_have_no_relation_are_refused() -> None:
    with pytest.raises(
        RequestError, match=r"has 3 channels; the network takes 24. ph.read\(path, channels=24\) reads all bands"
    ):
        ph.Preprocess(size=4, channels=24).fit(pictures(1, 3, 4, 4))


def test_what_the_network_sees_is_the_formula() -> None:
    p = ph.Preprocess(size=4, mean=(0.5,), std=(2.0,), range=(-1, 1))
    shown = pictures(1, 3, 4, 4)
    torch.testing.assert_close(p.forward(shown), ((2 * shown - 1) - 0.5) / 2)
