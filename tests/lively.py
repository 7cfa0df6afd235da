"""Lively random networks, their ONNX graphs, and torchvision's own answers for them, for tests of parity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from segopt.masks.paste import paste_mask
from segopt_export.card import make_card
from segopt_export.classes import label_ids
from segopt_export.networks.table import NETWORKS
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.tensorrt_rules import refusals
from segopt_export.onnx_file.tracing import trace
from segopt_export.onnx_file.writing import add_card, write
from segopt_export.precision.half import in_half
from segopt_export.request import ExportRequest
from segopt_export.static import roi_align
from segopt_export.static.build import build_graph
from segopt_export.static.graph import SegmentationGraph
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.static.roi_align import GATHERED_VALUES
from segopt_export.weights.loading import WeightsRequest, load_weights
from segopt_export.weights.random import random_picture

CANVAS = (256, 320)

TIE = 2e-4
"""Two scores this close may change places: sums in another order move each by up to half of it."""


@dataclass(frozen=True)
class Detections:
    """Detections of one picture in canvas pixels."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor
    """float32 [N, H, W] pasted by torchvision, or [N, 28, 28] of ours."""

    def __len__(self):
        return len(self.scores)


class LivelyNetwork:
    """One or two networks of the table with lively random weights, and what tests make of them.

    Each thing is made when it is first asked for, and once: tracing a large network takes half a minute. Who
    changes a module or a graph changes a copy.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self.trained = {NETWORKS[n].branch: load_weights(NETWORKS[n], WeightsRequest("random")) for n in names}
        self._graphs: dict[Target, SegmentationGraph] = {}
        self._halves: dict[Target, Traced] = {}

    @property
    def model(self) -> nn.Module:
        """The network as PyTorch runs it, where it is one."""
        (trained,) = self.trained.values()
        return trained.model

    @property
    def label_ids(self) -> list[int]:
        """The categories of a detector's classes, background first."""
        (trained,) = self.trained.values()
        return label_ids(trained.classes)

    def graph(self, target: Target) -> SegmentationGraph:
        """The static graph in single precision; it shares the networks' weights."""
        if target not in self._graphs:
            self._graphs[target] = build_graph(self.trained, CANVAS, DetectionLimits(), target)
        return self._graphs[target]

    @cached_property
    def single(self) -> "Traced":
        """For the CPU in single precision, two pictures at once."""
        return traced(self.graph("cpu"), 2, gathers=self._gathers)

    def half(self, target: Target = "tensorrt") -> "Traced":
        """In half precision, one picture at once."""
        if target not in self._halves:
            graph = self.graph(target)
            half, beyond = in_half(graph, [pictures(1)])
            assert beyond == {}, "lively weights are of ordinary size"
            self._halves[target] = traced(half, 1, graph.output_names, gathers=self._gathers)
        return self._halves[target]

    @property
    def _gathers(self) -> int:
        """As exports do for networks that are quick to trace; for large ones a hundred nodes become two."""
        return GATHERED_VALUES if QUICK.issuperset(self.names) else 60 * GATHERED_VALUES

    def write(self, path: Path, precision: str) -> Path:
        """One of the two as a file with its card, for TensorRT or a runtime to load."""
        target: Target = "cpu" if precision == "fp32" else "tensorrt"
        graph = self.single if precision == "fp32" else self.half()
        mode = "panoptic" if len(self.trained) == 2 else next(iter(self.trained))
        request = ExportRequest(mode, batch=graph.batch, target=target, precision=precision)  # type: ignore[arg-type]
        card, _ = make_card(request, CANVAS, self.trained)
        check_static(graph.model)
        add_card(graph.model, replace(card, half_share=half_share(graph.model)))
        write(graph.model, path, verify=lambda _: None)
        return path


@dataclass(frozen=True)
class Traced:
    """A graph in ONNX; called, it runs in ONNX Runtime."""

    model: onnx.ModelProto
    output_names: tuple[str, ...]
    batch: int

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Outputs by name for uint8 BGR [batch, H, W, 3]."""
        session = onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])
        arrays = session.run(None, {"image": image.numpy()})
        return {name: torch.from_numpy(np.asarray(a)) for name, a in zip(self.output_names, arrays, strict=True)}

    def copy(self) -> "Traced":
        """The same graph to be changed."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return replace(self, model=model)


def traced(graph: nn.Module, batch: int, output_names=None, *, gathers: int = GATHERED_VALUES) -> Traced:
    """Trace a static graph for so many pictures of the canvas.

    Args:
        graph: the module.
        batch: how many pictures.
        output_names: where the module does not say them.
        gathers: how many values RoIAlign gathers at once; with more there are fewer nodes to trace.
    """
    names = tuple(output_names or graph.output_names)
    with patch.object(roi_align, "GATHERED_VALUES", gathers):
        model = trace(graph, pictures(batch), names)
    assert refusals(model) == []
    return Traced(model, names, batch)


def run_eager(graph: SegmentationGraph, image: Tensor) -> dict[str, Tensor]:
    """Outputs by name of the graph as PyTorch runs it."""
    with torch.no_grad():
        return dict(zip(graph.output_names, graph(image), strict=True))


