"""Reads weights files of any kind, without ever running code from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt_export.weights.array_pickle import PickledArray, read_array_pickle
from segopt_export.weights.file_kinds import Kind, kind_of
from segopt_export.weights.torch_file import read_torch_archive, read_torch_legacy

MAX_LEVELS = 8
"""Mappings in mappings, in a checkpoint."""

Groups = dict[str, dict[str, Tensor]]
"""The tensors of a file, by the key of the mapping that they are in: ``""`` at the top, ``model`` or
``state_dict.net`` below. Names within a group are as the mapping has them."""


def read_groups(path: Path) -> Groups:
    """The tensors in a ``.pth``, ``.pt`` or ``.safetensors`` file, or in Detectron2's ``.pkl``.

    What a file is goes by its content: a name that says otherwise does no harm.

    Raises:
        ExportError: the file is missing, empty, damaged, holds code, or holds no tensors; the message says what it
            is.
    """
    content = read_content(path)
    if isinstance(content, Tensor):
        raise ExportError(f"{path}: holds one tensor and no names; save the weights: {_SAVE}")
    groups = dict(_groups_in(content))
    if not groups:
        raise ExportError(f"{path}: holds no weights{_found(content)}; save them: {_SAVE}")
    return groups


_SAVE = "torch.save(model.state_dict(), FILE)"


def read_content(path: Path) -> object:
    """All that a weights file holds, beside the tensors too.

    Raises:
        ExportError: the file is missing, empty, damaged or holds code.
    """
    return _READERS[kind_of(path)](path)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, ValueError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ExportError(f"{path}: is no safetensors file or is damaged ({reason}); save it again") from None


def _read_arrays(path: Path) -> object:
    """A ``.pkl`` of Detectron2's model zoo: numpy arrays under ``model``."""
    content = read_array_pickle(path)
    if isinstance(content, Mapping) and "blobs" in content:
        raise ExportError(f"{path}: is a file of Detectron or Caffe2, not of Detectron2; its names are others")
    return content


_READERS: dict[Kind, Callable[[Path], object]] = {
    "torch archive": read_torch_archive,
    "torch legacy": read_torch_legacy,
    "safetensors": _read_safetensors,
    "pickle": _read_arrays,
}


def _groups_in(content: object) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping or list that has tensors in it, from the top down."""
    waiting: deque[tuple[tuple[str, ...], object]] = deque([((), content)])
    seen: set[int] = set()
    while waiting:
        keys, holder = waiting.popleft()
        # A pickle may hold the same mapping in many places, or in itself.
        if id(holder) in seen or len(keys) > MAX_LEVELS:
            continue
        seen.add(id(holder))
        tensors = {}
        for name, value in _entries(holder):
            if (tensor := _tensor(value)) is not None:
                tensors[str(name)] = tensor
            elif isinstance(value, Mapping | list | tuple):
                waiting.append(((*keys, str(name)), value))
        if tensors:
            yield ".".join(keys), tensors


def _entries(holder: object) -> Iterator[tuple[object, object]]:
    if isinstance(holder, Mapping):
        yield from holder.items()
    elif isinstance(holder, list | tuple):
        yield from enumerate(holder)


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, PickledArray) and value.values is not None:
        native = value.values.astype(value.values.dtype.newbyteorder("="))
        if native.dtype.kind == "u" and native.dtype.itemsize > 1:
            native = native.astype(np.int64)
        return torch.from_numpy(native)
    return None


def _found(content: object) -> str:
    """What a file without tensors has instead, for messages."""
    if not isinstance(content, Mapping) or not content:
        return ""
    names = [str(name)[:40] for name in content]
    return f" (only {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
