"""Pictures of any number of channels as a screen shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.errors import RequestError
from phosphene.pictures.colour import bytes_of, display, enlarged, image_of, pixels_sha256


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_rgb_are_shown_as_they_are(channels: int) -> None:
    picture = torch.rand(channels, 4, 5)
    assert display(picture) is picture


@pytest.mark.parametrize(("channels", "rows", "columns"), [(2, 1, 2), (4, 2, 2), (24, 4, 6)])
def test_other_channels_are_grey_tiles_row_by_row(channels: int, rows: int, columns: int) -> None:
    picture = torch.arange(float(channels)).div(channels).view(-1, 1, 1).expand(channels, 4, 4)
    shown = display(picture)
    assert shown.shape == (1, rows * 5 - 1, columns * 5 - 1)
    assert shown[0, ::5, ::5].flatten().tolist() == picture[:, 0, 0].tolist()


def test_a_picture_without_three_axes_is_refused() -> None:
    with pytest.raises(RequestError, match=r"picture is \(4, 5\); \(c, h, w\) is needed"):
        display(torch.zeros(4, 5))


def test_levels_are_rounded_to_the_nearest_and_clamped() -> None:
    levels = bytes_of(torch.tensor([[[0, 0.4 / 255, 0.6 / 255, 1, 2, -1]]]))
    assert levels.tolist() == [[0, 0, 1, 255, 255, 0]]


def test_an_image_has_the_pictures_pixels() -> None:
    picture = torch.arange(60).reshape(3, 4, 5) / 255
    image = image_of(picture)
    assert (image.mode, image.size) == ("RGB", (5, 4))
    assert np.array_equal(np.asarray(image), np.arange(60).reshape(3, 4, 5).transpose(1, 2, 0))


def test_a_picture_with_a_gradient_is_shown_and_left_as_it_is() -> None:
    picture = torch.rand(1, 2, 2, requires_grad=True)
    assert image_of(picture).mode == "L"
    assert picture.requires_grad


def test_the_hash_tells_pixels_sizes_and_modes_apart() -> None:
    images = [Image.new("L", (2, 3)), Image.new("L", (3, 2)), Image.new("RGB", (2, 1)), Image.new("L", (2, 3), 1)]
    assert len({pixels_sha256(image) for image in images}) == 4
    assert pixels_sha256(images[0]) == pixels_sha256(images[0].copy())


def test_small_images_are_enlarged_by_whole_factors_without_blur() -> None:
    image = Image.fromarray(np.array([[0, 50, 100], [150, 200, 250]], dtype=np.uint8))
    large = enlarged(image, 5)
    assert large.size == (9, 6)
    assert np.array_equal(np.asarray(large), np.asarray(image).repeat(3, 0).repeat(3, 1))


def test_large_images_are_not_enlarged() -> None:
    image = Image.new("L", (10, 20))
    assert enlarged(image, 10) is image


@pytest.mark.parametrize("size", [(1, 8192), (8192, 1)])
def test_a_very_long_image_is_not_enlarged_beyond_what_can_be_shown(size: tuple[int, int]) -> None:
    assert max(enlarged(Image.new("L", size), 256).size) < 16_384
