"""Writes a model repository: a front, its networks, and what to do with them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segopt.backends import open_backend
from segopt.errors import CardError, EngineError, UsageError
from segopt.files.atomic import exists_error, make_folder, sink_error
from segopt.model import sidecar
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.model.tensors import MASK_SIDE, TensorSpec, check_tensors
from segopt.thresholds import view_of
from segopt.triton.config import front_config, network_config
from segopt.triton.layout import CARD_NAME, PARAMETERS, VERSION, network_name, specs_from
from segopt.triton.readme import readme

_FRONT = '''"""What the server runs before and after the network. The server needs the package segopt."""

from segopt.triton.front import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
_BACKENDS = {".onnx": ("onnxruntime", "KIND_AUTO"), ".plan": ("tensorrt", "KIND_GPU")}


@dataclass(frozen=True)
class _Network:
    path: Path
    card: Card
    backend: str
    kind: str
    mask_side: int


def write_repository(
    engines: Sequence[Path],
    output: Path,
    *,
    options: Mapping[str, Any] | None = None,
    instances: int = 1,
    front_instances: int = 2,
) -> tuple[str, ...]:
    """Write a model repository for Triton.

    Args:
        engines: ``.onnx`` or ``.plan`` files of one network, each of another batch.
        output: folder, which must not exist; it appears whole or not at all.
        options: mode and thresholds, as :func:`segopt.load` takes them; what is left out is the model's own.
        instances: of each network.
        front_instances: processes that decode and merge.

    Returns:
        The names of its models, the front first.

    Raises:
        CardError: an engine that cannot be read.
        EngineError: one that does not load, or that Triton cannot run.
        UsageError: engines that do not belong together, or options out of range.
        SinkError: the folder exists, or cannot be written.
    """
    options = {name: value for name, value in (options or {}).items() if value is not None}
    networks = sorted(map(_open, engines), key=lambda each: each.card.batch)
    first = networks[0]
    for other in networks[1:]:
        _check_alike(first, other)
    view, _ = view_of(first.card, first.path, **options)
    names = [network_name(view, each.card.batch) for each in networks]
    if len(set(names)) < len(names):
        raise UsageError(f"{first.path}: two engines of batch {first.card.batch}; give one of each batch")
    if os.path.lexists(output):
        raise exists_error(output)
    parameters = {
        "networks": " ".join(f"{name}:{each.card.batch}" for name, each in zip(names, networks, strict=True)),
        "mask_side": str(first.mask_side),
        **{name: str(options.get(name, "")) for name in PARAMETERS},
    }
    with _appearing(output) as folder:
        version = folder / view / VERSION
        version.mkdir(parents=True)
        (version / "model.py").write_text(_FRONT, encoding="utf-8")
        (version / CARD_NAME).write_text(first.card.to_json(), encoding="utf-8")
        largest = networks[-1].card.batch
        config = front_config(view, view, largest, front_instances, parameters)
        (folder / view / "config.pbtxt").write_text(config, encoding="utf-8")
        for name, network in zip(names, networks, strict=True):
            version = folder / name / VERSION
            version.mkdir(parents=True)
            shutil.copyfile(network.path, version / f"model{network.path.suffix}")
            if network.path.suffix == ".plan":
                shutil.copyfile(sidecar.sidecar_path(network.path), version / "model.plan.json")
            config = network_config(
                name, network.backend, network.kind, instances, *specs_from(network.card, network.mask_side)
            )
            (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
        (folder / "README.md").write_text(readme(view, names, first.card), encoding="utf-8")
    return (view, *names)


def _open(path: Path) -> _Network:
    card = read_card(path)
    if path.suffix not in _BACKENDS:
        raise UsageError(f"{path}: Triton takes .onnx and .plan files; give one of those")
    backend, kind = _BACKENDS[path.suffix]
    side = MASK_SIDE
    if path.suffix == ".onnx":
        with contextlib.closing(open_backend(path, "cpu")) as opened:
            found: dict[str, TensorSpec] = {**opened.inputs, **opened.outputs}
            check_tensors(card, found, path)
        side = found["masks"].shape[-1] if "masks" in found else side
    else:
        record, _ = sidecar.read_plan(path)
        if record.plan.runtime != "tensorrt":
            raise EngineError(
                f"{path}: is a plan of {record.plan.runtime}, and Triton runs those of tensorrt alone; build one "
                "with --runtime tensorrt of the container's version, or give the ONNX file"
            )
    return _Network(path, card, backend, kind, side)


def _check_alike(one: _Network, other: _Network) -> None:
    """Two networks of one front differ in batch and precision alone."""
    for what in ("mode", "canvas", "categories", "weights", "merge", "stuff_classes", "max_detections"):
        if getattr(one.card, what) != getattr(other.card, what):
            raise UsageError(
                f"{other.path}: has another {what.replace('_', ' ')} than {one.path}; the engines of a repository "
                "are one network, exported with several --batch"
            )
    if one.mask_side != other.mask_side:
        raise CardError(f"{other.path}: has masks of another side than {one.path}; export both alike")


@contextlib.contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """A folder beside ``output`` that becomes it at the end, or goes."""
    make_folder(output.absolute().parent)
    hidden = output.absolute().with_name(f".{output.absolute().name}.{os.urandom(8).hex()}.tmp")
    try:
        hidden.mkdir()
        yield hidden
        hidden.rename(output)
    except OSError as error:
        raise sink_error(output, error) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
