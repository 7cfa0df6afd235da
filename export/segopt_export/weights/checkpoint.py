"""Reads weights files: state dicts of PyTorch and safetensors, without ever running code from them."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt_export.weights.array_pickle import read_array_pickle
from segopt_export.weights.training_log import stand_ins

_NESTS = ("model", "state_dict", "model_state_dict", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.pth``, ``.pt`` or ``.safetensors`` file, or in Detectron2's ``.pkl``.

    Checkpoints of torchvision's reference scripts, which hold it under ``model``, and the prefixes that
    DataParallel, ``torch.compile`` and Lightning put before the names are understood.

    Raises:
        ExportError: the file is missing, empty, damaged, holds code, or holds no state dict.
    """
    state = _unwrap(read_content(path))
    if not state:
        raise ExportError(
            f"{path}: holds no state dict; save the weights with torch.save(model.state_dict(), FILE)"
        )
    return _without_prefix(state)


def read_content(path: Path) -> object:
    """All that a weights file holds, beside the tensors too.

    Raises:
        ExportError: the file is missing, empty, damaged or holds code.
    """
    _check_readable(path)
    return _READERS.get(path.suffix.lower(), _read_pickle)(path)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)
        )


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise ExportError(f"{path}: is a folder; name the weights file in it")
        with path.open("rb") as file:
            if not file.read(1):
                raise ExportError(f"{path}: is empty; save or copy it again")
    except FileNotFoundError:
        raise ExportError(f"{path}: no such weights file; give a file, `default` or `random`") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ExportError(f"{path}: is no safetensors file or is damaged ({error}); save it again") from None


def _read_pickle(path: Path) -> object:
    try:
        # torchvision's reference scripts save their command line's argparse.Namespace beside the weights; it is
        # a plain holder of values.
        known: list[Any] = [argparse.Namespace, *stand_ins(_unknown_names(path))]
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "weights_only" in str(error):
            raise ExportError(
                f"{path}: is a pickle that holds more than tensors ({_refused(error)}) and was not opened, since "
                "that would run its code; save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from None
        raise ExportError(
            f"{path}: is no weights file of PyTorch; give a .pth, .pt or .safetensors file"
        ) from None
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise ExportError(
                f"{path}: is a TorchScript archive; save the weights: torch.save(model.state_dict(), FILE)"
            ) from None
        raise ExportError(f"{path}: is damaged or no weights file of PyTorch; save or copy it again") from None
    except (EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError, AssertionError):
        raise ExportError(f"{path}: is damaged or no weights file of PyTorch; save or copy it again") from None


def _unknown_names(path: Path) -> list[str]:
    """What weights-only loading would refuse in a file; none where it is no archive of PyTorch's."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        return []


def _read_arrays(path: Path) -> object:
    """A ``.pkl`` of Detectron2's model zoo: numpy arrays under ``model``."""
    content = read_array_pickle(path)
    if isinstance(content, Mapping) and "blobs" in content:
        raise ExportError(f"{path}: is a file of Detectron or Caffe2, not of Detectron2; its names are others")
    arrays = content.get("model", content) if isinstance(content, Mapping) else {}
    if not isinstance(arrays, Mapping):
        return {}
    return {
        name: torch.from_numpy(array.copy())
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "fi"
    }


_READERS: dict[str, Callable[[Path], object]] = {".safetensors": _read_safetensors, ".pkl": _read_arrays}


def _refused(error: Exception) -> str:
    """The name that weights_only loading stopped at."""
    _, found, rest = str(error).partition("GLOBAL ")
    return rest.split()[0] if found and rest else "code"


def _unwrap(content: object) -> dict[str, Tensor]:
    """The first mapping of names to tensors, at the top or under one of the usual keys."""
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    for nest in _NESTS:
        if nest in content and (tensors := _unwrap(content[nest])):
            return tensors
    return {}


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state
