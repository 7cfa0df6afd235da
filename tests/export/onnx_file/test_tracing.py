"""The exporter's optimizer does what it does by itself, in less time."""

import contextlib

import torch
from torch import nn

from segopt_export.onnx_file import tracing
from segopt_export.onnx_file.tracing import trace


class Halves(nn.Module):
    """Slices its input into halves, and into parts that overlap."""

    def forward(self, image):
        x = image.to(torch.float32).permute(0, 3, 1, 2)
        left, right = x.narrow(-1, 0, 8), x.narrow(-1, 8, 8)
        top, bottom = x[:, :, :3], x[:, :, 2:]
        return left * right + 1, (top.sum(dim=2) - bottom.mean(dim=2)).relu()


def halves():
    return trace(Halves().eval(), torch.zeros(1, 16, 16, 3, dtype=torch.uint8), ["a", "b"])


def test_the_graph_is_the_one_that_the_optimizer_makes_by_itself(monkeypatch):
    quickly = halves()
    monkeypatch.setattr(tracing, "_slices_split_at_slices", contextlib.nullcontext)
    assert quickly.SerializeToString() == halves().SerializeToString()


def test_only_slices_are_compared_with_slices(monkeypatch):
    seen = []
    rule = tracing.slice_split_rule
    match = rule.try_rewrite

    def watch(model, graph, node, **options):
        seen.append(node.op_type)
        return match(model, graph, node, **options)

    monkeypatch.setattr(rule, "try_rewrite", watch)
    halves()
    assert set(seen) == {"Slice"}
    assert rule.try_rewrite is watch
