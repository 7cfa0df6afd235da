"""From an ONNX file to a plan and its sidecar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.builder import precision, timing_cache
from segopt.builder.network import ParsedNetwork, has_grid_sample, parse, tensor_specs
from segopt.builder.options import BuildOptions
from segopt.builder.progress import Cancel, Display, NoDisplay, progress_monitor
from segopt.builder.trial import try_run
from segopt.builder.verification import verify
from segopt.driver import Gpu, find_gpu, why_no_gpu
from segopt.errors import EngineError, SinkError, UsageError
from segopt.files.atomic import check_writable
from segopt.model import sidecar
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.model.sidecar import PlanRecord, Sidecar
from segopt.model.tensors import check_tensors
from segopt.tensorrt.flavor import Flavor, find_flavor, grid_sample_is_wrong
from segopt.tensorrt.messages import fix_for, message_log
from segopt.version import __version__

if TYPE_CHECKING:
    import tensorrt as trt


_MADE_FOR_CPU = (
    "this file was made fast for the CPU; `segopt export --target tensorrt` makes one that is meant for a GPU and "
    "builds sooner"
)

_GRID_SAMPLE = (
    "{} is reported to compute GridSample wrongly, which this file's RoIAlign is made of; if the plan's answer is "
    "found to differ, export the file with --roi-align gather"
)


@dataclass(frozen=True)
class Built:
    """What was made."""

    path: Path
    sidecar: Sidecar
    size: int
    """Of the plan, in bytes."""
    runs_here: bool
    """This machine has a GPU that it was built for."""
    notes: list[str]
    """What a user should know."""


Step = Callable[[str], AbstractContextManager[object]]
"""Called with a step's description; entered while the step runs."""
Phases = Callable[[str], AbstractContextManager[Display]]
"""As :data:`Step`, for the build itself: it gives what shows TensorRT's phases."""


@dataclass(frozen=True)
class _Job:
    """One build: of what, with what, and what to tell of it."""

    model: Path
    card: Card
    flavor: Flavor
    gpu: Gpu | None
    options: BuildOptions
    notes: list[str]


def build(
    model: Path,
    options: BuildOptions | None = None,
    *,
    step: Step = lambda _: nullcontext(),
    phases: Phases = lambda _: nullcontext(NoDisplay()),
) -> Built:
    """Build a plan from a model that ``segopt export`` made, always strongly typed.

    Nothing appears under the output's name before the build has succeeded and its precision was found to be the
    card's.

    Args:
        model: the ONNX file.
        options: what differs from the defaults.
        step: shows the steps before the build.
        phases: shows the build.

    Raises:
        CardError: the file is missing, broken, or not one of segopt's.
        UsageError: options that the flavor does not have, or an output that is no ``.plan``.
        EngineError: no usable TensorRT or GPU; a model that does not run, parse or build; a precision that is not
            the promised one; a plan that answers differently from its ONNX file.
        SinkError: the plan cannot be written.
        KeyboardInterrupt: Ctrl-C.
    """
    options = options or BuildOptions()
    if model.suffix == ".plan":
        raise UsageError(f"{model}: is a plan; give the ONNX file to build one from")
    card = read_card(model)
    path = _output(model, options)
    flavor = find_flavor(options.runtime)
    gpu = _gpu(flavor)
    job = _Job(model, card, flavor, gpu, options, options.check(flavor, gpu))
    check_writable(path)
    if card.target == "cpu" and card.mode != "semantic":
        job.notes.append(_MADE_FOR_CPU)

    with step("check: ONNX Runtime on a synthetic image"):
        trial = try_run(model, card)
        job.notes.extend(trial.notes)
    with step(f"network: ONNX to {flavor}"):
        parsed = parse(flavor, model)
        check_tensors(card, tensor_specs(flavor, parsed.network, model), model)
        layers = precision.compute_layers(flavor.module, parsed.network)
        precision.check_network(card, layers, model)
        if grid_sample_is_wrong(flavor.name) and has_grid_sample(flavor, parsed.network):
            job.notes.append(_GRID_SAMPLE.format(flavor))
    with phases(f"plan: {flavor}") as display:
        data = _build(job, parsed, display)
    # Builder and parser hold the weights and GPU memory, and a board with 8 GB has none to spare for the plan.
    del parsed
    record = _record(job, data, precision.share(layers))
    runs_here = job.gpu is not None and record.runs_on(job.gpu.compute_capability)
    loads = runs_here
    if runs_here:
        with step("check: precision of the plan's layers"):
            loads = _check_engine(job, data, layers)
    made = Sidecar(card, record)
    if loads and options.verify:
        with step("check: the plan's answer against ONNX Runtime's on the CPU"):
            job.notes.extend(verify(model, data, made, options.verify_on, trial))
    sidecar.write(path, data, made)
    return Built(path, made, data.nbytes, runs_here, job.notes)


