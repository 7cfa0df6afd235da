"""Opens pickles that hold numpy arrays, without ever running code from them."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from segopt.errors import ExportError


def read_array_pickle(path: Path) -> object:
    """What a pickle of plain values and numpy arrays holds, as Detectron2's model zoo publishes its weights.

    Raises:
        ExportError: the file is damaged, or holds anything else; none of it was run.
    """
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file).load()
    except _ForbiddenError as error:
        raise ExportError(
            f"{path}: is a pickle that holds more than arrays ({error}) and was not opened, since that would run "
            "its code; get it from who published it, or save the weights alone with torch.save"
        ) from None
    except Exception as error:
        # A pickle is a program: a damaged one can fail in any way.
        raise ExportError(
            f"{path}: is damaged or no pickle ({type(error).__name__}); delete it and get it again"
        ) from None


class _ForbiddenError(pickle.UnpicklingError):
    pass


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the few names that arrays need; numpy's are those of its versions 1 and 2."""

    def __init__(self, file: IO[bytes]) -> None:
        # Detectron2's files of 2019 and before were written by Python 2, too.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module.replace("numpy.core", "numpy._core"), name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        raise _ForbiddenError("a reference to another file")


def _latin1(text: str, encoding: str) -> bytes:
    """``codecs.encode`` as pickles of bytes use it; others would look for a codec by name."""
    if encoding != "latin1":
        raise _ForbiddenError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(1).__reduce__()[0],
    ("numpy._core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    ("numpy._core.multiarray", "scalar"): np.float32(1).__reduce__()[0],
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
