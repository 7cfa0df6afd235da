"""From an ONNX file to a strongly typed TensorRT network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.errors import EngineError
from segopt.model.tensors import DATA_DEPENDENT, TensorSpec
from segopt.tensorrt.flavor import Flavor
from segopt.tensorrt.messages import MessageLog, fix_for, message_log, one_line, start
from segopt.tensorrt.tensors import tensor_spec

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class ParsedNetwork:
    """A network, ready to be built, and what must live as long as it does."""

    builder: trt.Builder
    network: trt.INetworkDefinition
    parser: trt.OnnxParser
    """Owns the weights."""
    log: MessageLog


def parse(flavor: Flavor, model: Path) -> ParsedNetwork:
    """Read an ONNX file into a strongly typed network.

    Raises:
        EngineError: TensorRT does not start, or does not take the file; the message names node and operator.
    """
    builder = start(flavor, flavor.module.Builder)
    log, logger = message_log(flavor)
    network = builder.create_network(flavor.creation_flags())
    parser = flavor.module.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        raise EngineError(f"{model}: {_parser_error(flavor, parser, log)}")
    return ParsedNetwork(builder, network, parser, log)


def tensor_specs(flavor: Flavor, network: trt.INetworkDefinition, model: Path) -> dict[str, TensorSpec]:
    """Inputs and outputs of a network, by name.

    Raises:
        EngineError: one is of a type that numpy has not, or its shape is not fixed.
    """
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    fix = "export the model with `segopt export`"
    return {
        tensor.name: tensor_spec(flavor, tensor.name, tensor.dtype, tensor.shape, model=model, fix=fix)
        for tensor in tensors
    }


def has_grid_sample(flavor: Flavor, network: trt.INetworkDefinition) -> bool:
    """Whether a network samples at computed places."""
    kind = flavor.module.LayerType.GRID_SAMPLE
    return any(network.get_layer(i).type == kind for i in range(network.num_layers))


def _parser_error(flavor: Flavor, parser: trt.OnnxParser, log: MessageLog) -> str:
    if parser.num_errors == 0:
        reason = log.reason()
        return f"{flavor} cannot read it: {reason}; {fix_for(reason, 'export it again')}"
    error = parser.get_error(0)
    operator, name, reason = error.node_operator(), error.node_name(), one_line(error.desc())
    if not operator:
        return f"{flavor} cannot read it: {reason}; export it again"
    fix = "export the model again with this segopt, or update TensorRT"
    if operator in DATA_DEPENDENT:
        fix = "its shapes depend on the data; `segopt export` makes graphs without such operators"
    return f"{flavor} does not take node {name or '(unnamed)'} ({operator}): {reason}; {fix_for(reason, fix)}"
