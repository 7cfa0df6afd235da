"""Which TensorRT: the one place that knows how TensorRT 10, TensorRT 11 and TensorRT-RTX differ.

Their Python modules have one API. What the code must know of their differences is data here, each with the
reference that says so; ``TensorRT`` without a number means both 10 and 11. The references to python/, include/ and
CHANGELOG.md are files of github.com/NVIDIA/TensorRT at the tag that is named; the other ones are pages of
docs.nvidia.com.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from segopt.driver import find_gpu
from segopt.errors import EngineError, UsageError, first_line
from segopt.model.sidecar import FLAVORS, FlavorName
from segopt.version import version_numbers

if TYPE_CHECKING:
    # One API in both modules, so the installed one lends its signatures to the type checker.
    import tensorrt as trt
    import tensorrt_rtx as rtx

    from segopt.tensorrt.module import TensorRT, TensorRtRtx


@dataclass(frozen=True)
class Traits:
    """What one flavor does in its own way."""

    title: str
    module: str
    """Name to import."""
    install: str
    """How to get it, to follow "install it with"."""
    majors: tuple[int, ...]
    """Major versions that segopt was written for."""
    needs_gpu_to_build: bool
    """TensorRT times its kernels on the GPU that it builds for. RTX compiles ahead of time without one
    (deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html)."""
    compute_capabilities: tuple[str, ...]
    """Those that a plan can be built for on a machine without such a GPU: ``ComputeCapability`` of RTX 1.7.
    TensorRT has no such choice."""
    usual_capabilities: tuple[str, ...]
    """Those that it builds for where none is named: "8.0, 8.6, 8.9, 12.0, and later" (cpu-engines.html)."""
    wrong_grid_sample: tuple[int, ...] | None
    """The first version that is reported to compute GridSample in FP32 wrongly, without a later one that does not:
    pytorch/TensorRT #4074, NVIDIA/TensorRT #4813. None where there is no such report."""
    refused: Mapping[str, str]
    """Options of a build that it cannot do, with the reason and the fix."""
    ignored: Mapping[str, str]
    """Options of a build that change nothing, with the reason."""


TRAITS: Mapping[FlavorName, Traits] = {
    "tensorrt": Traits(
        title="TensorRT",
        module="tensorrt",
        install="`pip install 'segopt[gpu]'` (on a Jetson: `sudo apt install python3-libnvinfer`)",
        majors=(10, 11),
        needs_gpu_to_build=True,
        compute_capabilities=(),
        usual_capabilities=(),
        wrong_grid_sample=(10, 14),
        refused={"--compute-capability": "it builds for the GPU of this machine; build where the plan will run"},
        ignored={},
    ),
    "tensorrt-rtx": Traits(
        title="TensorRT-RTX",
        module="tensorrt_rtx",
        install="`pip install 'segopt[rtx]'`",
        majors=(1,),
        needs_gpu_to_build=False,
        compute_capabilities=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
        usual_capabilities=("8.0", "8.6", "8.9", "12.0", "12.1"),
        wrong_grid_sample=None,
        refused={
            # 1.7 logs "setHardwareCompatibilityLevel() is unsupported in TensorRT-RTX" and changes nothing.
            "--hardware-compatible": "its plans run on many GPUs as they are; --compute-capability names them",
            # 1.7 fails such a build: "Unable to load library: libnvinfer_lean.so.1", which its wheel lacks.
            "--version-compatible": "it has no lean runtime to put into a plan; build again with each version",
        },
        ignored={
            # Release notes 1.1: it "has no effect on the built engine"; 1.7 warns that its functions do nothing.
            "--timing-cache": "it times no kernels while it builds",
        },
    ),
}


RTX_ONLY = frozenset(
    {
        "ComputeCapability",
        "CudaGraphStrategy",
        "IRuntimeCache",
        "create_runtime_cache",
        "cuda_graph_strategy",
        "is_stream_capturable",
        "num_compute_capabilities",
        "set_compute_capability",
        "set_runtime_cache",
    }
)
"""What segopt uses of TensorRT-RTX that TensorRT does not have. All else that it uses is in the bindings of 10.0,
10.3, 10.7, 10.13, 10.16, 11.0 and 11.1 too (python/src at these tags), ``ICudaEngine.create_runtime_config`` from
10.13 on, which RTX alone needs."""

HOW_TO_INSTALL = (
    f"for RTX GPUs {TRAITS['tensorrt-rtx'].install}, which builds on machines without a GPU too; "
    f"for other GPUs and Jetson {TRAITS['tensorrt'].install}"
)
"""For people who have none."""


