"""Plain options, as a command line or a caller gives them, into a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from segopt.errors import UsageError
from segopt_export.exported import Exported
from segopt_export.wrapping.request import KINDS, Colors, WrapRequest
from segopt_export.wrapping.wrap import wrap as wrap_request_file

Numbers = str | Sequence[float]
Size = str | tuple[int, int]


def wrap(model: str | Path, **options: Any) -> Exported:
    """Make a model of another maker's ONNX file, checked against it. Needs onnx, and no PyTorch.

    Args:
        model: path of the file.
        **options: as :func:`wrap_request` takes them; ``classes`` is needed.

    Returns:
        The file's path, its card, the figures of the check, and what was taken for granted.

    Raises:
        ExportError: the file or its classes do not fit.
        UsageError: an option is none, or out of range.
        SinkError: the file cannot be written.
    """
    return wrap_request_file(wrap_request(model, **options))


def wrap_request(
    model: str | Path,
    *,
    classes: str | Path,
    kind: str | None = None,
    take: str | None = None,
    size: Size | None = None,
    network_size: Size | None = None,
    batch: int = 1,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    colors: str | None = None,
    target: str = "cpu",
    output: str | Path | None = None,
) -> WrapRequest:
    """A request from plain options.

    Args:
        model: path of the ONNX file.
        classes: path of a JSON file: a list of names, or COCO's categories.
        kind: ``semantic-logits`` or ``semantic-map``; None is what the outputs' shapes say.
        take: name of the output to take; None is the one that fits.
        size: of the canvas, ``"512x1024"`` or (height, width); None is the size of the network's input.
        network_size: of the network's input, where the file leaves it free; None is the canvas.
        batch: frames at once.
        mean: RGB, of pixels scaled to 0..1, ``"0.5,0.5,0.5"`` or three numbers; None is ImageNet's.
        std: as ``mean``.
        colors: ``rgb`` or ``bgr``, the order that the network takes; None is ``rgb``.
        target: ``cpu`` or ``tensorrt``.
        output: the file to write; None is ``engines/semantic-NAME.onnx``.

    Raises:
        UsageError: an option is none of these.
    """
    return WrapRequest(
        model=Path(model),
        classes=Path(classes),
        kind=_one_of(kind, KINDS, "--as"),
        take=take,
        size=_size(size, "--size"),
        network_size=_size(network_size, "--network-size"),
        batch=batch,
        mean=_triple(mean, "--mean"),
        std=_triple(std, "--std"),
        colors=_one_of(colors, get_args(Colors), "--colors"),
        target=_one_of(target, ("cpu", "tensorrt"), "--target"),
        output=None if output is None else Path(output),
    )


def _one_of(value: str | None, allowed: Sequence[str], option: str) -> Any:
    if value is not None and value not in allowed:
        raise UsageError(f"{option} {value}: give one of {', '.join(allowed)}")
    return value


def _size(value: Size | None, option: str) -> tuple[int, int] | None:
    if value is None or not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    if found is None:
        raise UsageError(f"{option} {value}: give height and width in pixels, such as 512x1024")
    return int(found[1]), int(found[2])


def _triple(value: Numbers | None, option: str) -> tuple[float, float, float] | None:
    if value is None:
        return None
    try:
        red, green, blue = map(float, value.split(",") if isinstance(value, str) else value)
    except (ValueError, TypeError):
        raise UsageError(f"{option} {value}: give three numbers, such as 0.485,0.456,0.406") from None
    return red, green, blue
