"""A wrapped file against the network that it was made from, both in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from segopt.agreement import SINGLE, Bounds, Figure, compare
from segopt_export.onnx_file.session import cpu_session
from segopt_export.wrapping import reference
from segopt_export.wrapping.detections import Around
from segopt_export.wrapping.foreign import Foreign
from segopt_export.wrapping.kinds import Answer
from segopt_export.wrapping.request import Kind, WrapRequest

_TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}
_UNSETTLED = (
    "did not converge on a picture, so the file was not compared; if it happens on real ones, give more "
    "--suppression-steps and --candidates"
)
Arrays = Mapping[str, NDArray[Any]]


def check_label_map(
    file: Path,
    foreign: Foreign,
    answer: Answer,
    request: WrapRequest,
    images: NDArray[np.uint8],
    bounds: Bounds = SINGLE,
) -> list[Figure]:
    """Hold a file's label map against one that NumPy and OpenCV make of the network's own answer.

    Args:
        file: the wrapped model.
        foreign: the network.
        answer: which of its outputs is taken.
        request: what was asked.
        images: uint8 BGR [N, H, W, 3], the canvas's size; N is a multiple of the batch.
        bounds: of the differences.
    """
    found, own = _both(file, foreign, answer, request, images, ["semantic"])
    expected = np.stack([label_map(each, answer.kind, images.shape[1:3]) for each in own["answer"]])
    share = float((expected == found["semantic"]).mean())
    first = found["semantic"].flat[0]
    proof = f", all of them class {first}, which proves little" if (found["semantic"] == first).all() else ""
    return [Figure("label map", f"{100 * share:.3f}% of pixels equal{proof}", share >= bounds.pixels)]


def check_detections(
    file: Path,
    foreign: Foreign,
    answer: Answer,
    request: WrapRequest,
    images: NDArray[np.uint8],
    around: Around,
    slots: int,
    bounds: Bounds = SINGLE,
) -> list[Figure]:
    """Hold a file's detections against those that NumPy makes of the network's own answer.

    Args:
        file: the wrapped model.
        foreign: the network.
        answer: which of its outputs are taken.
        request: what was asked.
        images: uint8 BGR [N, H, W, 3], the canvas's size; N is a multiple of the batch.
        around: what the answer is read with.
        slots: of detections.
        bounds: of the differences.
    """
    names = ["boxes", "scores", "labels", "masks", "converged"]
    found, own = _both(file, foreign, answer, request, images, names)
    if not found["converged"].all():
        return [Figure("suppression", _UNSETTLED, True)]
    batches = range(0, len(images), request.batch)
    parts = [
        reference.detections(
            answer.kind,
            {part: _of_batch(values, start, len(images), request.batch) for part, values in own.items()},
            around,
            slots,
        )
        for start in batches
    ]
    expected = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return compare(expected, found, bounds)


def _of_batch(values: NDArray[Any], start: int, pictures: int, batch: int) -> NDArray[Any]:
    """One batch of an answer; what has no axis of the batch is of one picture each."""
    each = len(values) // (pictures // batch)
    return values[start // batch * each : (start // batch + 1) * each]


def _both(
    file: Path,
    foreign: Foreign,
    answer: Answer,
    request: WrapRequest,
    images: NDArray[np.uint8],
    names: list[str],
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Outputs of the wrapped file by name, and parts of the network's own answer, on the same pictures."""
    wrapped, network = cpu_session(str(file)), cpu_session(foreign.model)
    outputs = {part: value.name for part, value in answer.outputs.items()}
    found, own = [], []
    for start in range(0, len(images), request.batch):
        some = images[start : start + request.batch]
        found.append(wrapped.run(names, {"image": some}))
        given = {foreign.image.name: network_input(foreign, request, some)}
        own.append(network.run(list(outputs.values()), given))
    return (
        {name: np.concatenate(each) for name, each in zip(names, zip(*found, strict=True), strict=True)},
        {part: np.concatenate(each) for part, each in zip(outputs, zip(*own, strict=True), strict=True)},
    )


def network_input(foreign: Foreign, request: WrapRequest, images: NDArray[np.uint8]) -> NDArray[Any]:
    """What the network takes of pictures uint8 BGR [B, H, W, 3], by NumPy and OpenCV."""
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


def label_map(answer: NDArray[Any], kind: Kind, size: tuple[int, ...]) -> NDArray[Any]:
    """Logits [C, h, w], or indices [h, w] or [1, h, w], of one picture -> indices [H, W]."""
    width, height = size[1], size[0]
    if kind == "semantic-map":
        indices = answer.reshape(answer.shape[-2:]).astype(np.float32)
        return np.asarray(cv2.resize(indices, (width, height), interpolation=cv2.INTER_NEAREST))
    planes = [cv2.resize(np.float32(plane), (width, height), interpolation=cv2.INTER_LINEAR) for plane in answer]
    return np.asarray(planes[0] > 0 if len(planes) == 1 else np.argmax(planes, axis=0))
