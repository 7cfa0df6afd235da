"""Real ONNX engines of a few nodes, with cards, for tests of the runtime.

What they answer is known from their input: a pixel is class 1 where the mean of its channels is above 127, and
objects stand where the caller puts them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segopt.model.card import METADATA_KEY, Card, WeightsOrigin
from segopt.model.categories import Category
from segopt.model.sidecar import PlanRecord, sha256_of
from segopt.version import __version__

CANVAS = (48, 64)

SEMANTIC_CATEGORIES = (
    Category(0, "dark", is_thing=False, color=(0, 0, 0)),
    Category(1, "bright", is_thing=False, color=(255, 255, 0)),
)
THINGS = (
    Category(1, "person", is_thing=True, color=(220, 20, 60)),
    Category(3, "car", is_thing=True, color=(0, 0, 142)),
)
VOID = Category(0, "void", is_thing=False, color=(0, 0, 0))
SKY = Category(200, "sky", is_thing=False, color=(70, 130, 180))

Detection = tuple[tuple[float, float, float, float], float, int]
"""Box in canvas pixels (x0, y0, x1, y1), score, label."""

DETECTIONS: tuple[Detection, ...] = (((8, 8, 24, 40), 0.9, 1), ((32, 16, 56, 32), 0.8, 3), ((0, 0, 8, 8), 0.3, 1))


def plan_record(data: bytes = b"plan", **changes) -> PlanRecord:
    """What the sidecar of a plan of these bytes says, TensorRT 10.3 and a GPU of 8.9 unless it is changed."""
    record = PlanRecord(
        sha256=sha256_of(data),
        runtime="tensorrt",
        version="10.3.0",
        gpu="Simulated",
        compute_capabilities=("8.9",),
        hardware_compatible=False,
        version_compatible=False,
        half_share=0.0,
        segopt=__version__,
        model="model.onnx",
    )
    return replace(record, **changes)


def save(path: Path, card: Card, nodes, outputs, constants=()) -> Path:
    """Write a model with input ``image`` that has this card inside; checked by onnx."""
    height, width = card.canvas
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [card.batch, height, width, 3])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializer=list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def semantic_engine(path: Path, *, canvas: tuple[int, int] = CANVAS, batch: int = 1) -> Path:
    """An engine with the output ``semantic``."""
    card = Card(
        mode="semantic",
        networks={"semantic": "tiny"},
        canvas=canvas,
        batch=batch,
        precision="fp32",
        categories={"semantic": SEMANTIC_CATEGORIES},
        weights={"semantic": WeightsOrigin("none", "0" * 64)},
    )
    return save(path, card, *_semantic(canvas, batch))


def instance_engine(
    path: Path,
    *,
    detections: Sequence[Detection] = DETECTIONS,
    slots: int = 4,
    canvas: tuple[int, int] = CANVAS,
    batch: int = 1,
    converged: bool = True,
    mask_shape: tuple[int, int] = (28, 28),
) -> Path:
    """An engine that finds the same objects in each picture; their masks fill their boxes."""
    card = Card(
        mode="instance",
        networks={"instance": "tiny"},
        canvas=canvas,
        batch=batch,
        precision="fp32",
        categories={"instance": THINGS},
        weights={"instance": WeightsOrigin("none", "0" * 64)},
        max_detections=slots,
    )
    return save(path, card, *_instance(detections, slots, batch, converged, mask_shape))


def panoptic_engine(
    path: Path,
    *,
    detections: Sequence[Detection] = DETECTIONS,
    slots: int = 4,
    canvas: tuple[int, int] = CANVAS,
    batch: int = 1,
    converged: bool = True,
    stuff_area: int = 64,
    mask_shape: tuple[int, int] = (28, 28),
) -> Path:
    """Both of the above in one: what is bright and no object is sky."""
    card = Card(
        mode="panoptic",
        networks={"semantic": "tiny", "instance": "tiny"},
        canvas=canvas,
        batch=batch,
        precision="fp32",
        categories={"panoptic": (*THINGS, SKY), "semantic": SEMANTIC_CATEGORIES, "instance": THINGS},
        weights={branch: WeightsOrigin("none", "0" * 64) for branch in ("semantic", "instance")},
        stuff_classes={1: SKY.id},
        max_detections=slots,
        stuff_area=stuff_area,
    )
    nodes, outputs, constants = _semantic(canvas, batch)
    more_nodes, more_outputs, more_constants = _instance(detections, slots, batch, converged, mask_shape)
    return save(path, card, nodes + more_nodes, outputs + more_outputs, constants + more_constants)


def _semantic(canvas, batch):
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "channel_axis"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "middle"], ["bright"]),
        # TensorRT 10 makes uint8 of floating point alone.
        helper.make_node("Cast", ["bright"], ["index"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["index"], ["semantic"], to=TensorProto.UINT8),
    ]
    outputs = [helper.make_tensor_value_info("semantic", TensorProto.UINT8, [batch, *canvas])]
    constants = [
        numpy_helper.from_array(np.array([3], np.int64), "channel_axis"),
        numpy_helper.from_array(np.array(127, np.float32), "middle"),
    ]
    return nodes, outputs, constants


def looped_engine(path: Path, mode: str, detections: Sequence[Detection], slots: int) -> Path:
    """An engine whose masks come from rows that the picture has a part in, as a mask head's do, in a loop."""
    from segopt_export.onnx_file.mask_blocks import in_blocks

    make = {"instance": instance_engine, "panoptic": panoptic_engine}[mode]
    file = onnx.load(make(path, detections=detections, slots=slots))
    for node in file.graph.node:
        if list(node.output) == ["masks"]:
            node.output[0] = "given"
    constants = {
        "rows": np.array([slots, 28, 28]),
        "all": np.array([1, slots, 28, 28]),
        "zero": np.array(0, np.float32),
        "axes": np.array([1, 2, 3]),
    }
    file.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    file.graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["pixels_of_picture"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels_of_picture", "axes"], ["mean_of_picture"]),
            helper.make_node("Mul", ["mean_of_picture", "zero"], ["nothing"]),
            helper.make_node("Add", ["given", "nothing"], ["moved"]),
            helper.make_node("Reshape", ["moved", "rows"], ["of_slots"]),
            helper.make_node("Relu", ["of_slots"], ["head"]),
            helper.make_node("Reshape", ["head", "all"], ["masks"]),
        ]
    )
    blocks = in_blocks(file)
    assert blocks is not None
    onnx.save(blocks, path)
    return path