def _output(model: Path, options: BuildOptions) -> Path:
    path = options.output or model.with_suffix(".plan")
    if path.suffix != ".plan":
        raise UsageError(f"--output {path}: the name of a plan ends in .plan, by which `segopt run` knows it")
    return path


def _gpu(flavor: Flavor) -> Gpu | None:
    gpu = find_gpu()
    if gpu is None and flavor.traits.needs_gpu_to_build:
        raise EngineError(
            f"no GPU to build for ({why_no_gpu()}), and {flavor} times its kernels on the one that the plan is "
            "for; run this on that machine, or build for RTX GPUs with --runtime tensorrt-rtx"
        )
    return gpu


def _build(job: _Job, parsed: ParsedNetwork, display: Display) -> trt.IHostMemory:
    trt, options = job.flavor.module, job.options
    config = parsed.builder.create_builder_config()
    options.apply(job.flavor, config, job.card)
    # Without it the inspector knows the layers' names and not their types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    cache = _timing_cache(job)
    if cache is not None:
        timing_cache.attach(config, cache)
    cancel = Cancel()
    config.progress_monitor = progress_monitor(trt, display, cancel)
    parsed.log.clear()
    with cancel.on_interrupt():
        data = parsed.builder.build_serialized_network(parsed.network, config)
    if data is None:
        reason = parsed.log.reason()
        fix = fix_for(reason, "export the model again with this segopt, or update TensorRT")
        raise EngineError(f"{job.model}: {job.flavor} cannot build it: {reason}; {fix}")
    if cache is not None:
        try:
            timing_cache.save(config, cache)
        except SinkError as error:
            job.notes.append(f"the timing cache was not kept: {error}")
    return data


def _timing_cache(job: _Job) -> Path | None:
    folder = job.options.timing_cache
    if folder is None or job.gpu is None or "--timing-cache" in job.flavor.traits.ignored:
        return None
    return timing_cache.cache_path(folder, job.flavor, job.gpu)


def _record(job: _Job, data: trt.IHostMemory, half_share: float) -> PlanRecord:
    options = job.options
    gpu = job.gpu if job.flavor.traits.needs_gpu_to_build else None
    usual = job.flavor.traits.usual_capabilities
    return PlanRecord(
        sha256=sidecar.sha256_of(data),
        runtime=job.flavor.name,
        version=job.flavor.version,
        gpu=gpu.model if gpu else "",
        compute_capabilities=(gpu.compute_capability,) if gpu else options.compute_capabilities or usual,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        half_share=half_share,
        segopt=__version__,
        model=job.model.name,
        options=options.arguments(),
    )


def _check_engine(job: _Job, data: trt.IHostMemory, layers: dict[str, bool]) -> bool:
    """Load the plan on the GPU and compare its layers' precision with the network's; whether it loads."""
    trt = job.flavor.module
    log, logger = message_log(job.flavor)
    log.clear()
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = job.options.version_compatible
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        reason = log.reason()
        problem = f"{reason}; {fix_for(reason, '`segopt doctor` shows what this machine has')}"
        if job.flavor.traits.needs_gpu_to_build:
            raise EngineError(f"{job.model}: the plan was built and does not load here: {problem}")
        job.notes.append(
            f"the plan does not load here, so its layers were counted before the build alone: {problem}"
        )
        return False
    inspection = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    built = precision.compute_layers_in_engine(inspection, layers)
    if (slow := precision.slower_than_promised(built, layers)) is not None:
        job.notes.append(slow)
    elif not built:
        job.notes.append(
            f"{job.flavor} tells nothing of the plan's layers, so their precision was checked before the build"
        )
    return True
