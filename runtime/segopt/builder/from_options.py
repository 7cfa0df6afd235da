"""A build from plain options: texts and numbers, as a script or the command line has them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from segopt.builder import build as builder
from segopt.builder.build import Built
from segopt.builder.folder import in_folder
from segopt.builder.options import BuildOptions
from segopt.errors import UsageError


def build(
    onnx: str | os.PathLike[str],
    *,
    runtime: str | None = None,
    output: str | os.PathLike[str] | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    workspace: int | str | None = None,
    hardware_compatible: bool = False,
    version_compatible: bool = False,
    compute_capabilities: str | Iterable[str] = (),
    optimization_level: int | None = None,
    tf32: bool = False,
    verify: bool = True,
    verify_on: str | os.PathLike[str] | None = None,
    precision: str | None = None,
) -> Built:
    """Build a TensorRT plan from an ``.onnx`` file of ``segopt export``, as the command ``segopt build`` does.

    Nothing appears under the output's name before the build has succeeded and its precision was found to be the
    promised one. Messages name options as the command line does: ``--workspace`` is ``workspace``.

    >>> built = segopt.build("engines/panoptic.onnx", runtime="tensorrt-rtx")  # doctest: +SKIP
    >>> segmenter = segopt.load(built.path)  # doctest: +SKIP

    Args:
        onnx: the model file; or a model folder, which the plan is added to.
        runtime: ``tensorrt`` or ``tensorrt-rtx``; None is what is installed, and fits the GPU.
        output: the ``.plan`` file; None is the ``.onnx`` file's name, beside it.
        timing_cache: folder for kernel times, which make later builds faster.
        workspace: most scratch memory, in bytes or as text such as ``"512MiB"``; None is all of the GPU's.
        hardware_compatible: run on other GPUs of compute capability 8.0 or later too.
        version_compatible: run with later versions of TensorRT too.
        compute_capabilities: TensorRT-RTX: build for these, ``("8.6", "8.9")`` or ``"8.6,8.9"``.
        optimization_level: 0 (builds fastest) to 5; None is TensorRT's own.
        tf32: let layers of a model in FP32 round their inputs to TF32, which is faster and coarser.
        verify: where this machine has the GPU, run the plan and compare its answer with ONNX Runtime's on the
            CPU; a plan that differs is not written.
        verify_on: a picture or a folder of them to compare on; None takes synthetic ones.
        precision: of a model folder: which ONNX file to build from; None takes the folder's own.

    Returns:
        Where the plan is, its sidecar, its size in bytes, and notes.

    Raises:
        CardError: the file is missing, broken, or not one of segopt's.
        UsageError: options that the runtime does not have, or an output that is no ``.plan``.
        EngineError: no usable TensorRT or GPU; a model that does not run, parse or build; a plan that answers
            differently from its ONNX file.
        SinkError: the plan cannot be written.
    """
    options = build_options(
        runtime=runtime,
        output=output,
        timing_cache=timing_cache,
        workspace=workspace,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        compute_capabilities=compute_capabilities,
        optimization_level=optimization_level,
        tf32=tf32,
        verify=verify,
        verify_on=verify_on,
    )
    model = Path(onnx)
    if model.is_dir():
        model, options = in_folder(model, options, precision)
    return builder.build(model, options)


def build_options(
    *,
    runtime: str | None = None,
    output: str | os.PathLike[str] | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    workspace: int | str | None = None,
    hardware_compatible: bool = False,
    version_compatible: bool = False,
    compute_capabilities: str | Iterable[str] = (),
    optimization_level: int | None = None,
    tf32: bool = False,
    verify: bool = True,
    verify_on: str | os.PathLike[str] | None = None,
) -> BuildOptions:
    """Options of :func:`build` in the builder's own types.

    Raises:
        UsageError: a size or a compute capability that is none.
    """
    return BuildOptions(
        runtime=runtime,
        output=None if output is None else Path(output),
        timing_cache=None if timing_cache is None else Path(timing_cache),
        workspace=_bytes(workspace) if isinstance(workspace, str) else workspace,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        compute_capabilities=_capabilities(compute_capabilities),
        optimization_level=optimization_level,
        tf32=tf32,
        verify=verify,
        verify_on=None if verify_on is None else Path(verify_on),
    )


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})\s*(MiB|GiB)", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f"--workspace {text} is no size; give a number with MiB or GiB, such as 512MiB")
    return int(found[1]) << (20 if found[2].lower() == "mib" else 30)


def _capabilities(given: str | Iterable[str]) -> tuple[str, ...]:
    parts = (
        [part.strip() for part in given.split(",")] if isinstance(given, str) else [str(part) for part in given]
    )
    if not all(re.fullmatch(r"\d{1,2}\.\d", part) for part in parts):
        raise UsageError(f"--compute-capability {','.join(parts)} is no list of them; give such as 8.6,8.9")
    return tuple(dict.fromkeys(parts))
