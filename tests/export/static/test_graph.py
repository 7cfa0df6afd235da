"""A camera frame's bytes become what torchvision's networks were trained on."""

import torch

from segopt_export.onnx_file.tracing import trace
from segopt_export.static.graph import Normalize

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def test_frames_are_normalized_as_torchvision_does_it():
    image = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rgb = image.flip(-1).permute(0, 3, 1, 2).to(torch.float32) / 255
    expected = (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert torch.equal(Normalize(MEAN, STD)(image), expected)


def test_channels_change_places_as_planes_and_not_value_by_value():
    model = trace(torch.nn.Sequential(Normalize(MEAN, STD)), torch.zeros(1, 8, 6, 3, dtype=torch.uint8), ["y"])
    assert [node.op_type for node in model.graph.node][:3] == ["Cast", "Transpose", "Gather"]
