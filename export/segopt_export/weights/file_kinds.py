"""What a file is by its content, whatever its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segopt.errors import CardError, ExportError
from segopt.model.onnx_metadata import read_metadata

Kind = Literal["torch archive", "torch legacy", "safetensors", "pickle"]
"""``torch archive``: a zip archive, as torch.save writes since 1.6; ``torch legacy``: as it wrote before."""

_HEAD = 4096
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the legacy format: its magic number (``torch.serialization.MAGIC_NUMBER``)."""

_SAVE = "save the weights with torch.save(model.state_dict(), FILE)"
_AGAIN = "download it again, from the link to the file itself"
_PICTURE = "is a picture; give the weights file"

_NOT_WEIGHTS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs.github.com",
        "is a Git LFS pointer, not the weights; fetch them with `git lfs pull`",
    ),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"\x89HDF", f"is an HDF5 file, as Keras writes; segopt takes weights of PyTorch: {_SAVE}"),
    (b"\x93NUMPY", f"is one NumPy array; {_SAVE}"),
    (b"GGUF", f"is a GGUF file; segopt takes weights of PyTorch: {_SAVE}"),
    (b"ftrt", "is a TensorRT plan, from which no weights can be read; give the weights that it was made of"),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"RIFF", _PICTURE),
    (b"%PDF", "is a PDF document; give the weights file"),
)
"""First bytes, and what to say of such a file."""

_TEXTS: tuple[tuple[str, str], ...] = (
    ("<!doctype html", f"is a web page, not weights; {_AGAIN}"),
    ("<html", f"is a web page, not weights; {_AGAIN}"),
    ("<", f"is XML or a web page, not weights; {_AGAIN}"),
    ("{", "is JSON text, not weights; class names are given with --classes"),
    ("[", "is JSON text, not weights; class names are given with --classes"),
)


_NAMES: dict[Kind, tuple[str, frozenset[str]]] = {
    "torch archive": ("file of torch.save", frozenset({".pkl"})),
    "torch legacy": ("file of torch.save", frozenset({".pkl"})),
    "pickle": ("pickle of Python's", frozenset({".safetensors"})),
    "safetensors": ("safetensors file", frozenset({".pth", ".pt", ".pkl", ".bin", ".ckpt"})),
}
"""What people call each kind, and the endings of names that promise another."""


def note_on_name(path: Path) -> str | None:
    """What a user should know of a file whose name promises another kind than it is."""
    kind, misleading = _NAMES[kind_of(path)]
    if path.suffix.lower() not in misleading:
        return None
    return f"{path.name} is a {kind} by its content, and was read as one"


def kind_of(path: Path) -> Kind:
    """Tell the kind of a weights file from its first bytes.

    Raises:
        ExportError: the file is missing, cannot be read, is empty, or is no weights file; the message says what
            it is.
    """
    head, size = _head_of(path)
    if head.startswith(_TORCH_LEGACY):
        return "torch legacy"
    if head.startswith(b"PK\x03\x04"):
        return "torch archive"
    if _is_safetensors(head, size):
        return "safetensors"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if problem := _other_kind(path, head):
        raise ExportError(f"{path}: {problem}")
    if path.suffix.lower() == ".safetensors":
        return "safetensors"
    if path.suffix.lower() == ".pkl":
        # Python 2 wrote pickles without the bytes that later versions begin with.
        return "pickle"
    raise ExportError(
        f"{path}: is damaged or no weights file; give a .pth, .pt, .safetensors or Detectron2's .pkl file"
    )


def _head_of(path: Path) -> tuple[bytes, int]:
    try:
        if path.is_dir():
            raise ExportError(f"{path}: is a folder; name the weights file in it")
        if path.exists() and not path.is_file():
            raise ExportError(f"{path}: is no ordinary file; give a file, `default` or `random`")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise ExportError(f"{path}: no such weights file; give a file, `default` or `random`") from None
    except ValueError:
        raise ExportError(f"{str(path)!r}: is no name of a file; give a file, `default` or `random`") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from None
    if not head:
        raise ExportError(f"{path}: is empty; save or copy it again")
    return head, path.stat().st_size


def _is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes say how long the JSON is that comes next."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _other_kind(path: Path, head: bytes) -> str | None:
    for beginning, problem in _NOT_WEIGHTS:
        if head.startswith(beginning):
            return problem
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if not head.strip(b"\0"):
        return "begins with nothing but zeros, as a copy that was cut short does; copy or download it again"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:32].decode("latin1").lower()
    for start, problem in _TEXTS:
        if text.startswith(start):
            return problem
    if head.startswith(b"\x08") and _is_onnx(path):
        return "is an ONNX file, which is what export makes; give the PyTorch weights that it was made of"
    return None


def _is_onnx(path: Path) -> bool:
    try:
        read_metadata(path)
    except CardError:
        return False
    return True
