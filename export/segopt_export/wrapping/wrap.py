"""From a file of another maker to a checked model of segopt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from segopt.agreement import Figure, bounds_for
from segopt.builder.trial import synthetic_image
from segopt.errors import ExportError
from segopt.files.names import slug
from segopt.letterbox import letterbox_frames
from segopt.model.card import Card
from segopt.sources import open_source
from segopt.version import __version__
from segopt_export.exported import WARNING, Exported, Step, no_step
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.output import check_output
from segopt_export.onnx_file.tensorrt_rules import target_notes
from segopt_export.onnx_file.writing import add_card, write
from segopt_export.precision.notes import notes_on_quantized
from segopt_export.wrapping.card import make_card, with_precision
from segopt_export.wrapping.checking import network_input
from segopt_export.wrapping.foreign import Foreign, read_foreign
from segopt_export.wrapping.kinds import Answer, find_answer
from segopt_export.wrapping.parts import input_part
from segopt_export.wrapping.reading import Reading, reading_of
from segopt_export.wrapping.recorded import recorded
from segopt_export.wrapping.request import MODE_OF, WrapRequest
from segopt_export.wrapping.yolo import is_ended

if TYPE_CHECKING:
    from segopt_export.precision.int8 import Quantized

_PREFIX = "network/"
MAX_PICTURES = {"fp32": 8, "fp16": 8, "int8": 32}
"""So many of a folder are looked at, evenly spread over it."""
_CHECKED = 8
"""On so many of them the file is checked."""
_NO_PROOF = "proves nothing"
_FIXES = {
    "fp32": "report this, with the file",
    "fp16": "half precision costs this network too much: leave --precision fp16 out, or let --calibration "
    "PICTURES look at pictures like yours",
    "int8": "INT8 costs this network too much on these pictures: bound it with --int8-loss 1.0, give "
    "--calibration pictures more like the later ones, or take --precision fp16",
}


def wrap(request: WrapRequest, *, step: Step = no_step) -> Exported:
    """Put the contract around a network: frames in, its answer out, the card inside; and check what came of it.

    Raises:
        ExportError: the file or its classes do not fit.
        UsageError: a number is out of range.
        SinkError: the file cannot be written.
    """
    request.check()
    path = request.model
    if request.output is not None:
        check_output(request.output)
    with step(f"network: {path}"):
        foreign = read_foreign(path, request.network_size or request.size, request.batch)
    answer = find_answer(foreign, request.kind, request.take, path)
    output = request.output or Path("engines") / f"{MODE_OF[answer.kind]}-{slug(path.stem)}.onnx"
    check_output(output)
    canvas = request.size or foreign.image.size
    reading = reading_of(request, foreign, answer, canvas)
    card = make_card(
        request, reading.subject, canvas, foreign.model, recorded(request, foreign, answer, reading.class_ids)
    )
    network, notes = foreign.model, _notes(request, answer)
    images, whence = _pictures(request, card)
    if request.precision == "fp16":
        with step(f"half precision: the network's values on {whence}"):
            network, beyond = _in_half(request, foreign, images)
        card = with_precision(card, network, beyond)
        notes += _notes_on_half(whence, beyond, given=request.calibration is not None)
    with step("graph: frames to the network's answer"):
        model = composed(request, network, foreign, answer, reading, canvas)
        check_static(model)
    if request.precision == "int8":
        with step(f"INT8: scales and losses of every layer on {whence}"):
            quantized = _in_int8(request, model, images, card)
        model = quantized.model
        card = replace(
            with_precision(card, model, list(quantized.float_layers)),
            int8=quantized.choice,
        )
        notes += notes_on_quantized(quantized, "FP32")
    notes += target_notes(request.target, model)
    add_card(model, card)
    figures: list[Figure] = []
    checked = images[: max(1, _CHECKED // card.batch) * card.batch]

    def verify(file: Path) -> None:
        figures.extend(reading.check(file, checked, bounds_for(card.precision)))
        if bad := [figure for figure in figures if not figure.good]:
            raise ExportError(
                f"{path}: the wrapped file differs from it: "
                f"{'; '.join(f'{figure.name} {figure.text}' for figure in bad)}; {_FIXES[request.precision]}"
            )

    with step(f"check: the wrapped file against the network on {whence}, in ONNX Runtime"):
        write(model, output, verify=verify)
    if any(_NO_PROOF in figure.text for figure in figures):
        notes.append(
            f"{WARNING}the check compared empty answers on {whence}, which proves nothing; give --calibration "
            "PICTURES on which the network finds something"
        )
    return Exported(output, card, figures, notes)


def _pictures(request: WrapRequest, card: Card) -> tuple[NDArray[np.uint8], str]:
    """Pictures on the canvas, uint8 BGR [N, H, W, 3] with N a multiple of the batch, and what they are."""
    if request.calibration is None:
        return synthetic_image(card), "a synthetic picture"
    most = MAX_PICTURES[request.precision]
    with open_source(request.calibration) as whole:
        stride = max(1, (whole.frame_count or 0) // most)
    with open_source(request.calibration, stride=stride, max_frames=most) as source:
        frames = [frame.image for frame in source]
    batches = [frames[start : start + card.batch] for start in range(0, len(frames), card.batch)]
    several = "1 picture" if len(frames) == 1 else f"{len(frames)} pictures"
    images = np.concatenate([letterbox_frames(batch, card).image for batch in batches])
    return images, f"{several} of {request.calibration}"


def _in_half(request: WrapRequest, foreign: Foreign, images: NDArray[np.uint8]) -> tuple[ModelProto, list[str]]:
    # The converter is of a package that is large to import.
    from segopt_export.wrapping.half import in_half

    if foreign.image.type == TensorProto.FLOAT16 or half_share(foreign.model) > 0:
        raise ExportError(f"{request.model}: is in half precision already; leave --precision out")
    batches = range(0, len(images), request.batch)
    inputs = [network_input(foreign, request, images[start : start + request.batch]) for start in batches]
    return in_half(foreign.model, [{foreign.image.name: each} for each in inputs])


def _in_int8(request: WrapRequest, model: ModelProto, images: NDArray[np.uint8], card: Card) -> Quantized:
    """The whole graph in INT8, but for what is ours: that has no layers."""
    # The quantizer is of a package that is large to import.
    from segopt_export.precision.int8 import quantize

    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise ExportError(f"{request.model}: is in INT8 already; leave --precision out")
    # The quantizer wants one version of the operators to be named; others come of ONNX Runtime's optimizer.
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", version))
    batches = [images[start : start + request.batch] for start in range(0, len(images), request.batch)]
    over_canvas = card.mask_size is not None
    return quantize(
        model, batches, request.target, max_loss=request.int8_loss, mask_level=0.0 if over_canvas else 0.5
    )


def _notes_on_half(whence: str, beyond: list[str], *, given: bool) -> list[str]:
    more = "" if given else "; --calibration PICTURES tries it on your own"
    notes = [f"half precision was tried on {whence}{more}"]
    if beyond:
        shown = ", ".join(beyond[:3]) + (f" and {len(beyond) - 3} more" if len(beyond) > 3 else "")
        notes.append(f"{len(beyond)} layers stay in FP32, out of half's range: {shown}")
    return notes


def composed(
    request: WrapRequest,
    network: ModelProto,
    foreign: Foreign,
    answer: Answer,
    reading: Reading,
    canvas: tuple[int, int],
) -> ModelProto:
    """One graph of frames, network and the reading of its answer.

    Args:
        request: what was asked.
        network: to put in, with the inputs and outputs of ``foreign``.
        foreign: as it was read.
        answer: which of the outputs are taken.
        reading: what is put behind them.
        canvas: height and width in pixels.
    """
    network = onnx.compose.add_prefix(network, _PREFIX)
    taken: dict[str, ValueInfoProto] = {}
    for part, value in answer.outputs.items():
        taken[part] = ValueInfoProto()
        taken[part].CopyFrom(value)
        taken[part].name = f"answer/{part}"
    mean, std = request.normalization
    before = input_part(
        network, foreign.image, "picture", canvas=canvas, colors=request.colors or "rgb", mean=mean, std=std
    )
    after = reading.part(network, Answer(answer.kind, taken))
    joined = onnx.compose.merge_models(before, network, [("picture", _PREFIX + foreign.image.name)])
    joins = [(_PREFIX + value.name, taken[part].name) for part, value in answer.outputs.items()]
    joined = onnx.compose.merge_models(
        joined, after, joins, outputs=[output.name for output in after.graph.output]
    )
    return finished(joined)


def finished(model: ModelProto) -> ModelProto:
    """A graph that was put together, as ours: what it said before of itself is taken out."""
    model.producer_name, model.producer_version = "segopt", __version__
    del model.graph.value_info[:]
    del model.metadata_props[:]
    return model


def _notes(request: WrapRequest, answer: Answer) -> list[str]:
    """What was taken for granted."""
    notes = [] if len(answer.outputs) == 1 else [f"answer: {answer}"]
    if request.mean is None or request.std is None:
        mean, std = (",".join(f"{value:g}" for value in each) for each in request.normalization)
        notes.append(f"normalization: --mean {mean} --std {std}, ImageNet's; the file does not say its own")
    if request.colors is None:
        notes.append("colors: --colors rgb; the file does not say which order it takes")
    if MODE_OF[answer.kind] == "semantic":
        return notes
    if request.resize is None:
        notes.append(
            "frames: --resize letterbox; the file does not say whether its network was trained on stretched ones"
        )
    options = request.detections
    if answer.kind == "detr-masks" and options.scores is None:
        notes.append("scores: --scores sigmoid, a score for each class; DETR's own take softmax")
    if answer.kind == "maskrcnn":
        notes.append(f"masks: --paste {options.paste}, as that library lays them onto pixels")
    if answer.kind == "yolo-seg" and not is_ended(answer.outputs):
        notes.append(
            f"suppression: --iou {options.iou:g}, of at most {options.candidates} boxes that score above "
            f"{options.least_score:g}"
        )
    return notes
