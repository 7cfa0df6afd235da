"""Opens what torch.save wrote, without running code from it and without believing the sizes that it claims."""

from __future__ import annotations

import argparse
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segopt.errors import ExportError
from segopt_export.weights.pickle_scan import ForbiddenError, HostileError, scan
from segopt_export.weights.training_log import HISTORY, NAMES, stand_ins

MAX_PICKLE = 32 << 20
"""Bytes of a checkpoint's names and shapes; those of a detector with its optimizer are 0.3 MB."""
_MAX_ENTRIES = 100_000

_ALLOWED = frozenset(
    {
        "argparse.Namespace",
        "collections.OrderedDict",
        "collections.Counter",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.nn.parameter.Parameter",
        "_codecs.encode",
        "numpy.dtype",
        "builtins.set",
        "__builtin__.set",
        *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
        *(f"torch.{name}" for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
        *(
            f"torch.{kind}Storage"
            for kind in ("Half", "BFloat16", "Float", "Double", "Byte", "Char", "Short", "Int", "Long", "Bool")
        ),
    }
)
"""PyTorch's weights-only unpickler allows more, some of which takes any amount of memory: ``bytearray``."""

_FORMS = {
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without numbers (on the meta device)",
    "torch.distributed.tensor.DTensor": "tensors spread over several GPUs",
    "torch.distributed._shard.sharded_tensor.api.ShardedTensor": "tensors spread over several GPUs",
}
"""What some names mean, for messages."""

_SAVE = "save the weights alone: torch.save(model.state_dict(), FILE)"


def read_torch_archive(path: Path) -> object:
    """What torch.save of PyTorch 1.6 and later wrote; its tensors are views of the file.

    Raises:
        ExportError: the file is damaged, was made by others, or holds more than tensors and plain values.
    """
    try:
        return _load(path, mmap=True, logged=_check_archive(path))
    except Exception as error:
        raise _refusal(path, error) from None


def read_torch_legacy(path: Path) -> object:
    """What torch.save of PyTorch before 1.6 wrote: five pickles, then the numbers.

    Raises:
        ExportError: see :func:`read_torch_archive`.
    """
    try:
        with path.open("rb") as file:
            for _ in ("magic number", "protocol", "machine", "content", "keys"):
                scan(file, _is_allowed)
                if file.tell() > MAX_PICKLE:
                    raise HostileError(f"has more than {MAX_PICKLE >> 20} MiB of names and shapes")
        return _load(path, mmap=False)
    except Exception as error:
        raise _refusal(path, error) from None


def _check_archive(path: Path) -> bool:
    """Hold the archive's table of contents, and its pickle, against what torch.save writes.

    Returns whether mmengine's log of a training is in it.

    A compressed pickle of 3 MB can become 3 GB.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith("constants.pkl") for name in names):
            raise ExportError(
                f"{path}: is a TorchScript archive; save the weights: torch.save(model.state_dict(), FILE)"
            )
        pickles = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ExportError(f"{path}: is a zip archive{_archive_of(names)}, not weights; {_SAVE}")
        if len(entries) > _MAX_ENTRIES:
            raise HostileError(f"has more than {_MAX_ENTRIES:,} parts")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise HostileError("is compressed inside")
        if sum(entry.file_size for entry in entries) > size:
            raise HostileError("has parts that lie over each other")
        if pickles[0].file_size > MAX_PICKLE:
            raise HostileError(f"has more than {MAX_PICKLE >> 20} MiB of names and shapes")
        data = archive.read(pickles[0])
        logged = HISTORY.rpartition(".")[0].encode() in data
        scan(io.BytesIO(data), lambda name: _is_allowed(name) or (logged and name in NAMES))
    return logged


def _archive_of(names: list[str]) -> str:
    if any(name.endswith(".npy") for name in names):
        return " of NumPy arrays"
    if any(name.startswith("model.weights") or name == "config.json" for name in names):
        return " of Keras"
    return ""


def _is_allowed(name: str) -> bool:
    return name in _ALLOWED


def _load(path: Path, *, mmap: bool, logged: bool = False) -> object:
    if path.suffix.lower() == ".safetensors":
        # torch.load goes by this name.
        raise ExportError(f"{path}: is a file of torch.save by its content; rename it to {path.stem}.pth")
    # torchvision's reference scripts save their command line's argparse.Namespace beside the weights; it is a
    # plain holder of values. Best figures are often numbers of numpy.
    known = [*_extra_globals(), *(stand_ins() if logged else ())]
    with warnings.catch_warnings(), torch.serialization.safe_globals(known):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _extra_globals() -> list[Any]:
    return [
        argparse.Namespace,
        _Dtype,
        (_Dtype, "numpy.dtype"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_scalar, "numpy.core.multiarray.scalar"),
    ]


class _Dtype:
    """A numpy dtype of which nothing is used but its size."""

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or text not in {"b1", "i4", "i8", "u1", "f2", "f4", "f8"}:
            raise ForbiddenError(f"numpy arrays of {str(text)[:20]!r}")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise ValueError("no byte order of this machine")


def _scalar(dtype: Any, data: Any) -> float:
    """One number of numpy."""
    values = np.frombuffer(bytes(data, "latin1") if isinstance(data, str) else bytes(data), np.dtype(dtype.text))
    if len(values) != 1:
        raise ValueError("no number")
    return float(values[0])


def _refusal(path: Path, error: Exception) -> ExportError:
    """The one line for a file that was not read."""
    if isinstance(error, ExportError):
        return error
    if isinstance(error, ForbiddenError):
        return _holds_more(path, str(error))
    if isinstance(error, HostileError):
        return ExportError(f"{path}: {error}, as no file of torch.save is, and was not opened; {_SAVE}")
    if isinstance(error, pickle.UnpicklingError):
        _, found, rest = str(error).partition("GLOBAL ")
        if found and rest:
            return _holds_more(path, rest.split()[0])
        if "Unsupported operand" in str(error):
            return ExportError(f"{path}: was saved with another pickle protocol than torch.save's own; {_SAVE}")
    return ExportError(
        f"{path}: is damaged or was cut short ({type(error).__name__}); save, copy or download it again"
    )


def _holds_more(path: Path, name: str) -> ExportError:
    if name in _FORMS:
        return ExportError(f"{path}: holds {_FORMS[name]}, which no network here takes; {_SAVE}")
    return ExportError(
        f"{path}: is a pickle that holds more than tensors ({name[:120]}) and was not opened, since that would "
        f"run its code; {_SAVE}"
    )
