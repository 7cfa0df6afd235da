"""A wrapped file against the network that it was made from, both in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from segopt.agreement import Figure
from segopt_export.onnx_file.session import cpu_session
from segopt_export.wrapping.foreign import Foreign
from segopt_export.wrapping.request import Kind, WrapRequest

_MOST_WRONG = 1e-3
"""Share of pixels: where two classes are a rounding apart, the two ways of resizing may choose either."""
_TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}


def check_wrapped(
    file: Path, foreign: Foreign, output: str, kind: Kind, request: WrapRequest, images: NDArray[np.uint8]
) -> Figure:
    """Hold a file's label map against one that NumPy and OpenCV make of the network's own answer.

    Args:
        file: the wrapped model.
        foreign: the network.
        output: the name of its answer.
        kind: of the answer.
        request: what was asked.
        images: uint8 BGR [B, H, W, 3], the canvas's size.
    """
    (found,) = cpu_session(str(file)).run(["semantic"], {"image": images})
    given = _network_input(foreign, request, images)
    (answer,) = cpu_session(foreign.model).run([output], {foreign.image.name: given})
    expected = np.stack([_label_map(each, kind, images.shape[1:3]) for each in answer])
    share = float((expected == found).mean())
    constant = (found == found.flat[0]).all()
    proof = f", all of them class {found.flat[0]}, which proves little" if constant else ""
    return Figure("label map", f"{100 * share:.3f}% of pixels equal{proof}", share >= 1 - _MOST_WRONG)


def _network_input(foreign: Foreign, request: WrapRequest, images: NDArray[np.uint8]) -> NDArray[Any]:
    image = foreign.image
    frames = [
        cv2.resize(each, image.size[::-1], interpolation=cv2.INTER_LINEAR) for each in images.astype(np.float32)
    ]
    pixels = np.stack(frames)[..., :: -1 if request.colors != "bgr" else 1]
    if image.type == TensorProto.UINT8:
        pixels = np.round(pixels)
    else:
        mean, std = (
            np.array(each, np.float32)[:: 1 if request.colors != "bgr" else -1] for each in request.normalization
        )
        pixels = (pixels / 255 - mean) / std
    pixels = pixels if image.channels_last else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels.astype(_TYPES[image.type]))


def _label_map(answer: NDArray[Any], kind: Kind, size: tuple[int, ...]) -> NDArray[Any]:
    """Logits [C, h, w], or indices [h, w] or [1, h, w], of one picture -> indices [H, W]."""
    width, height = size[1], size[0]
    if kind == "semantic-map":
        indices = answer.reshape(answer.shape[-2:]).astype(np.float32)
        return np.asarray(cv2.resize(indices, (width, height), interpolation=cv2.INTER_NEAREST))
    planes = [cv2.resize(np.float32(plane), (width, height), interpolation=cv2.INTER_LINEAR) for plane in answer]
    return np.asarray(planes[0] > 0 if len(planes) == 1 else np.argmax(planes, axis=0))
