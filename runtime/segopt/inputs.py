"""What users hand to a segmenter (arrays, paths, PIL images, tensors, iterables of them) as frames.

Other libraries are told by the name of their module, so that none is imported for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from segopt.errors import UsageError
from segopt.frame import Frame, check_frame

if TYPE_CHECKING:

    class SupportsArray(Protocol):
        """An array of another library: a tensor."""

        def __array__(self) -> Any: ...

    class SupportsArrayInterface(Protocol):
        """A PIL image."""

        @property
        def __array_interface__(self) -> Any: ...

    Picture = Frame | str | os.PathLike[str] | SupportsArray | SupportsArrayInterface
    """What is one frame: an array or tensor uint8 BGR [h, w, 3], a PIL image, or the path of a picture."""

_PIL_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Those that PIL turns into RGB without a loss of range; of 16 bits it cuts off all above 255."""


def as_frame(picture: Picture) -> Frame:
    """One frame, uint8 BGR [h, w, 3], of what stands for one.

    An array, or an array of another library such as a torch tensor, must be a frame already. A picture's path is
    read as :func:`segopt.sources.pictures.read_picture` says. A PIL image is taken as its pixels are: alpha is
    dropped, and an EXIF orientation that was not applied stays so.

    Raises:
        ValueError: it is no frame; the message says what to pass.
        SourceError: the file cannot be read.
        UsageError: the path of something else than a picture.
    """
    if isinstance(picture, (str, os.PathLike)):
        return _read(os.fspath(picture))
    array = _as_array(picture)
    if array is None:
        raise ValueError(f"{_TAKEN}; this is {type(picture).__name__}{_advice(picture)}")
    check_frame(array)
    return array


def frames_of(given: Picture | Iterable[Picture]) -> tuple[Iterator[Frame], bool]:
    """The frames of all that a segmenter takes, one by one, and whether there can be several.

    Besides what :func:`as_frame` takes: a batch uint8 BGR [B, h, w, 3], and any iterable of such pictures. An
    iterable is read as the frames are.

    Raises:
        ValueError: it is none of these; the message says what to pass. While iterating, what ``as_frame`` raises.
    """
    array = None if isinstance(given, (str, os.PathLike)) else _as_array(given)
    if array is not None and array.ndim == 4 and array.shape[3] == 3:
        return iter(array), True
    if array is not None:
        return iter([as_frame(array)]), False
    if isinstance(given, (str, os.PathLike)):
        return iter([as_frame(given)]), False
    if isinstance(given, Iterable) and not isinstance(given, (Mapping, bytes, bytearray)):
        return map(as_frame, given), True
    raise ValueError(f"{_TAKEN}; this is {type(given).__name__}{_advice(given)}")


_TAKEN = (
    "a segmenter takes a frame (uint8 BGR [h, w, 3]), a batch [B, h, w, 3], a picture's path, a PIL image, or an "
    "iterable of those"
)


def _advice(given: object) -> str:
    if given is None:
        return ", which cv2.imread returns for a file that it cannot read; pass the path"
    if isinstance(given, (bytes, bytearray)):
        return "; decode it with cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)"
    if isinstance(given, int):
        return "; for a camera use segopt.stream(segmenter, index)"
    if isinstance(given, Mapping):
        return "; pass its values"
    return ""


def _as_array(given: object) -> np.ndarray | None:
    """The array that something is or holds; None where it holds none."""
    if isinstance(given, np.ndarray):
        return given
    libraries = {cls.__module__.partition(".")[0] for cls in type(given).__mro__}
    if "PIL" in libraries and hasattr(given, "convert"):
        return _of_pil(given)
    if "torch" in libraries and hasattr(given, "detach"):
        return _of_torch(given)
    if not hasattr(given, "__array__"):
        return None
    try:
        return np.asarray(given)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{type(given).__name__}: is no array in the host's memory ({reason})") from None


def _of_pil(image: Any) -> Frame:
    if image.mode not in _PIL_MODES:
        raise ValueError(
            f"a PIL image of mode {image.mode!r} has no plain colors; scale it to 0..255 and pass "
            "image.convert('RGB')"
        )
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


def _of_torch(tensor: Any) -> Frame:
    shape = tuple(tensor.shape)
    channels_first = len(shape) in (3, 4) and shape[-1] != 3 and shape[-3] == 3
    if channels_first or str(tensor.dtype) != "torch.uint8":
        order = "1, 2, 0" if len(shape) == 3 else "0, 2, 3, 1"
        turn = f".permute({order}).flip(-1)" if channels_first else ""
        scale = "" if str(tensor.dtype) == "torch.uint8" else ".mul(255).round().byte()"
        raise ValueError(
            f"a tensor is taken as a frame is: uint8 BGR [h, w, 3] or [B, h, w, 3]; this is {tensor.dtype} "
            f"{shape}; for RGB{' of 0 to 1' if scale else ''} pass tensor{scale}{turn or '.flip(-1)'}"
        )
    array: Frame = tensor.detach().cpu().numpy()
    return array


def _read(name: str) -> Frame:
    from segopt.sources.opening import VIDEO_SUFFIXES
    from segopt.sources.pictures import read_picture

    path = Path(name).expanduser()
    if "://" in name or path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES:
        raise UsageError(
            f"{name}: is not one picture; for the frames of a folder, video or stream use "
            f"segopt.stream(segmenter, {name!r})"
        )
    return read_picture(path)
