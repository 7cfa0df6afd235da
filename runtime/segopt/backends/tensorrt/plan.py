"""Opening a plan: all that a line of text can fix is checked before TensorRT sees a byte of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.cuda import on_device, require_gpu
from segopt.driver import Gpu
from segopt.errors import EngineError, PlanWarning
from segopt.model.sidecar import PlanRecord, read_plan
from segopt.model.tensors import TensorSpec
from segopt.tensorrt.flavor import Flavor, find_flavor
from segopt.tensorrt.messages import MessageLog, message_log, start
from segopt.tensorrt.tensors import tensor_spec
from segopt.version import version_numbers

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class OpenPlan:
    """A plan that is loaded."""

    path: Path
    flavor: Flavor
    device: int
    """CUDA's number of the GPU."""
    gpu: Gpu
    engine: trt.ICudaEngine
    log: MessageLog
    """What TensorRT says. Engines share it, so that with several threads it may name another one's trouble."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def open_plan(path: Path, device: int) -> OpenPlan:
    """Load a plan that fits a GPU of this machine.

    Args:
        path: of the plan.
        device: CUDA's number of the GPU.

    Raises:
        CardError: the plan or its sidecar is missing or damaged, or they do not belong together.
        EngineError: no GPU, no TensorRT, or others than the plan was built for; the message has the command that
            builds it again.
    """
    sidecar, data = read_plan(path)
    gpu = _gpu_for(sidecar.plan, path, device)
    flavor = _flavor_of(sidecar.plan, path)
    _check_machine(sidecar.plan, flavor, gpu, path)
    log, _ = message_log(flavor)
    with on_device(device):
        runtime = start(flavor, flavor.module.Runtime, model=path)
        if sidecar.plan.version_compatible:
            # The lean runtime that such a plan carries is code for the host.
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        command = sidecar.plan.rebuild_command(path)
        raise EngineError(f"{path}: {flavor} cannot load it ({log.reason()}); build it again: {command}")
    modes = flavor.module.TensorIOMode
    return OpenPlan(
        path,
        flavor,
        device,
        gpu,
        engine,
        log,
        inputs=_specs(flavor, engine, modes.INPUT, path),
        outputs=_specs(flavor, engine, modes.OUTPUT, path),
    )


def _gpu_for(record: PlanRecord, path: Path, device: int) -> Gpu:
    try:
        return require_gpu(device)
    except EngineError as error:
        raise EngineError(f"{path}: {error}; without a GPU run {record.model}") from error


def _flavor_of(record: PlanRecord, path: Path) -> Flavor:
    try:
        return find_flavor(record.runtime)
    except EngineError as error:
        raise EngineError(f"{path}: is a plan for {record.runtime} {record.version}, and {error}") from error


def _check_machine(record: PlanRecord, flavor: Flavor, gpu: Gpu, path: Path) -> None:
    command = record.rebuild_command(path)
    against = why_not_here(record, flavor.traits.title, flavor.version, gpu)
    if against is not None:
        raise EngineError(f"{path}: {against}; build it again here: {command}")
    if record.gpu not in ("", gpu.model) and not record.hardware_compatible:
        warnings.warn(
            f"{path}: was built on {record.gpu} and this machine has {gpu.model}, of the same compute capability "
            f"{gpu.compute_capability}: it may be slow or need more memory than there is; build it again here: "
            f"{command}",
            PlanWarning,
            stacklevel=2,
        )


def why_not_here(record: PlanRecord, title: str, version: str, gpu: Gpu) -> str | None:
    """Why a plan does not run with this TensorRT and GPU; None where it does.

    Args:
        record: of the plan.
        title: of its TensorRT, for people.
        version: of the one that is installed.
        gpu: that is here.
    """
    if not _loads(record, version):
        return f"was built with {title} {record.version} and this machine has {version}"
    if not record.runs_on(gpu.compute_capability):
        built_for = record.gpu or "GPUs"
        capabilities = ", ".join(record.compute_capabilities) or "8.0 and later"
        return (
            f"was built for {built_for} (compute capability {capabilities}) and this machine has "
            f"{gpu.name} ({gpu.compute_capability})"
        )
    return None


def _loads(record: PlanRecord, version: str) -> bool:
    """A plan is for one version of TensorRT; a version-compatible one for later ones, too."""
    built, here = version_numbers(record.version), version_numbers(version)
    return here >= built if record.version_compatible else here == built


def _specs(flavor: Flavor, engine: trt.ICudaEngine, mode: trt.TensorIOMode, path: Path) -> dict[str, TensorSpec]:
    names: Callable[[int], str] = engine.get_tensor_name
    return {
        name: tensor_spec(
            flavor,
            name,
            engine.get_tensor_dtype(name),
            engine.get_tensor_shape(name),
            model=path,
            fix="build the plan from a file that `segopt export` made",
        )
        for name in map(names, range(engine.num_io_tensors))
        if engine.get_tensor_mode(name) == mode
    }
