"""Detectron2 checkpoints from a seed and a few recorded numbers, the same on any machine.

Weights are uniform random numbers of numpy's legacy generator, whose stream is frozen and whose doubles are exact.
What makes the network lively, a factor for each channel, biases and the norms' statistics, was measured once and
is recorded (see ``export/record_detectron2.py``).
"""

import pickle
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

RESIDUAL = 0.3
"""Gain of the last norm of a residual branch: full branches make a random network chaotic."""


def fresh_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor before anything was measured, float32."""
    random = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    if len(shape) > 1:
        # Of a deconvolution, too, which reads as many values as it has input channels.
        inputs = shape[0] if "deconv" in name else int(np.prod(shape[1:]))
        return ((2 * random - 1) * np.sqrt(6 / inputs)).astype(np.float32)
    if name.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    if name.endswith("running_var"):
        return np.ones(shape, np.float32)
    if name.endswith("norm.weight"):
        gain = RESIDUAL if "conv3" in name else 1.0
        return (gain * (0.8 + 0.4 * random)).astype(np.float32)
    return (0.4 * random - 0.2).astype(np.float32)


def lively_state(
    shapes: Mapping[str, tuple[int, ...]], recorded: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A state dict in Detectron2's own names.

    Args:
        shapes: of every tensor.
        recorded: by name float16, the tensor itself where it has one axis, else a factor for each output channel.
    """
    state = {}
    for name, shape in shapes.items():
        tensor = fresh_tensor(name, tuple(shape))
        if name in recorded:
            values = recorded[name].astype(np.float32)
            tensor = values if tensor.ndim == 1 else tensor * along_outputs(name, values, tensor.ndim)
        state[name] = tensor
    return state


def along_outputs(name: str, values, axes: int):
    """One value for each output channel, shaped to multiply a weight of so many axes."""
    return values.reshape([-1 if axis == ("deconv" in name) else 1 for axis in range(axes)])


def write_zoo_file(path: Path, state: Mapping[str, np.ndarray]) -> Path:
    """A file as Detectron2's model zoo publishes them."""
    path.write_bytes(pickle.dumps({"model": dict(state), "__author__": "Detectron2 Model Zoo"}, protocol=2))
    return path
