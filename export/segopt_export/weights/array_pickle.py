"""Opens pickles that hold numpy arrays, without ever running code from them."""

from __future__ import annotations

import collections
import math
import mmap
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.errors import ExportError
from segopt_export.weights.pickle_scan import ForbiddenError, HostileError, scan


def read_array_pickle(path: Path) -> object:
    """What a pickle of plain values and numpy arrays holds, as Detectron2's model zoo publishes its weights.

    Arrays, of integers and floating-point numbers alone, come as :class:`PickledArray`.

    Raises:
        ExportError: the file is damaged, or holds anything else; none of it was run.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            scan(data)  # type: ignore[arg-type]
            data.seek(0)
            return _ArrayUnpickler(data, len(data)).load()
    except ForbiddenError as error:
        raise ExportError(
            f"{path}: is a pickle that holds more than arrays ({error}) and was not opened, since that would run "
            "its code; save the weights alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except HostileError as error:
        raise ExportError(
            f"{path}: {error}, as no file of Detectron2 does, and was not opened; get it from who published it"
        ) from None
    except Exception as error:
        # A pickle is a program: a damaged one can fail in any way.
        raise ExportError(
            f"{path}: is damaged or no pickle ({type(error).__name__}); delete it and get it again"
        ) from None


class PickledArray:
    """A numpy array on its way out of a pickle: nothing but bytes that were counted."""

    __slots__ = ("_budget", "values")

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self.values: NDArray[np.generic] | None = None
        """None for a pickle that begins an array and does not end it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if isinstance(data, str):
            # Python 2 had one type for text and bytes.
            data = self._budget.encode(data, "latin1")
        self.fill(data, dtype, shape, "F" if is_fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> None:
        """Lay numbers over bytes."""
        if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes | bytearray):
            raise ValueError("no numbers")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("no shape")
        if math.prod(shape) * dtype.numpy.itemsize != len(data) or order not in ("C", "F"):
            raise ValueError("another size")
        # Arrays may share their bytes in a pickle, and would not in memory.
        self._budget.take(len(data))
        self.values = np.frombuffer(data, dtype.numpy).reshape(shape, order=order)


class PickledDtype:
    """A type of numbers: integers or floating point."""

    __slots__ = ("numpy",)

    def __init__(self, text: Any, *_: Any) -> None:
        # Only texts of these kinds: a dtype can also be of objects, of fields, or as long as one likes.
        if not isinstance(text, str) or text not in _DTYPES:
            raise ForbiddenError(f"numpy arrays of {str(text)[:20]!r}")
        self.numpy = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("no byte order")
        self.numpy = self.numpy.newbyteorder(state[1])


_DTYPES = frozenset({"b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"})


class _Budget:
    """No more bytes than the file has: what takes more was not in it.

    Those of an array may be counted twice, as a text and as the array.
    """

    def __init__(self, size: int) -> None:
        self.left = 2 * size

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise HostileError("holds arrays that are larger than the file itself")

    def encode(self, text: Any, encoding: Any) -> bytes:
        """``codecs.encode`` as pickles of bytes use it; others would look for a codec by name."""
        if encoding != "latin1" or not isinstance(text, str):
            raise ForbiddenError(f"_codecs.encode to {str(encoding)[:20]}")
        self.take(len(text))
        return text.encode("latin1")


class _Callable:
    """A function that a pickle can call and not change: plain functions take new attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("no state")


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the few names that arrays need; numpy's are those of its versions 1 and 2."""

    def __init__(self, file: Any, size: int) -> None:
        # Detectron2's files of 2019 and before were written by Python 2, too.
        super().__init__(file, encoding="latin1")
        budget = _Budget(size)
        array = _Callable(lambda *_: PickledArray(budget))
        self._allowed: dict[tuple[str, str], Any] = {
            # It only ever stands as an argument: a pickle that calls it would choose where its memory is.
            ("numpy", "ndarray"): "ndarray",
            ("numpy", "dtype"): _Callable(PickledDtype),
            ("numpy._core.multiarray", "_reconstruct"): array,
            ("numpy._core.numeric", "_frombuffer"): _Callable(lambda *state: _from_buffer(budget, *state)),
            ("numpy._core.multiarray", "scalar"): _Callable(_scalar),
            ("_codecs", "encode"): _Callable(budget.encode),
            ("collections", "OrderedDict"): _Callable(_ordered),
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module.replace("numpy.core", "numpy._core"), name]
        except KeyError:
            raise ForbiddenError(f"{module}.{name}"[:120]) from None

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        raise ForbiddenError("a reference to another file")


def _from_buffer(budget: _Budget, data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    """An array of pickle protocol 5."""
    array = PickledArray(budget)
    array.fill(data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any) -> float:
    """One number beside the weights."""
    if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes) or len(data) != dtype.numpy.itemsize:
        raise ValueError("no number")
    return float(np.frombuffer(data, dtype.numpy)[0])


def _ordered(items: Any = ()) -> collections.OrderedDict[Any, Any]:
    """Python 2 wrote the items as a list of lists."""
    return collections.OrderedDict((name, value) for name, value in items)
