"""A build that adds a plan to a model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segopt.builder.options import BuildOptions
from segopt.driver import find_gpu
from segopt.errors import UsageError
from segopt.model_folder import default_precision, plan_name, read_folder
from segopt.tensorrt.flavor import find_flavor


def in_folder(folder: Path, options: BuildOptions, precision: str | None = None) -> tuple[Path, BuildOptions]:
    """The ONNX file of a model folder to build from, and the options with the plan's place in the folder.

    Of several ONNX files of the precision, one that was made fast for TensorRT is taken.

    Args:
        folder: with the files.
        options: of the build; an output of its own is kept.
        precision: of the ONNX file; None takes the folder's own.

    Raises:
        CardError: it is no model folder, as :func:`segopt.model_folder.read_folder` has it.
        EngineError: no usable TensorRT.
        UsageError: no ONNX file of that precision, or none told where there are several.
    """
    candidates = read_folder(folder)
    wanted = precision or default_precision(folder, candidates)
    fitting = [each for each in candidates if each.plan is None and each.card.precision == wanted]
    if not fitting:
        raise UsageError(
            f"{folder}: has no {wanted} ONNX file to build from; export one with --precision {wanted}"
        )
    onnx = min(fitting, key=lambda each: (each.card.target != "tensorrt", each.path.name)).path
    if options.output is not None:
        return onnx, options
    flavor = find_flavor(options.runtime)
    gpu = find_gpu() if flavor.traits.needs_gpu_to_build else None
    return onnx, replace(options, output=folder / plan_name(onnx, flavor.name, flavor.version, gpu))