def _instance(detections, slots, batch, converged, mask_shape):
    boxes = np.zeros((batch, slots, 4), np.float32)
    scores = np.full((batch, slots), -1, np.float32)
    labels = np.zeros((batch, slots), np.int32)
    masks = np.zeros((batch, slots, *mask_shape), np.float32)
    for i, (box, score, label) in enumerate(sorted(detections, key=lambda detection: -detection[1])):
        boxes[:, i], scores[:, i], labels[:, i], masks[:, i] = box, score, label, 1
    values = {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "masks": masks,
        "converged": np.full(batch, converged, np.int32),
    }
    return _constants(values)


def _constants(values):
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, f"{name}_value"))
        for name, value in values.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    return nodes, outputs, []


QUERIES: tuple[tuple[tuple[int, int, int, int], float, int], ...] = (
    ((8, 8, 24, 40), 0.98, 1),
    ((0, 40, 64, 48), 0.97, 200),
    ((32, 16, 56, 32), 0.95, 3),
    ((0, 0, 64, 8), 0.9, 200),
)
"""Masks of queries that are kept: x0, y0, x1, y1 on the canvas, score, category; the best first."""


def queries_engine(
    path: Path,
    *,
    queries=QUERIES,
    slots: int = 6,
    canvas: tuple[int, int] = CANVAS,
    batch: int = 1,
) -> Path:
    """An engine of a query network that keeps the same queries in each picture; their masks are rectangles."""
    categories = (*THINGS, SKY)
    card = Card(
        mode="panoptic",
        networks={"panoptic": "tiny"},
        canvas=canvas,
        batch=batch,
        precision="fp32",
        categories={
            "panoptic": categories,
            "semantic": tuple(Category(i, c.name, c.is_thing, c.color) for i, c in enumerate((VOID, *categories))),
            "instance": THINGS,
        },
        weights={"panoptic": WeightsOrigin("none", "0" * 64)},
        stuff_classes={3: SKY.id},
        max_detections=slots,
        merge="queries",
        padding=(0, 0, 0),
    )
    height, width = canvas
    masks = np.zeros((slots, height, width), bool)
    scores, labels = np.full(slots, -1, np.float32), np.zeros(slots, np.int32)
    for slot, ((x0, y0, x1, y1), score, label) in enumerate(queries):
        masks[slot, y0:y1, x0:x1], scores[slot], labels[slot] = True, score, label
    winner = masks.argmax(axis=0)
    values = {
        "segments": np.where(masks.any(axis=0), winner, winner + 128).astype(np.uint8),
        "scores": scores,
        "labels": labels,
        "mask_rows": masks.sum(axis=2, dtype=np.int32),
        "mask_columns": masks.sum(axis=1, dtype=np.int32),
    }
    return save(path, card, *_constants({name: np.stack([value] * batch) for name, value in values.items()}))
