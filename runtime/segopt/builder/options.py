"""What a user can ask of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.driver import Gpu
from segopt.errors import UsageError
from segopt.model.card import Card
from segopt.tensorrt.flavor import Flavor

if TYPE_CHECKING:
    import tensorrt as trt

MAX_OPTIMIZATION_LEVEL = 5
"""Of TensorRT's builder; a higher number means this one."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build; what is None or empty is left to TensorRT."""

    runtime: str | None = None
    """A flavor's name; None takes what is installed."""
    output: Path | None = None
    """The .plan file; None takes the ONNX file's name and folder."""
    timing_cache: Path | None = None
    """Folder of timing caches. They make a second build of a like network faster."""
    workspace: int | None = None
    """Most scratch memory of a layer, in bytes."""
    hardware_compatible: bool = False
    """Run on other GPUs of compute capability 8.0 and later too."""
    version_compatible: bool = False
    """Run with later versions of TensorRT too."""
    compute_capabilities: tuple[str, ...] = ()
    """Build for these (``8.9``)."""
    optimization_level: int | None = None
    """0 (builds fastest) to 5."""
    tf32: bool = False
    """Let layers of a model in FP32 round their inputs to TF32: faster, and as coarse as half precision."""
    verify: bool = True
    """Compare the plan's answer with ONNX Runtime's where this machine has the GPU, before it is written."""
    verify_on: Path | None = None
    """A picture or a folder of them to compare on; None takes synthetic ones."""

    def arguments(self) -> tuple[str, ...]:
        """The part of the command line that shapes the plan: what building it again needs, here or elsewhere."""
        return tuple(
            word
            for option, values in self._given().items()
            if option != "--timing-cache"
            for word in (option, *values)
        )

    def _given(self) -> dict[str, tuple[str, ...]]:
        """Options that differ from the default, by name, with their values."""
        named: dict[str, tuple[str, ...]] = {}
        if self.timing_cache is not None:
            named["--timing-cache"] = (str(self.timing_cache),)
        if self.workspace is not None:
            named["--workspace"] = (f"{self.workspace // 2**20}MiB",)
        if self.hardware_compatible:
            named["--hardware-compatible"] = ()
        if self.version_compatible:
            named["--version-compatible"] = ()
        if self.compute_capabilities:
            named["--compute-capability"] = (",".join(self.compute_capabilities),)
        if self.optimization_level is not None:
            named["--optimization-level"] = (str(self.optimization_level),)
        if self.tf32:
            named["--tf32"] = ()
        return named

    def check(self, flavor: Flavor, gpu: Gpu | None) -> list[str]:
        """See whether a flavor can do what was asked.

        Args:
            flavor: that builds.
            gpu: that it builds on, where there is one.

        Returns:
            Notes on what it ignores.

        Raises:
            UsageError: it cannot.
        """
        for option in self._given():
            if option in flavor.traits.refused:
                raise UsageError(f"{option} is not for {flavor}: {flavor.traits.refused[option]}")
        if self.hardware_compatible and gpu is not None and gpu.board:
            raise UsageError(
                f"--hardware-compatible is not for {gpu.board}: plans for a Jetson run on such a board "
                "alone; build on each kind"
            )
        for capability in self.compute_capabilities:
            if capability not in flavor.traits.compute_capabilities:
                raise UsageError(
                    f"compute capability {capability} is none that {flavor} builds for; it is one of "
                    f"{', '.join(flavor.traits.compute_capabilities)} (GPUs of other ones, Jetson among them, "
                    "take --runtime tensorrt)"
                )
        level = self.optimization_level
        if level is not None and not 0 <= level <= MAX_OPTIMIZATION_LEVEL:
            raise UsageError(f"optimization level is {level}, and must be from 0 to {MAX_OPTIMIZATION_LEVEL}")
        if self.workspace is not None and self.workspace < 2**20:
            raise UsageError(f"workspace is {self.workspace} bytes, and must be 1MiB or more")
        return [
            f"{option} changes nothing with {flavor}: {flavor.traits.ignored[option]}"
            for option in self._given()
            if option in flavor.traits.ignored
        ]

    def apply(self, flavor: Flavor, config: trt.IBuilderConfig, card: Card) -> None:
        """Set what was asked on a build that :meth:`check` found possible; timing caches are not its business."""
        trt = flavor.module
        flavor.allow_capture(config)
        if card.precision == "fp32" and not self.tf32:
            # On by default, and so a plan that promises FP32 would multiply with 10 bits.
            config.clear_flag(trt.BuilderFlag.TF32)
        if self.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace)
        if self.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if self.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if self.compute_capabilities:
            flavor.set_compute_capabilities(config, self.compute_capabilities)
        if self.optimization_level is not None:
            config.builder_optimization_level = self.optimization_level
