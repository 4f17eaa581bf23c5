"""Moving pictures: GIF, animated WebP, APNG, and MP4 with the extra of that name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .. import checks
from ..errors import ExtraError, RequestError, shown
from .colour import enlarged
from .files import write_whole

KINDS = ("gif", "webp", "apng", "png", "mp4")
LEAST = 224  # pixels of the shorter side at least; smaller pictures are enlarged by whole factors
SECONDS, HOLD = 4.0, 1.5  # of the whole movement, and of the last frame


def write_animation(path: str | Path, frames: Sequence[Image.Image], *, seconds: float = SECONDS, hold: float = HOLD) -> Path:
    """Write the frames in the format of the suffix: .gif, .webp, .apng or .png (both APNG), .mp4.

    seconds: of the movement, whatever the number of frames; hold: how long the last frame stands. It loops, but for MP4.
    """
    file = checks.path("path", path)
    kind = check_kind(file.suffix.lower().removeprefix("."))
    if len(frames) < 2:
        raise RequestError(f"an animation of {len(frames)} frames; at least two are needed: render with frames=2 or more")
    large = [enlarged(frame.convert("RGB"), LEAST) for frame in frames]
    each = max(20, round(1000 * seconds / len(large)))  # browsers slow down GIFs under 20 ms
    if kind == "mp4":
        return write_whole(file, lambda beside: _mp4(beside, large, each, hold))
    times = [each] * (len(large) - 1) + [max(each, round(1000 * hold))]
    return write_whole(file, lambda beside: _pillow(beside, large, times, kind))


def check_kind(kind: str) -> str:
    """The kind, if it is one; ExtraError if it is MP4 and nothing here writes it."""
    if kind not in KINDS:
        raise RequestError(f"animation {shown(kind)}; one of {', '.join(KINDS)} is needed")
    if kind == "mp4" and importlib.util.find_spec("av") is None:
        raise ExtraError("MP4 needs PyAV; pip install 'phosphene[mp4]', or take gif, webp or apng")
    return kind


def _pillow(path: Path, frames: list[Image.Image], times: list[int], kind: str) -> None:
    first, *others = _one_palette(frames) if kind == "gif" else frames
    name = {"gif": "GIF", "webp": "WEBP"}.get(kind, "PNG")
    options = {"lossless": True} if kind == "webp" else {"disposal": 1} if kind == "gif" else {}
    first.save(path, format=name, save_all=True, append_images=others, duration=times, loop=0, **options)


def _one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """256 colours chosen over all frames: one palette a frame makes still areas flicker."""
    some = frames[:: max(1, len(frames) // 8)] + frames[-1:]
    strip = Image.new("RGB", (frames[0].width, frames[0].height * len(some)))
    for i, frame in enumerate(some):
        strip.paste(frame, (0, i * frame.height))
    palette = strip.quantize(256, method=Image.Quantize.MEDIANCUT)
    return [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]


def _mp4(path: Path, frames: list[Image.Image], each: int, hold: float) -> None:
    import av

    rate = round(1000 / each)
    still = frames[-1:] * round(hold * rate)
    height, width = frames[0].height // 2 * 2, frames[0].width // 2 * 2  # the codec wants even sides
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in [*frames, *still]:
            frame = av.VideoFrame.from_ndarray(np.asarray(image)[:height, :width], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
