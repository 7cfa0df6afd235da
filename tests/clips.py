"""Small real videos and pictures, made for one test, and what can be read back from a video."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest


def frame(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A gray ramp with the frame's number, modulo 100, as two gray levels in its left half; BGR uint8."""
    image = np.zeros((*size, 3), np.uint8)
    image[:] = np.linspace(0, 255, size[1]).astype(np.uint8)[None, :, None]
    image[:, : size[1] // 2] = 30 + 20 * (number % 10)
    image[size[0] // 2 :, : size[1] // 2] = 30 + 20 * (number // 10 % 10)
    return image


def number_of(image: np.ndarray) -> int:
    """Which :func:`frame` it is, after lossy coding."""
    height, width = image.shape[:2]
    columns = slice(width // 8, width // 2 - width // 8)
    ones = image[height // 8 : height // 2 - height // 8, columns].mean()
    tens = image[height // 2 + height // 8 : -(height // 8), columns].mean()
    return round((tens - 30) / 20) * 10 + round((ones - 30) / 20)


def clip(
    path: Path,
    frames: int = 20,
    *,
    rate: Fraction = Fraction(25, 2),
    times: list[int] | None = None,
    tick: Fraction | None = None,
    size: tuple[int, int] = (48, 64),
    rotation: int = 0,
    noise: bool = False,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; ``times`` in ticks make its rate vary, ``noise`` makes it large."""
    rng = np.random.default_rng(0)
    tick = tick or 1 / rate
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.gop_size = 5
        if rotation:
            if not hasattr(type(stream), "set_display_rotation"):
                pytest.skip(f"PyAV {av.__version__} cannot write a rotation")
            stream.set_display_rotation(rotation)
        for i in range(frames):
            image = rng.integers(0, 256, (*size, 3), dtype=np.uint8) if noise else frame(i, size)
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = (i if times is None else times[i]), tick
            for packet in stream.encode(picture):
                packet.duration = packet.duration or 1
                container.mux(packet)
        for packet in stream.encode():
            packet.duration = packet.duration or 1
            container.mux(packet)
    return path


def pictures(folder: Path, names: list[str], size: tuple[int, int] = (48, 64)) -> Path:
    """A folder of pictures, the n-th one being ``frame(n)``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), frame(i, size))
    return folder


@dataclass(frozen=True)
class Video:
    """What a player sees of a video file."""

    frames: int
    rate: Fraction
    duration: Fraction
    times: list[Fraction]
    numbers: list[int]
    size: tuple[int, int]
    pixel_format: str
    codec: str
    index_first: bool


def play(path: Path) -> Video:
    """Decode a video to its end; any damage is an error."""
    data = path.read_bytes()
    with av.open(str(path), options={"err_detect": "explode"}) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        assert not any(picture.is_corrupt for picture in decoded)
        assert stream.frames == len(decoded)
        return Video(
            frames=len(decoded),
            rate=stream.average_rate,
            duration=stream.duration * stream.time_base,
            times=[picture.pts * stream.time_base for picture in decoded],
            numbers=[number_of(picture.to_ndarray(format="bgr24")) for picture in decoded],
            size=(stream.height, stream.width),
            pixel_format=stream.codec_context.pix_fmt,
            codec=stream.codec_context.name,
            index_first=0 < data.find(b"moov") < data.find(b"mdat"),
        )
