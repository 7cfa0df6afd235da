"""COCO's run-length encoding of masks, written and read with numpy alone.

Runs go down the columns, zeros first. The compressed string is that of ``rleToString`` in cocoapi's
``common/maskApi.c``: each count (from the fourth on, its difference to the count before the last) in groups of
five bits, low bits first, bit 5 set where more follow, plus 48.
"""

from __future__ import annotations

from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.masks.crop import BoolImage, MaskCrop
from segopt.masks.label_runs import LabelRuns


class Rle(TypedDict):
    """A mask as COCO's JSON files hold it."""

    size: list[int]
    """Height and width of the frame."""
    counts: str


def encode_rle(mask: MaskCrop | BoolImage, height: int, width: int) -> Rle:
    """A mask's RLE, equal to ``pycocotools.mask.encode`` of the full plane (whose counts are bytes).

    Time goes with the crop, not with the frame.

    Args:
        mask: a crop, or a plane bool [height, width] (a plane smaller than the frame lies at its top left).
        height: of the frame.
        width: of the frame.

    Raises:
        ValueError: the crop does not lie inside the frame.
    """
    crop = mask if isinstance(mask, MaskCrop) else MaskCrop(0, 0, mask)
    h, w = crop.mask.shape
    if crop.x < 0 or crop.y < 0 or crop.x + w > width or crop.y + h > height:
        raise ValueError(f"a {w}x{h} crop at ({crop.x}, {crop.y}) is not inside a frame of {width}x{height}")
    # A False before the first column and after each one, so that every run begins and ends inside its own column.
    flat = np.zeros(1 + w * (h + 1), dtype=np.uint8)
    if h and w:
        plane = np.ascontiguousarray(crop.mask, dtype=np.bool_).view(np.uint8)
        flat[1:].reshape(w, h + 1)[:, :h] = cv2.transpose(plane)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    columns, rows = np.divmod(edges, h + 1)
    positions = (crop.x + columns) * height + crop.y + rows
    return _encode_runs(positions[0::2], positions[1::2], height, width)


def decode_rle(rle: Rle | dict[str, Any]) -> BoolImage:
    """The plane of an RLE, bool [H, W].

    Args:
        rle: ``size`` is [H, W]; ``counts`` is a compressed str or bytes, or a list of run lengths.

    Raises:
        ValueError: the counts are damaged or do not fill the size.
    """
    height, width = (int(side) for side in rle["size"])
    raw = rle["counts"]
    counts = _counts_from_string(raw) if isinstance(raw, str | bytes) else np.asarray(raw, dtype=np.int64)
    if (counts < 0).any() or int(counts.sum()) != height * width:
        raise ValueError(f"the RLE's runs do not fill its size {height}x{width}")
    values = np.zeros(len(counts), dtype=np.bool_)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def rle_of(runs: LabelRuns, k: int) -> Rle:
    """RLE of the mask of ``runs.labels[k]``."""
    return _encode_runs(*runs.runs(k), *runs.size)


def _encode_runs(starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> Rle:
    """RLE of runs of True, as ascending positions in column-major order; runs may touch."""
    apart = starts[1:] != ends[:-1]
    starts = starts[np.concatenate(([True], apart))] if len(starts) else starts
    ends = ends[np.concatenate((apart, [True]))] if len(ends) else ends
    changes = np.empty(2 * len(starts) + 2, dtype=np.int64)
    changes[0], changes[-1] = 0, height * width
    changes[1:-1:2], changes[2:-1:2] = starts, ends
    counts = np.diff(changes)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height, width], "counts": _string_from_counts(counts)}


def _string_from_counts(counts: NDArray[np.int64]) -> str:
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    digits: list[NDArray[np.uint8]] = []
    present: list[NDArray[np.bool_]] = []
    more = np.ones(len(rest), dtype=np.bool_)
    while more.any():
        digit = rest & 0x1F
        rest >>= 5
        present.append(more)
        # Signed: the last group's bit 4 is the sign, so a group follows until sign and rest agree.
        more = more & np.where(digit & 0x10, rest != -1, rest != 0)
        digits.append((digit + np.where(more, 0x20 + 48, 48)).astype(np.uint8))
    return np.stack(digits, axis=1)[np.stack(present, axis=1)].tobytes().decode("ascii")


def _counts_from_string(text: str | bytes) -> NDArray[np.int64]:
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise ValueError("the RLE's counts are not ASCII") from None
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or (codes < 0).any() or (codes > 0x3F).any() or codes[-1] & 0x20:
        raise ValueError("the RLE's counts are damaged")
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > 12:
        raise ValueError("the RLE's counts are damaged")
    place = np.arange(len(codes)) - np.repeat(first, lengths)
    counts: NDArray[np.int64] = np.add.reduceat((codes & 0x1F) << (5 * place), first)
    counts -= np.where(codes[last] & 0x10, np.int64(1) << (5 * lengths), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