QUICK = {"lraspp_mobilenet_v3_large", "maskrcnn_mobilenet_v3_small_fpn"}
"""Networks that are traced in a few seconds; those of the others are left to tests that are marked as slow."""


DEEP = {
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet101_fpn",
    "panoptic_fpn_resnet50",
    "panoptic_fpn_resnet101",
}
"""Backbones of another depth below heads of another network here. Tracing each takes minutes: ``make deep``."""


def networks(branch: str | None = None):
    """Parameters of tests that take the fixture ``lively_network``: every network of a branch, or of the table.

    All tests of one network go to one process, where they run one after the other and share its graphs.
    """
    return [parameter(name) for name, entry in NETWORKS.items() if branch in (None, entry.branch)]


def parameter(*names: str):
    """The same for these networks, as one graph."""
    slow = [] if QUICK.issuperset(names) and len(names) == 1 else [pytest.mark.slow]
    deep = [] if DEEP.isdisjoint(names) else [pytest.mark.deep]
    return pytest.param("+".join(names), marks=[*slow, *deep, group("+".join(names))])


def group(name: str):
    """Tests of one name run in one process, where pytest-xdist spreads them over several."""
    return pytest.mark.xdist_group(name)


FUSION = parameter("lraspp_mobilenet_v3_large", "maskrcnn_mobilenet_v3_small_fpn")


def pictures(count: int, size: tuple[int, int] = CANVAS, *, seed: int = 7) -> Tensor:
    """uint8 BGR [count, H, W, 3]."""
    generator = torch.Generator().manual_seed(seed)
    stack = torch.stack([random_picture(size, generator=generator) for _ in range(count)])
    return (stack.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).contiguous()


def torchvision_detections(model: nn.Module, image: Tensor, ids: Sequence[int] | None = None) -> list[Detections]:
    """torchvision's own answer for uint8 BGR [B, H, W, 3], without resizing.

    Its labels are indices of classes; ``ids`` says which category each one is, where that is another number.
    """
    height, width = image.shape[1:3]
    model.transform.min_size, model.transform.max_size = (min(height, width),), max(height, width)
    batch = [picture.flip(-1).permute(2, 0, 1) / 255 for picture in image]
    with torch.no_grad():
        answers = model(batch)
    labels = [a["labels"] if ids is None else torch.tensor(ids)[a["labels"]] for a in answers]
    return [
        Detections(a["boxes"], a["scores"], of, a["masks"][:, 0]) for a, of in zip(answers, labels, strict=True)
    ]


def torchvision_label_map(model: nn.Module, image: Tensor) -> Tensor:
    """torchvision's own class indices [B, H, W] for uint8 BGR [B, H, W, 3]."""
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    rgb = image.flip(-1).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return model((rgb - mean) / std)["out"].argmax(1)


def detections_of(outputs: dict[str, Tensor], i: int) -> Detections:
    """Used slots of frame ``i`` of a static graph's outputs."""
    used = outputs["scores"][i] >= 0
    return Detections(*(outputs[name][i][used] for name in ("boxes", "scores", "labels", "masks")))


def assert_same_detections(expected, found):
    """The same detections in the same order, where scores that nearly tie may change places.

    One in a hundred may be another: an IoU within rounding of suppression's threshold falls either way.
    """
    assert len(found) == len(expected)
    free = torch.ones(len(found), dtype=torch.bool)
    unmatched: list[int] = []
    for i in range(len(expected)):
        near = (found.boxes - expected.boxes[i]).abs().amax(dim=1) <= 0.05
        near &= (found.scores - expected.scores[i]).abs() <= 1e-4
        near &= free & (found.labels == expected.labels[i])
        if not near.any():
            unmatched.append(i)
            continue
        j = int(near.nonzero()[0])
        free[j] = False
        assert abs(i - j) <= len(unmatched) or abs(float(expected.scores[i] - expected.scores[j])) <= TIE
        # torchvision rounds a widened box to whole pixels: where a corner lies within the error of a whole pixel,
        # the mask jumps by one, so a mask may agree in its own box or in torchvision's.
        theirs = expected.masks[i].numpy()
        assert any(same_mask(found.masks[j], box, theirs) for box in (found.boxes[j], expected.boxes[i]))
    assert len(unmatched) <= len(expected) // 100, f"detections {unmatched} of torchvision have no match"


def same_mask(mask, box, expected):
    height, width = expected.shape
    ours = paste_mask(mask.numpy(), box.numpy(), height, width).on_canvas(height, width)
    # Halfway between a cell of 0 and one of 1 is one half, and rounding decides.
    sure = np.abs(expected - 0.5) > 1e-4
    union = np.count_nonzero(ours | (expected >= 0.5))
    # One pixel of a mask of a few can round either way.
    return np.count_nonzero((ours ^ (expected >= 0.5)) & sure) <= max(1, 0.01 * union)


def more_background(model: nn.Module, shift: float) -> None:
    """Make a detector surer that there is nothing, in place."""
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] += shift


def more_background_in(model: onnx.ModelProto, shift: float) -> None:
    """The same in an exported graph, in place."""
    (bias,) = [t for t in model.graph.initializer if t.name.endswith("box_predictor.cls_score.bias")]
    values = numpy_helper.to_array(bias).copy()
    values[0] += shift
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
