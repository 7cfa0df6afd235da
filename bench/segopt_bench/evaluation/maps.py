"""Reads index maps and panoptic PNGs as they are: palettes are indices, and a damaged file is noticed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segopt.coco.forms import read_panoptic_png
from segopt.pixel_limit import too_large
from segopt_bench.evaluation.problems import LeftOutError


def read_index_map(path: Path) -> NDArray[np.uint8]:
    """Class indices, uint8 [H, W], of a gray or palette PNG (Pascal VOC's are of the latter kind).

    Raises:
        LeftOutError: missing, damaged, or of another kind.
    """
    values, mode = _read(path)
    if values.ndim != 2 or (mode not in ("L", "P") and not mode.startswith("I")):
        raise LeftOutError(f"its semantic map is no gray or palette PNG ({mode})")
    if values.min() < 0 or values.max() > 255:
        raise LeftOutError("its semantic map has indices above 255")
    return values.astype(np.uint8)


def read_panoptic_ids(path: Path) -> NDArray[np.int32]:
    """Segment ids, int32 [H, W], of a COCO panoptic PNG: id = R + 256 G + 65536 B.

    Raises:
        LeftOutError: missing, damaged, or of another kind.
    """
    values, mode = _read(path)
    if mode not in ("RGB", "RGBA"):
        raise LeftOutError(f"its panoptic PNG is not in color ({mode})")
    return read_panoptic_png(np.ascontiguousarray(values[..., 2::-1]).astype(np.uint8))


def _read(path: Path) -> tuple[NDArray[np.integer], str]:
    if not path.is_file():
        raise LeftOutError("its annotation PNG is missing")
    try:
        with warnings.catch_warnings():
            # Pillow warns of half the pixels that are taken here, and refuses just those that are not.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            if (trouble := too_large(image.height, image.width)) is not None:
                raise LeftOutError(f"its annotation PNG {trouble}")
            return np.asarray(image), image.mode
    except LeftOutError:
        raise
    except Image.DecompressionBombError:
        raise LeftOutError("its annotation PNG has more pixels than Pillow takes") from None
    except Exception:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error or zlib.error for damaged chunks.
        raise LeftOutError("its annotation PNG is damaged") from None
