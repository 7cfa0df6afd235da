"""From a module to an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript.rewriter.rules import common
from torch import Tensor, nn

from segopt.errors import ExportError, first_line
from segopt.version import __version__

OPSET = 18


def trace(module: nn.Module, image: Tensor, output_names: Sequence[str]) -> onnx.ModelProto:
    """Export a module whose shapes are all static.

    Args:
        module: takes ``image`` and returns a tuple, one tensor for each output name.
        image: example input, uint8 [B, H, W, 3].
        output_names: names of the graph's outputs.

    Raises:
        ExportError: PyTorch's exporter failed.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _without_the_quadratic_rule():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (image,),
                input_names=["image"],
                output_names=list(output_names),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = first_line(error.__cause__ or error)
        raise ExportError(f"PyTorch {torch.__version__} could not export the graph: {reason}") from error
    assert program is not None
    # The exporter writes the source lines of this machine beside every node.
    ClearMetadataAndDocStringPass()(program.model)
    return _proto(program)


@contextmanager
def _without_the_quadratic_rule() -> Iterator[None]:
    """Leave out the one rule of onnxscript's optimizer that walks the whole graph for every node.

    It makes two slices a split, for which no graph here has a use. Of a Mask R-CNN's trace it took two thirds.
    """
    rule = getattr(common, "slice_split_rule", None)
    if rule is None:
        yield
        return
    rule.try_rewrite = lambda *_, **__: None
    try:
        yield
    finally:
        # The class's own is seen again.
        del rule.try_rewrite


def _proto(program: Any) -> onnx.ModelProto:
    model: onnx.ModelProto = program.model_proto
    model.producer_name, model.producer_version = "segopt", __version__
    return model
