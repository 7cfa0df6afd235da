"""Colors for classes and for the objects of one class.

Both pick by the same rule: of a fixed set of candidates take the one that lies farthest, in CIELAB, from every
color taken before. So colors are distinct, the same in each run, and the first m of n colors are the m colors.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
"""RGB, 0 to 255."""

_FIRST: Color = (66, 133, 244)
SHADES = 48
"""Colors that the objects of one class have between them."""
_LINE_LUMA = 135.0
# Lightness and chroma of the candidates: light enough to show on a dark frame, dark enough not to bleach, and
# with a hue. The whole gamut's farthest points would be its corners, among them pure blue and near black.
_LIGHTNESS = (42.0, 82.0)
_CHROMA = (34.0, 88.0)
# How far in L, and in a and b, a shade may lie from its class's color.
_SHADE_RADIUS = (24.0, 18.0)

# CIELAB (CIE 15) of sRGB (IEC 61966-2-1). OpenCV converts more coarsely and fills tables for 70 ms before it does.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_WHITE = _TO_XYZ.sum(axis=1)
_KNEE = 6 / 29


def class_colors(n: int) -> tuple[Color, ...]:
    """Distinct colors for ``n`` classes.

    Args:
        n: how many, 0 or more. After 1789 they repeat.

    Returns:
        n RGB triples. ``class_colors(m) == class_colors(n)[:m]`` for m <= n.

    Raises:
        ValueError: n is negative.
    """
    if n < 0:
        raise ValueError(f"n is {n}; it must be 0 or more")
    if n == 0:
        return ()
    order = _class_order(64 if n <= 64 else 4096)
    return tuple(order[i % len(order)] for i in range(n))


def instance_color(base: Color, k: int) -> Color:
    """Shade of a class's color for its ``k``-th object.

    The idea is that of panopticapi's ``IdGenerator``: objects of one class look akin, yet each has its own color.
    Here the shades are not random, so that a picture drawn twice is the same picture.

    Args:
        base: RGB of the class.
        k: 0 gives ``base`` itself; after 48 objects the shades repeat.
    """
    shades = _shades((int(base[0]), int(base[1]), int(base[2])))
    return shades[k % len(shades)]


@lru_cache(maxsize=4096)
def text_color(background: Color) -> Color:
    """White or near black, RGB: the one that is easier to read on ``background`` (RGB).

    Contrast is that of WCAG 2 (relative luminance), white where the two are near.
    """
    channels = np.asarray(background, dtype=np.float64) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    white, black = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.058
    return (255, 255, 255) if white * 1.6 >= black else (24, 24, 24)


def line_color(color: Color) -> Color:
    """A color for thin lines: itself, or lightened where it would be lost on a dark frame (COCO's truck, 0 0 70).

    RGB in and out.
    """
    red, green, blue = color
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    lift = max(0.0, (_LINE_LUMA - luma) / (255 - luma)) if luma < 255 else 0.0
    red, green, blue = (round(channel + lift * (255 - channel)) for channel in color)
    return red, green, blue


@cache
def _class_order(count: int) -> tuple[Color, ...]:
    levels = np.linspace(20, 255, 16).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    good = (
        (lab[:, 0] >= _LIGHTNESS[0])
        & (lab[:, 0] <= _LIGHTNESS[1])
        & (chroma >= _CHROMA[0])
        & (chroma <= _CHROMA[1])
    )
    return _farthest_first(np.vstack([np.array([_FIRST], dtype=np.uint8), grid[good]]), count)


@cache
def _shades(base: Color) -> tuple[Color, ...]:
    first = np.array([base], dtype=np.uint8)
    lightness, a, b = _to_lab(first)[0]
    # The window is shifted, not cut, where it would leave the range: a dark class gets lighter shades.
    low = min(max(lightness - _SHADE_RADIUS[0], 25.0), 88.0 - 2 * _SHADE_RADIUS[0])
    high = max(low + 2 * _SHADE_RADIUS[0], lightness)
    steps = np.linspace(-_SHADE_RADIUS[1], _SHADE_RADIUS[1], 9)
    grid = np.stack(np.meshgrid(np.linspace(low, high, 9), a + steps, b + steps, indexing="ij"), axis=-1)
    candidates = _to_rgb(grid.reshape(-1, 3))
    return _farthest_first(np.vstack([first, candidates]), SHADES)


def _farthest_first(candidates: NDArray[np.uint8], count: int) -> tuple[Color, ...]:
    """Up to ``count`` distinct rows of ``candidates`` (RGB), the first row first."""
    lab = _to_lab(candidates)
    distance = np.full(len(lab), np.inf, dtype=np.float32)
    chosen: list[Color] = []
    index = 0
    while len(chosen) < count:
        red, green, blue = candidates[index].tolist()
        chosen.append((red, green, blue))
        offset = lab - lab[index]
        np.minimum(distance, np.einsum("ij,ij->i", offset, offset), out=distance)
        index = int(distance.argmax())
        if distance[index] == 0:
            break
    return tuple(chosen)


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB uint8 [N, 3] to CIELAB float32 [N, 3], L 0 to 100."""
    channels = rgb / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    share = _transform(linear, _TO_XYZ) / _WHITE
    root = np.where(share > _KNEE**3, np.cbrt(share), share / (3 * _KNEE**2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1).astype(np.float32)


def _to_rgb(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """CIELAB [N, 3] to the nearest RGB uint8 [N, 3]."""
    lightness, a, b = lab.T
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], axis=1)
    share = np.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    linear = _transform(share * _WHITE, _FROM_XYZ).clip(0, 1)
    channels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(channels * 255), dtype=np.uint8)


def _transform(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not `@`, after which OpenBLAS's threads wait for more to multiply, and take a core each for 0.1 s.
    product: NDArray[np.float64] = np.einsum("nj,ij->ni", points, matrix)
    return product
