"""The texts of ``config.pbtxt``, in the words of Triton's model configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segopt.model.card import Mode
from segopt.model.tensors import TensorSpec
from segopt.triton.answers import ANSWERS
from segopt.triton.layout import TRITON_TYPES

QUEUE_MICROSECONDS = 2000
"""How long a request waits for others to share its batch. A network takes ten times as long."""


def network_config(
    name: str,
    backend: str,
    kind: str,
    instances: int,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
) -> str:
    """Of a network with fixed shapes: it has its batch inside, so the server's own is 0.

    Args:
        name: of the model.
        backend: ``onnxruntime`` or ``tensorrt``.
        kind: ``KIND_GPU``, ``KIND_CPU`` or ``KIND_AUTO``.
        instances: how many run at once.
        inputs: by name.
        outputs: by name.
    """
    warm = "".join(
        f'    inputs {{ key: "{key}" value {{ data_type: {TRITON_TYPES[spec.dtype]} dims: {_dims(spec.shape)} '
        "zero_data: true } }\n"
        for key, spec in inputs.items()
    )
    return (
        f'name: "{name}"\nbackend: "{backend}"\n'
        "# The batch is in the shapes, which are fixed.\nmax_batch_size: 0\n"
        f"{_tensors('input', inputs)}{_tensors('output', outputs)}"
        f"instance_group [ {{ kind: {kind} count: {instances} }} ]\n"
        f'model_warmup [\n  {{\n    name: "zeros"\n    batch_size: 1\n{warm}  }}\n]\n'
    )


def front_config(name: str, mode: Mode, largest: int, instances: int, parameters: Mapping[str, str]) -> str:
    """Of a front, which batches requests of all sizes.

    Args:
        name: of the model.
        mode: the view, which decides the outputs.
        largest: batch of the largest network.
        instances: processes that decode and merge.
        parameters: for the front.
    """
    outputs = ",\n".join(
        f'  {{ name: "{output}" data_type: {answer.data_type} dims: {_dims(answer.dims)} }}'
        for output, answer in ANSWERS[mode].items()
    )
    batching = (
        f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}\n"
        if largest > 1
        else "# The network takes one frame at once: there is nothing to wait for.\n"
    )
    said = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items()
    )
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {largest}\n'
        "# One of the two: frames as uint8 BGR, or one picture as the bytes of a JPEG or PNG file.\n"
        "input [\n"
        # Without ragged batches, frames of several sizes would never share one.
        '  { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] allow_ragged_batch: true optional: true },\n'
        '  { name: "encoded" data_type: TYPE_STRING dims: [ 1 ] optional: true }\n'
        "]\n"
        f"# What is not asked for is not made.\noutput [\n{outputs}\n]\n"
        f"{batching}"
        f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]\n"
        f"{said}"
    )


def _tensors(what: str, specs: Mapping[str, TensorSpec]) -> str:
    lines = [
        f'  {{ name: "{name}" data_type: {TRITON_TYPES[spec.dtype]} dims: {_dims(spec.shape)} }}'
        for name, spec in specs.items()
    ]
    return f"{what} [\n" + ",\n".join(lines) + "\n]\n"


def _dims(dims: Sequence[int]) -> str:
    return "[ " + ", ".join(map(str, dims)) + " ]"
