"""Lively random networks, and torchvision's own answers for them, for tests of parity."""

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from segopt.masks.paste import paste_mask
from segopt_export.classes import default_classes
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.random import enliven, random_picture

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
        theirs = (expected.masks[i] >= 0.5).numpy()
        # torchvision rounds a widened box to whole pixels: where a corner lies within the error of a whole pixel,
        # the mask jumps by one, so a mask may agree in its own box or in torchvision's.
        assert any(same_mask(found.masks[j], box, theirs) for box in (found.boxes[j], expected.boxes[i]))
    assert len(unmatched) <= len(expected) // 100, f"detections {unmatched} of torchvision have no match"


def same_mask(mask, box, expected):
    height, width = expected.shape
    ours = paste_mask(mask.numpy(), box.numpy(), height, width).on_canvas(height, width)
    union = np.count_nonzero(ours | expected)
    # One pixel of a mask of a few can round either way.
    return np.count_nonzero(ours ^ expected) <= max(1, 0.01 * union)


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
