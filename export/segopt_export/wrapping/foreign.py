"""A file of another maker: read without trust, and made static."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from segopt.errors import ExportError, first_line
from segopt.model.card import METADATA_KEY
from segopt.model.tensors import DATA_DEPENDENT

OLDEST_OPSET = 13
"""The first with all that is put around the graph in today's form; older files are converted."""
_CONVERTED_OPSET = 18
_IMAGE_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)


@dataclass(frozen=True)
class ImageInput:
    """How a network takes its pictures."""

    name: str
    type: int
    """ONNX's number of the element type."""
    channels_last: bool
    batch: int
    size: tuple[int, int]
    """Height and width in pixels."""


@dataclass(frozen=True)
class Foreign:
    """A static graph of another maker."""

    model: ModelProto
    image: ImageInput
    outputs: tuple[ValueInfoProto, ...]
    """With fixed shapes."""


def shape_of(value: ValueInfoProto) -> list[int | None]:
    """The sides of a tensor; None is a free one."""
    return [
        side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None
        for side in value.type.tensor_type.shape.dim
    ]


def type_name(type_: int) -> str:
    """Of ONNX's number of an element type."""
    return onnx.helper.tensor_dtype_to_string(type_).removeprefix("TensorProto.").lower() if type_ else "no tensor"


def read_foreign(path: Path, size: tuple[int, int] | None, batch: int) -> Foreign:
    """Read an ONNX file and fix what is free in it.

    Args:
        path: of the file; what it keeps in other files must lie in its folder.
        size: height and width of the network's input, where the file leaves them free.
        batch: pictures at once, where the file leaves that free.

    Raises:
        ExportError: no ONNX file, or one that cannot be wrapped; says which node or tensor, and what to do.
    """
    model = _load(path)
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        raise ExportError(f"{path}: is a model of segopt already; `segopt run --engine {path}` runs it")
    for node in _nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"{path}: has the custom operator {node.domain}.{node.op_type} ({node.name or node.output[0]}), "
                "which only its maker's runtime knows; export the network without it"
            )
        if node.op_type in DATA_DEPENDENT:
            raise ExportError(
                f"{path}: has {node.op_type} ({node.name or node.output[0]}), whose work depends on the picture; "
                "export the network without its post-processing"
            )
    model = _recent(model, path)
    image = _image_input(model, path)
    image = _fix_input(model, image, size, batch, path)
    model = _folded(model, path)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    _check_fixed(inferred, path)
    outputs = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output)}
    return Foreign(inferred, image, tuple(outputs[value.name] for value in model.graph.output))


def _load(path: Path) -> ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent.resolve()))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None
    except DecodeError:
        raise ExportError(f"{path}: is no ONNX file") from None
    except Exception as error:  # Of external data; among them is a check that it lies in the folder.
        raise ExportError(f"{path}: its external data cannot be read ({first_line(error)})") from None
    if not model.graph.node:
        raise ExportError(f"{path}: is no ONNX file, or one without a graph")
    return model


def _recent(model: ModelProto, path: Path) -> ModelProto:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions and versions[0] >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _CONVERTED_OPSET)
    except Exception as error:
        raise ExportError(
            f"{path}: is of opset {versions[0] if versions else 'none'} and cannot be converted to "
            f"{_CONVERTED_OPSET} ({first_line(error)}); export the network with opset {_CONVERTED_OPSET}"
        ) from None


def _image_input(model: ModelProto, path: Path) -> ImageInput:
    """The one input that is not a constant; its free sides are 0."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ExportError(f"{path}: has {len(inputs)} inputs ({names}), and must have the picture alone")
    (value,) = inputs
    sides, type_ = shape_of(value), value.type.tensor_type.elem_type
    last = len(sides) == 4 and sides[3] == 3 and sides[1] != 3
    # A free number of channels is one that an exporter did not care to say.
    if len(sides) != 4 or not (last or sides[1] in (None, 3)) or type_ not in _IMAGE_TYPES:
        given = f"{type_name(type_)} {[side or '?' for side in sides]}"
        raise ExportError(
            f"{path}: its input {value.name} is {given}, and must be float, float16 or uint8, "
            "[batch, 3, height, width] or [batch, height, width, 3]"
        )
    height, width = (sides[1], sides[2]) if last else (sides[2], sides[3])
    return ImageInput(value.name, type_, last, sides[0] or 0, (height or 0, width or 0))


def _fix_input(
    model: ModelProto, image: ImageInput, size: tuple[int, int] | None, batch: int, path: Path
) -> ImageInput:
    if image.batch not in (0, batch):
        raise ExportError(
            f"{path}: takes {image.batch} pictures at once, and {batch} are asked for; give --batch "
            f"{image.batch}, or export the network for another batch"
        )
    own = image.size
    if 0 in own and size is None:
        raise ExportError(f"{path}: leaves the size of its pictures free; give --size HEIGHTxWIDTH")
    fixed = (own[0] or (size or own)[0], own[1] or (size or own)[1])
    sides = [batch, *fixed, 3] if image.channels_last else [batch, 3, *fixed]
    (value,) = (value for value in model.graph.input if value.name == image.name)
    shape = value.type.tensor_type.shape
    for dim, side in zip(shape.dim, sides, strict=True):
        dim.dim_value = side
    for value in (*model.graph.output, *model.graph.value_info):
        # They say what held before; what holds now is inferred.
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return ImageInput(image.name, image.type, image.channels_last, batch, fixed)


def _folded(model: ModelProto, path: Path) -> ModelProto:
    """With all that the fixed sides make constant, by ONNX Runtime's own optimizer."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(
                f"{path}: ONNX Runtime does not load it with pictures of a fixed size ({first_line(error)}); give "
                "another --size, or export the network for a fixed one"
            ) from None
        return onnx.load(options.optimized_model_filepath)


def _check_fixed(model: ModelProto, path: Path) -> None:
    shaped = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        for name in filter(None, node.output):
            if name not in shaped or None in shape_of(shaped[name]) or not _has_shape(shaped[name]):
                raise ExportError(
                    f"{path}: the shape of {name} ({node.op_type} {node.name}) is not fixed by the size of the "
                    "picture; export the network with fixed shapes and without its post-processing"
                )


def _has_shape(value: ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _nodes(graph: onnx.GraphProto) -> Sequence[NodeProto]:
    """All nodes, those of inner graphs too."""
    inner = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [*graph.node, *(node for each in inner for node in _nodes(each))]
