"""Calibration: how large the numbers in a network get on pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from segopt.errors import SourceBrokenError
from segopt.frame import Frame
from segopt.letterbox import Letterbox
from segopt.sources import open_source

MAX_PICTURES = 32
"""How many pictures of a folder are looked at, evenly spread over it. Largest values hardly change later."""

Pictures = str | Sequence[Frame]
"""Where pictures come from, or the pictures themselves."""

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Modules that multiply by trained weights: nearly all of a network's arithmetic."""


@dataclass(frozen=True)
class LayerCall:
    """Largest absolute values at one call of a layer; a head that pyramid levels share is called for each."""

    layer: str
    """The module's path in the graph, ``branches.0.backbone.body.conv1``."""
    largest_input: float
    largest_output: float


def measure_ranges(graph: nn.Module, images: Iterable[Tensor]) -> list[LayerCall]:
    """Run a static graph in single precision and watch its layers.

    Args:
        graph: its calls do not depend on what is in a picture.
        images: uint8 BGR [B, H, W, 3], one at least.

    Returns:
        The layers' calls in the order in which they run, each with its maximum over all images; NaN where a layer
        puts out NaN.
    """
    calls: list[LayerCall] = []

    def watch(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: calls.append(LayerCall(layer, _largest(inputs[0]), _largest(output)))

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in graph.named_modules()
        if isinstance(module, LAYERS)
    ]
    merged: list[LayerCall] = []
    try:
        with torch.no_grad():
            for image in images:
                calls.clear()
                graph(image)
                merged = [_larger(*pair) for pair in zip(merged, calls, strict=True)] if merged else calls.copy()
    finally:
        for hook in hooks:
            hook.remove()
    return merged


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _larger(a: LayerCall, b: LayerCall) -> LayerCall:
    return replace(
        a,
        largest_input=float(np.maximum(a.largest_input, b.largest_input)),
        largest_output=float(np.maximum(a.largest_output, b.largest_output)),
    )


def read_pictures(
    source: Pictures, canvas: tuple[int, int], mean: Sequence[float]
) -> tuple[list[Tensor], SourceBrokenError | None]:
    """Pictures as the runtime lays them on the canvas.

    Args:
        source: of a folder, or anything else that ``segopt run`` takes, at most :data:`MAX_PICTURES` are read.
        canvas: height and width in pixels.
        mean: RGB, of pixels scaled to 0..1: the color of the padding.

    Returns:
        uint8 BGR [1, H, W, 3] for each picture, and what was wrong with the ones that could not be read.

    Raises:
        SourceError: there is no picture that can be read.
    """
    padding = [round(255 * level) for level in reversed(mean)]

    def placed(frame: Frame) -> Tensor:
        image = np.empty((*canvas, 3), dtype=np.uint8)
        Letterbox.fit(frame.shape[:2], canvas).place(frame, image, padding)
        return torch.from_numpy(image)[None]

    if not isinstance(source, str):
        return [placed(frame) for frame in source], None
    with open_source(source) as whole:
        stride = max(1, (whole.frame_count or 0) // MAX_PICTURES)
    images: list[Tensor] = []
    try:
        with open_source(source, stride=stride, max_frames=MAX_PICTURES) as frames:
            images.extend(placed(frame.image) for frame in frames)
    except SourceBrokenError as error:
        if not images:
            raise
        return images, error
    return images, None
