"""The logits under a label map are the module's own and the file's own, in little memory."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from segopt.agreement import SINGLE
from segopt.errors import ExportError
from segopt_export.onnx_file import logits as logits_module
from segopt_export.onnx_file.logits import LogitsOfFile, grid_step, kept_logits
from segopt_export.onnx_file.parity import check_parity
from segopt_export.onnx_file.tracing import trace
from segopt_export.onnx_file.writing import write
from segopt_export.static.graph import Normalize, SegmentationGraph
from segopt_export.static.semantic import StaticSemantic


class Small(nn.Module):
    """A semantic network of one convolution."""

    def __init__(self, bias=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 5, 3, padding=1)
        self.layer.bias.data[0] = bias

    def forward(self, image):
        return {"out": self.layer(image)}


def graph_of(model):
    return SegmentationGraph(Normalize((0.5,) * 3, (0.2,) * 3), [StaticSemantic(model)]).eval()


PICTURE = torch.randint(0, 256, (1, 32, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def file_of(graph, path):
    model = trace(graph, PICTURE, graph.output_names)
    write(model, path, verify=lambda _: None)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1 << 22, 2000])
def test_logits_of_the_file_are_those_of_the_module(largest, tmp_path, monkeypatch):
    monkeypatch.setattr(logits_module, "MAX_VALUES", largest)
    graph = graph_of(Small())
    with torch.no_grad(), kept_logits(graph) as kept:
        graph(PICTURE)
        whole = graph.get_submodule("branches.0").model(graph.normalize(PICTURE))["out"].numpy()
    step = grid_step(whole.shape)
    assert kept[0].size <= largest
    np.testing.assert_array_equal(kept[0], whole[:, :, ::step, ::step])
    found = LogitsOfFile(file_of(graph, tmp_path / "m.onnx"), whole.shape)(PICTURE.numpy())
    np.testing.assert_allclose(found, kept[0], rtol=1e-4, atol=1e-5)


def test_a_network_whose_answer_is_no_number_fails_although_its_label_maps_agree(tmp_path):
    graph = graph_of(Small(bias=float("nan")))
    file = file_of(graph, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"not finite.*logits"):
        check_parity(graph, file, PICTURE, dataclasses.replace(SINGLE, pixels=0))


@pytest.mark.slow
def test_other_logits_fail_although_the_label_maps_agree(tmp_path):
    graph, other = graph_of(Small(bias=1e3)), graph_of(Small(bias=2e3))
    file = file_of(other, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="logits within"):
        check_parity(graph, file, PICTURE)
    check_parity(graph, file_of(graph, tmp_path / "same.onnx"), PICTURE)