@dataclass(frozen=True)
class Flavor:
    """A TensorRT that is installed here and that segopt was written for."""

    name: FlavorName
    module: TensorRT
    """The imported module; by custom of TensorRT's own samples it is called ``trt``."""
    version: str
    """As ``module.__version__``: ``10.3.0``, ``1.7.1.116``."""

    @property
    def traits(self) -> Traits:
        """What it does in its own way."""
        return TRAITS[self.name]

    def __str__(self) -> str:
        """For people: ``TensorRT-RTX 1.7.1.116``."""
        return f"{self.traits.title} {self.version}"

    def creation_flags(self) -> int:
        """Flags of ``Builder.create_network`` for a strongly typed network.

        TensorRT 10 needs the flag, TensorRT 11 types strongly whatever it is given and deprecates it
        (python/src/infer/pyCore.cpp v11.1), RTX knows nothing else. The enum's numbers changed between 10 and 11,
        so it is taken by name, and where a later version has dropped it, it is not needed.
        """
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def allow_capture(self, config: trt.IBuilderConfig) -> None:
        """Let inference be captured as a CUDA graph.

        RTX may allocate memory while it executes, which no capture allows, unless a flag forbids it (release notes
        of 1.2, "required when using CUDA stream capture"). TensorRT allocates when a context is made.
        """
        flag = getattr(self.module.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
        if flag is not None:
            config.set_flag(flag)

    def set_compute_capabilities(self, config: trt.IBuilderConfig, capabilities: tuple[str, ...]) -> None:
        """Compile for these (``8.9``), which are of :attr:`Traits.compute_capabilities`; RTX alone."""
        module, of_rtx = cast("TensorRtRtx", self.module), cast("rtx.IBuilderConfig", config)
        of_rtx.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            value = getattr(module.ComputeCapability, "SM" + capability.replace(".", ""))
            of_rtx.set_compute_capability(value, index)


def find_flavor(name: str | None = None) -> Flavor:
    """Import TensorRT.

    Args:
        name: a flavor's name; None takes the one that is installed. Where both are, TensorRT is taken if there is
            a GPU, since it is built for that one alone, and TensorRT-RTX if there is none.

    Raises:
        UsageError: the name is none of a flavor.
        EngineError: it is not installed, does not load, or is of a major version that segopt does not know.
    """
    if name is not None:
        return _import(flavor_name(name))
    installed = installed_flavors()
    if not installed:
        raise EngineError(f"no TensorRT is installed; {HOW_TO_INSTALL}")
    return _import(builder_here() or installed[0])


def builder_here() -> FlavorName | None:
    """The flavor that :func:`find_flavor` takes to build on this machine, or None; none of them is imported."""
    for name in installed_flavors():
        if not TRAITS[name].needs_gpu_to_build or find_gpu() is not None:
            return name
    return None


def grid_sample_is_wrong(name: FlavorName) -> bool:
    """Whether the TensorRT of this flavor that is installed is reported to compute GridSample wrongly.

    Raises:
        EngineError: it does not load.
    """
    first = TRAITS[name].wrong_grid_sample
    return first is not None and version_numbers(_import(name).version) >= first


def flavor_name(text: str) -> FlavorName:
    """The flavor of this name.

    Raises:
        UsageError: there is none.
    """
    for name in FLAVORS:
        if name == text:
            return name
    raise UsageError(f"runtime {text} is unknown; it is one of {', '.join(FLAVORS)}")


def installed_flavors() -> tuple[FlavorName, ...]:
    """Flavors whose Python module is installed; none of them is imported."""
    return tuple(name for name in FLAVORS if importlib.util.find_spec(TRAITS[name].module) is not None)


def _import(name: FlavorName) -> Flavor:
    traits = TRAITS[name]
    try:
        module: Any = importlib.import_module(traits.module)
    except ModuleNotFoundError as error:
        if error.name != traits.module:
            raise EngineError(_does_not_load(traits, error)) from error
        raise EngineError(f"{traits.title} is not installed; install it with {traits.install}") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(_does_not_load(traits, error)) from error
    version = str(module.__version__)
    if version.split(".")[0] not in map(str, traits.majors):
        known = " and ".join(map(str, traits.majors))
        raise EngineError(
            f"{traits.title} {version} is installed, and this segopt is written for {known}; "
            f"install one of these, {traits.install}, or another segopt"
        )
    return Flavor(name, module, version)


def _does_not_load(traits: Traits, error: Exception) -> str:
    return (
        f"{traits.title} is installed but does not load ({first_line(error)}); "
        f"install it again with {traits.install}"
    )
