"""Plain options, as a command line or a caller gives them, into a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from segopt.errors import UsageError
from segopt.model.card import BoxPaste, ResizeRule
from segopt_export.exported import Exported
from segopt_export.plain_options import Numbers, Size, height_and_width, one_of, points_for_int8, three_numbers
from segopt_export.wrapping.fusion import FusionRequest, fuse
from segopt_export.wrapping.request import (
    FAMILIES,
    KINDS,
    Colors,
    DetectionOptions,
    Precision,
    Scores,
    WrapRequest,
)
from segopt_export.wrapping.wrap import wrap as wrap_request_file

NOTHING_TO_WRAP = (
    "give MODEL.onnx with --classes FILE.json, or two models of segopt with --semantic and --instance"
)


def wrap(
    model: str | Path | None = None,
    *,
    semantic: str | Path | None = None,
    instance: str | Path | None = None,
    **options: Any,
) -> Exported:
    """Make a model of another maker's ONNX file, checked against it; or a panoptic one of two models of segopt.

    Needs onnx, and no PyTorch.

    >>> import segopt_export
    >>> segopt_export.wrap("rfdetr.onnx", classes="coco.json", family="rfdetr", output="a.onnx")  # doctest: +SKIP
    >>> segopt_export.wrap(semantic="b.onnx", instance="a.onnx", output="both.onnx")  # doctest: +SKIP

    Args:
        model: path of the file.
        semantic: path of a semantic model, wrapped or exported, that is put beside ``instance``.
        instance: path of an instance model.
        **options: as :func:`wrap_request` takes them, where ``classes`` is needed; of two models as
            :func:`fusion_request` takes them.

    Returns:
        The file's path, its card, the figures of the check, and what was taken for granted.

    Raises:
        ExportError: the file or its classes do not fit.
        UsageError: an option is none, or out of range.
        SinkError: the file cannot be written.
    """
    if semantic is None and instance is None:
        if model is None or options.get("classes") is None:
            raise UsageError(NOTHING_TO_WRAP)
        return wrap_request_file(wrap_request(model, **options))
    return fuse(fusion_request(model, semantic=semantic, instance=instance, **options))


def fusion_request(
    model: str | Path | None = None,
    *,
    semantic: str | Path | None,
    instance: str | Path | None,
    classes: str | Path | None = None,
    size: Size | None = None,
    resize: str | None = None,
    output: str | Path | None = None,
    **others: Any,
) -> FusionRequest:
    """A request for a fusion from plain options.

    Args:
        model: must be None.
        semantic: path of a semantic model.
        instance: path of an instance model.
        classes: of the semantic model: which of its classes are stuff (``isthing``), and their ids; None is what
            their names say.
        size: of the canvas; None is the larger one of the two models.
        resize: ``letterbox`` or ``stretch``; None is what both models say.
        output: the file to write; None is ``engines/panoptic-NAME-NAME.onnx``.
        **others: options that a fusion does not take, all of them None.

    Raises:
        UsageError: one of the two is missing, or an option is none of these.
    """
    if given := [name for name, value in {"MODEL": model, **others}.items() if value is not None]:
        name = given[0] if given[0] == "MODEL" else f"--{given[0].replace('_', '-')}"
        raise UsageError(f"{name} is for one file of another maker; --semantic and --instance take two of segopt")
    if semantic is None or instance is None:
        missing = "--semantic" if semantic is None else "--instance"
        raise UsageError(f"{missing} is missing: a panoptic model is made of --semantic FILE and --instance FILE")
    return FusionRequest(
        semantic=Path(semantic),
        instance=Path(instance),
        semantic_classes=None if classes is None else Path(classes),
        size=height_and_width(size),
        resize=_one_of("resize", resize, get_args(ResizeRule)),
        output=None if output is None else Path(output),
    )


def wrap_request(
    model: str | Path,
    *,
    classes: str | Path,
    kind: str | None = None,
    family: str | None = None,
    take: str | Mapping[str, str] | None = None,
    size: Size | None = None,
    network_size: Size | None = None,
    batch: int = 1,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    colors: str | None = None,
    resize: str | None = None,
    padding: Numbers | None = None,
    max_detections: int = DetectionOptions.max_detections,
    scores: str | None = None,
    paste: str = DetectionOptions.paste,
    iou: float = DetectionOptions.iou,
    least_score: float = DetectionOptions.least_score,
    candidates: int = DetectionOptions.candidates,
    suppression_steps: int = DetectionOptions.suppression_steps,
    precision: str = "fp32",
    calibration: str | Path | None = None,
    int8_loss: float | None = None,
    target: str = "cpu",
    output: str | Path | None = None,
) -> WrapRequest:
    """A request from plain options.

    Args:
        model: path of the ONNX file.
        classes: path of a JSON file: a list of names, or COCO's categories.
        kind: ``semantic-logits``, ``semantic-map``, ``detr-masks``, ``maskrcnn`` or ``yolo-seg``; None is what the
            outputs' names and shapes say.
        family: ``rfdetr`` or ``ultralytics``: kind, normalization, colors and resizing of that library's files,
            where no other option says them.
        take: name of the output to take; of a kind with several outputs, ``boxes=NAME,masks=NAME`` or a mapping.
            None is what fits.
        size: of the canvas, ``"512x1024"`` or (height, width); None is the size of the network's input.
        network_size: of the network's input, where the file leaves it free; None is the canvas.
        batch: frames at once.
        mean: RGB, of pixels scaled to 0..1, ``"0.5,0.5,0.5"`` or three numbers; None is ImageNet's.
        std: as ``mean``.
        colors: ``rgb`` or ``bgr``, the order that the network takes; None is ``rgb``.
        resize: ``letterbox`` or ``stretch``: whether frames keep their aspect on the canvas; None is letterbox.
        padding: RGB, 0 to 255, beside a letterboxed frame; None is the mean.
        max_detections: slots for detections.
        scores: ``detr-masks``: ``sigmoid`` or ``softmax``, what makes scores of class logits; None is sigmoid.
        paste: ``maskrcnn``: ``torchvision`` or ``detectron2``, how masks are laid onto pixels.
        iou: ``yolo-seg``: boxes of a class that overlap a better one by more are suppressed.
        least_score: ``yolo-seg``: boxes of lower scores do not enter suppression.
        candidates: ``yolo-seg``: so many boxes enter suppression at most.
        suppression_steps: ``yolo-seg``: steps of suppression in the graph.
        precision: ``fp32``; ``fp16``: what multiplies by weights computes in half; or ``int8``.
        calibration: pictures like yours: fp16 looks at the network's values on them, INT8 takes its scales from
            them, and the file is checked on them.
        int8_loss: int8: points of agreement with the network that may be lost, such as 1.0; layers are chosen for
            the time that they save. None leaves out each layer that adds much noise.
        target: ``cpu`` or ``tensorrt``.
        output: the file to write; None is ``engines/MODE-NAME.onnx``.

    Raises:
        UsageError: an option is none of these.
    """
    asked = {
        "kind": _one_of("as", kind, KINDS),
        "mean": three_numbers(mean, "mean", "0.485,0.456,0.406"),
        "std": three_numbers(std, "std", "0.229,0.224,0.225"),
        "colors": _one_of("colors", colors, get_args(Colors)),
        "resize": _one_of("resize", resize, get_args(ResizeRule)),
        "padding": _levels(padding),
        "scores": _one_of("scores", scores, get_args(Scores)),
    }
    preset = FAMILIES[one_of("family", family, tuple(FAMILIES))] if family is not None else {}
    said = {**preset, **{name: value for name, value in asked.items() if value is not None}}
    return WrapRequest(
        model=Path(model),
        classes=Path(classes),
        take=_taken(take),
        size=height_and_width(size),
        network_size=height_and_width(network_size, "network-size"),
        batch=batch,
        detections=DetectionOptions(
            max_detections=max_detections,
            scores=said.pop("scores", None),
            paste=_one_of("paste", paste, get_args(BoxPaste)),
            iou=iou,
            least_score=least_score,
            candidates=candidates,
            suppression_steps=suppression_steps,
        ),
        precision=_one_of("precision", precision, get_args(Precision)),
        calibration=None if calibration is None else str(calibration),
        int8_loss=points_for_int8(int8_loss, precision),
        target=_one_of("target", target, ("cpu", "tensorrt")),
        output=None if output is None else Path(output),
        **said,
    )


def _one_of(option: str, value: str | None, allowed: tuple[str, ...]) -> Any:
    return None if value is None else one_of(option, value, allowed)


def _levels(padding: Numbers | None) -> tuple[int, int, int] | None:
    levels = three_numbers(padding, "padding", "114,114,114")
    if levels is None:
        return None
    if any(level != int(level) for level in levels):
        raise UsageError(f"--padding {padding}: give three whole numbers from 0 to 255")
    red, green, blue = map(int, levels)
    return red, green, blue


def _taken(take: str | Mapping[str, str] | None) -> dict[str, str]:
    if take is None or not isinstance(take, str):
        return dict(take or {})
    pieces = [piece.partition("=") for piece in take.split(",")]
    if all(equals for _, equals, _ in pieces):
        return {part.strip(): name.strip() for part, _, name in pieces}
    return {"answer": take}
