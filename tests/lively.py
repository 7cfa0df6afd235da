"""Lively random networks, and torchvision's own answers for them, for tests of parity."""

from dataclasses import dataclass

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from segopt_export.classes import default_classes
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.random import enliven, random_picture

CANVAS = (256, 320)


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


def network(name: str, *, seed: int = 0) -> nn.Module:
    """A lively random network of the table, in eval mode."""
    entry = NETWORKS[name]
    model = entry.build(len(default_classes(entry)))
    enliven(model, seed=seed, size=CANVAS)
    return model


def pictures(count: int, size: tuple[int, int] = CANVAS, *, seed: int = 7) -> Tensor:
    """uint8 BGR [count, H, W, 3]."""
    generator = torch.Generator().manual_seed(seed)
    stack = torch.stack([random_picture(size, generator=generator) for _ in range(count)])
    return (stack.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).contiguous()


def torchvision_detections(model: nn.Module, image: Tensor) -> list[Detections]:
    """torchvision's own answer for uint8 BGR [B, H, W, 3], without resizing."""
    height, width = image.shape[1:3]
    model.transform.min_size, model.transform.max_size = (min(height, width),), max(height, width)
    batch = [picture.flip(-1).permute(2, 0, 1) / 255 for picture in image]
    with torch.no_grad():
        answers = model(batch)
    return [Detections(a["boxes"], a["scores"], a["labels"], a["masks"][:, 0]) for a in answers]


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
