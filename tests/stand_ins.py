"""Small networks with the answers of known kinds of instance networks, random but lively; and their exports."""

import torch
from torch import nn

CANVAS = (96, 128)


def exported(module, path, outputs, size=CANVAS, batch=1):
    torch.onnx.export(
        module.eval(),
        (torch.zeros(batch, 3, *size),),
        path,
        dynamo=False,
        input_names=["images"],
        output_names=list(outputs),
    )
    return path


class Head(nn.Module):
    """Numbers for each of so many things, which depend on all of the picture."""

    def __init__(self, things, numbers, size=CANVAS, cell=16):
        super().__init__()
        self.pool = nn.AvgPool2d(cell)
        self.shape = things, numbers
        self.linear = nn.Linear(3 * (size[0] // cell) * (size[1] // cell), things * numbers)

    def forward(self, x):
        return self.linear(self.pool(x).flatten(1)).reshape(-1, *self.shape)


class DetrLike(nn.Module):
    """Boxes, class logits, and masks over the whole picture."""

    OUTPUTS = ("dets", "labels", "masks")

    def __init__(self, queries=14, classes=5, size=CANVAS):
        super().__init__()
        self.boxes, self.logits = Head(queries, 4, size), Head(queries, classes, size)
        self.masks = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, queries, 5, padding=2))

    def forward(self, x):
        masks = self.masks(x)
        return (self.boxes(x) * 2).sigmoid(), self.logits(x) * 4, (masks - masks.mean((2, 3), keepdim=True)) * 6


class DeepDetrLike(DetrLike):
    """With masks of two layers, and class logits behind a product by weights, as transformers have them."""

    def __init__(self, queries=14, classes=5, size=CANVAS):
        super().__init__(queries, classes, size)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.hidden = nn.Linear(classes, classes)

    def forward(self, x):
        boxes, _, masks = super().forward(x + self.features(x))
        return boxes, self.logits(x) * 4 + self.hidden(self.logits(x)), masks


class MaskRcnnLike(nn.Module):
    """Detections without an axis of the batch, in no order, two of them without a score."""

    OUTPUTS = ("boxes", "labels", "scores", "masks")

    def __init__(self, most=9, classes=4, size=CANVAS):
        super().__init__()
        self.size, self.classes = size, classes
        self.boxes, self.kinds, self.masks = Head(most, 4, size), Head(most, classes, size), Head(most, 784, size)

    def forward(self, x):
        height, width = self.size
        corners = (self.boxes(x)[0] * 3).sigmoid()
        center, side = corners[:, :2], corners[:, 2:] * 0.3 + 0.05
        boxes = torch.cat([center - side, center + side], dim=1) * torch.tensor([width, height, width, height])
        scores, labels = self.kinds(x)[0].mul(4).softmax(dim=-1).max(dim=-1)
        scores = torch.cat([scores[:-2], scores[-2:] * 0])
        return boxes, labels + 1, scores, (self.masks(x)[0] * 8).sigmoid().reshape(-1, 1, 28, 28)


class YoloLike(nn.Module):
    """Boxes around a grid of anchors, many of which overlap, class scores, coefficients, and prototypes."""

    OUTPUTS = ("output0", "output1")

    def __init__(self, classes=3, amount=6, size=CANVAS):
        super().__init__()
        self.size, self.classes = size, classes
        self.grid = nn.Conv2d(3, 4 + classes + amount, 16, stride=8, padding=4)
        self.prototypes = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, amount, 7, padding=3))
        rows, columns = (torch.arange(side // 8, dtype=torch.float32) * 8 + 4 for side in size)
        self.register_buffer("centers", torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None])

    def forward(self, x):
        found = self.grid(x) * 3
        center = self.centers + found[:, :2].tanh() * 6
        side = 44 + found[:, 2:4].tanh() * 14
        scores = (found[:, 4 : 4 + self.classes] * 3 - 1).sigmoid()
        rows = torch.cat([center, side, scores, found[:, 4 + self.classes :]], dim=1).flatten(2)
        prototypes = self.prototypes(x)
        return rows, (prototypes - prototypes.mean((2, 3), keepdim=True)) * 4


class EndedYoloLike(YoloLike):
    """The same, suppressed already: corners, score, class and coefficients of the best boxes."""

    def forward(self, x):
        rows, prototypes = super().forward(x)
        rows = rows.transpose(1, 2)
        scores, index = rows[..., 4 : 4 + self.classes].max(dim=-1)
        best, place = scores.topk(20, dim=1)
        taken = rows.gather(1, place[..., None].expand(-1, -1, rows.shape[2]))
        half = taken[..., 2:4] / 2
        columns = [
            taken[..., :2] - half,
            taken[..., :2] + half,
            best[..., None],
            index.gather(1, place)[..., None].float(),
            taken[..., 4 + self.classes :],
        ]
        return torch.cat(columns, dim=-1), prototypes
