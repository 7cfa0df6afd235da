"""Two models of segopt, a semantic and an instance one, behind one ``image``: a panoptic model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from segopt.agreement import Figure, bounds_for, compare
from segopt.builder.trial import synthetic_image
from segopt.errors import ExportError, UsageError, first_line
from segopt.files.names import slug
from segopt.model.card import Card, Mode, ResizeRule
from segopt.model.reading import read_card
from segopt.model.tensors import MASK_LOOP, output_specs
from segopt_export.classes import ClassEntry, note_on_stuff, panoptic_categories, read_classes
from segopt_export.exported import Exported, Step, no_step
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.output import check_output
from segopt_export.onnx_file.session import cpu_session
from segopt_export.onnx_file.tensorrt_rules import opset_of, target_notes
from segopt_export.onnx_file.writing import add_card, write
from segopt_export.wrapping.card import checked, versions
from segopt_export.wrapping.detections import named
from segopt_export.wrapping.parts import Part
from segopt_export.wrapping.wrap import finished

_PRECISIONS = ("int8", "fp16", "fp32")
"""From the least exact."""
_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "semantic": ("semantic",),
    "instance": ("boxes", "scores", "labels", "masks", "converged"),
}


@dataclass(frozen=True, kw_only=True)
class FusionRequest:
    """Two files to be one."""

    semantic: Path
    instance: Path
    semantic_classes: Path | None = None
    """JSON: which semantic classes are stuff, and their ids; None is what their names say."""
    size: tuple[int, int] | None = None
    """Canvas; None is the larger one of the two files."""
    resize: ResizeRule | None = None
    """None is what both files say."""
    output: Path | None = None


@dataclass(frozen=True)
class _Half:
    """One of the two files."""

    path: Path
    mode: Mode
    card: Card
    model: ModelProto


def fuse(request: FusionRequest, *, step: Step = no_step) -> Exported:
    """Put two models behind one ``image``, and check that each still answers as its own file does.

    Raises:
        ExportError: the files do not go together.
        CardError: one is no model of segopt.
        UsageError: a size that is none.
        SinkError: the file cannot be written.
    """
    if request.size is not None and min(request.size) < 1:
        raise UsageError(f"size {request.size[0]}x{request.size[1]}: give height and width in pixels")
    output = request.output or Path("engines") / (
        f"panoptic-{slug(request.semantic.stem)}-{slug(request.instance.stem)}.onnx"
    )
    check_output(output)
    with step(f"networks: {request.semantic} and {request.instance}"):
        halves = [_read(request.semantic, "semantic"), _read(request.instance, "instance")]
    semantic, instance = halves
    if semantic.card.batch != instance.card.batch:
        raise ExportError(
            f"{semantic.path}: takes {semantic.card.batch} frames at once, and {instance.path} "
            f"{instance.card.batch}; make one of them again with the other's --batch"
        )
    resize = request.resize or instance.card.resize
    if request.resize is None and semantic.card.resize != instance.card.resize:
        raise ExportError(
            f"{semantic.path}: its frames are brought to the canvas by {semantic.card.resize}, those of "
            f"{instance.path} by {instance.card.resize}; choose with --resize, or wrap one of them again"
        )
    canvas = request.size or max((half.card.canvas for half in halves), key=lambda size: size[0] * size[1])
    card, notes = _card(request, semantic, instance, canvas, resize)
    with step("graph: both behind one image"):
        model = _joined(halves, canvas)
        check_static(model)
    card = checked(dataclasses.replace(card, half_share=half_share(model)))
    add_card(model, card)
    figures: list[Figure] = []
    image = synthetic_image(card)

    def verify(file: Path) -> None:
        figures.extend(_check(file, halves, image, card))
        if bad := [figure for figure in figures if not figure.good]:
            raise ExportError(
                f"{output}: the fused file differs from its two: "
                f"{'; '.join(f'{figure.name} {figure.text}' for figure in bad)}; report this, with the files"
            )

    with step("check: the fused file against its two, in ONNX Runtime"):
        write(model, output, verify=verify)
    return Exported(output, card, figures, notes + target_notes(card.target, model))


def _read(path: Path, mode: Mode) -> _Half:
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: --{mode} takes an .onnx file that `segopt wrap` or `segopt export` made")
    card = read_card(path)
    if card.mode != mode or card.merge != "boxes":
        raise ExportError(f"{path}: is a model for {card.mode} segmentation; --{mode} takes one for {mode}")
    model = onnx.load(path)
    if any(node.name == MASK_LOOP for node in model.graph.node):
        raise ExportError(
            f"{path}: computes masks in a loop, for a CPU, which a fused file has none of; export it again with "
            "`segopt export --all-masks`"
        )
    return _Half(path, mode, card, model)


def _card(
    request: FusionRequest, semantic: _Half, instance: _Half, canvas: tuple[int, int], resize: ResizeRule
) -> tuple[Card, list[str]]:
    both = (semantic.card, instance.card)
    indexed, things = semantic.card.categories["semantic"], instance.card.categories["instance"]
    if request.semantic_classes is not None:
        entries = read_classes(request.semantic_classes, len(indexed), "semantic")
        source = str(request.semantic_classes)
    else:
        # A card does not tell a class that is stuff from one of which nothing is known.
        entries = [ClassEntry(each.name, True if each.is_thing else None, each.color) for each in indexed]
        source = str(semantic.path)
    categories, stuff = panoptic_categories(entries, things, source)
    notes = [
        note_on_stuff(
            categories, stuff, semantic.card.networks["semantic"], semantic.card.weights["semantic"].name
        )
    ]
    for half in (semantic, instance):
        if half.card.canvas != canvas:
            own, whole = ("{}x{}".format(*size) for size in (half.card.canvas, canvas))
            notes.append(f"canvas: {whole}; in the graph it is resized to {own} for {half.path.name}")
    padding = instance.card.padding_color
    if resize == "letterbox" and semantic.card.padding_color != padding:
        own, other = (",".join(map(str, each)) for each in (padding, semantic.card.padding_color))
        notes.append(f"padding: {own}, as {instance.path.name} has it; {semantic.path.name} was made for {other}")
    card = Card(
        mode="panoptic",
        networks={half.mode: half.card.networks[half.mode] for half in (semantic, instance)},
        canvas=canvas,
        batch=instance.card.batch,
        precision=min((card.precision for card in both), key=_PRECISIONS.index),
        categories={"panoptic": categories, "semantic": indexed, "instance": things},
        weights={half.mode: half.card.weights[half.mode] for half in (semantic, instance)},
        stuff_classes=stuff,
        max_detections=instance.card.max_detections,
        mask_paste=instance.card.mask_paste,
        mask_size=instance.card.mask_size,
        mean=instance.card.mean,
        std=instance.card.std,
        resize=resize,
        padding=instance.card.padding,
        target=instance.card.target if len({card.target for card in both}) == 1 else "cpu",
        score_threshold=instance.card.score_threshold,
        float_layers=tuple(
            f"{half.mode}/{name}" for half in (semantic, instance) for name in half.card.float_layers
        ),
        settings={**semantic.card.settings, **instance.card.settings},
        versions={**semantic.card.versions, **instance.card.versions, **versions()},
    )
    return card, notes


def _joined(halves: Sequence[_Half], canvas: tuple[int, int]) -> ModelProto:
    opset = max(opset_of(half.model) for half in halves)
    version = max(half.model.ir_version for half in halves)
    pieces = [piece for half in halves for piece in _pieces(half, opset, canvas)]
    batch = halves[0].card.batch
    outputs = [value for piece in pieces for value in piece.graph.output]
    graph = helper.make_graph(
        [node for piece in pieces for node in piece.graph.node],
        "segopt",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, *canvas, 3])],
        outputs,
        [tensor for piece in pieces for tensor in piece.graph.initializer],
    )
    return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version))


def _pieces(half: _Half, opset: int, canvas: tuple[int, int]) -> list[ModelProto]:
    """A network, and what is put before and behind it, in the order in which they run."""
    prefix, own, batch = f"{half.mode}/", half.card.canvas, half.card.batch
    model = onnx.compose.add_prefix(_of_opset(half, opset), prefix)
    image = f"{prefix}image"
    if own == canvas:
        _rename(model, {image: "image", **{f"{prefix}{name}": name for name in _OUTPUTS[half.mode]}})
        return [model]
    before, after = Part(f"{prefix}frame", model), Part(f"{prefix}answer", model)
    planes = before.add("Transpose", before.cast("image", TensorProto.FLOAT), perm=[0, 3, 1, 2])
    rounded = before.add("Round", before.resize(planes, (batch, 3, *own)))
    _feed(model, image, before.add("Transpose", rounded, perm=[0, 2, 3, 1]), half.path)
    values = {value.name.removeprefix(prefix): value for value in model.graph.output}
    del model.graph.output[:]
    names = {f"{prefix}{name}": name for name in values}
    outputs = {name: named(value)[1:] for name, value in values.items()}
    if half.mode == "semantic":
        classes = _before_cast(model, f"{prefix}semantic", half.path)
        found = after.resize(
            after.add("Unsqueeze", classes, np.array([1], np.int64)),
            (batch, 1, *canvas),
            mode="nearest",
            coordinate_transformation_mode="half_pixel",
            nearest_mode="round_prefer_floor",
        )
        after.cast(after.add("Squeeze", found, np.array([1], np.int64)), TensorProto.UINT8, "semantic")
        outputs["semantic"] = (TensorProto.UINT8, [batch, *canvas])
        names = {}
    else:
        height, width = (side / cells for side, cells in zip(canvas, own, strict=True))
        del names[f"{prefix}boxes"]
        after.add("Mul", f"{prefix}boxes", np.array([width, height, width, height], np.float32), output="boxes")
    _rename(model, names)
    last = after.model([], [(name, type_, shape) for name, (type_, shape) in outputs.items()])
    return [before.model([], []), model, last]


def _of_opset(half: _Half, opset: int) -> ModelProto:
    if opset_of(half.model) == opset:
        return half.model
    try:
        return onnx.version_converter.convert_version(half.model, opset)
    except Exception as error:
        raise ExportError(
            f"{half.path}: is of opset {opset_of(half.model)} and cannot be converted to {opset}, the other "
            f"file's ({first_line(error)}); export its network with opset {opset}"
        ) from None


def _feed(model: ModelProto, image: str, pixels: str, path: Path) -> None:
    """Let a graph begin with pixels in floating point: TensorRT has bytes at its inputs and outputs alone."""
    del model.graph.input[:]
    for node in model.graph.node:
        if image in node.input:
            if node.op_type != "Cast":
                raise ExportError(
                    f"{path}: reads its bytes with {node.op_type}; give both files one canvas, --size"
                )
            node.input[0] = pixels


def _before_cast(model: ModelProto, output: str, path: Path) -> str:
    """What a label map is made a byte of; the node that does so is taken out."""
    for index, node in enumerate(model.graph.node):
        if output in node.output and node.op_type == "Cast":
            source = str(node.input[0])
            del model.graph.node[index]
            return source
    raise ExportError(f"{path}: does not make its label map of floats; give both files one canvas, --size")


def _rename(model: ModelProto, names: Mapping[str, str]) -> None:
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)


def _check(file: Path, halves: Sequence[_Half], image: NDArray[np.uint8], card: Card) -> list[Figure]:
    names = list(output_specs(card))
    found = dict(zip(names, cpu_session(str(file)).run(names, {"image": image}), strict=True))
    expected: dict[str, NDArray[Any]] = {}
    for half in halves:
        height, width = half.card.canvas
        given = np.stack([cv2.resize(np.float32(each), (width, height)) for each in image])
        own = list(_OUTPUTS[half.mode])
        answer = cpu_session(half.model).run(own, {"image": np.round(given).astype(np.uint8)})
        expected |= dict(zip(own, answer, strict=True))
    down, across = (side / own for side, own in zip(card.canvas, halves[1].card.canvas, strict=True))
    expected["boxes"] = expected["boxes"] * np.array([across, down, across, down], np.float32)
    rows, columns = (
        ((np.arange(side) + 0.5) * own / side - 1e-6).astype(np.int64)
        for side, own in zip(card.canvas, halves[0].card.canvas, strict=True)
    )
    expected["semantic"] = expected["semantic"][:, rows][:, :, columns]
    return compare(expected, found, bounds_for(card.precision))
