"""Timing caches: what TensorRT measured of its kernels in earlier builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segopt.driver import Gpu
from segopt.files.atomic import make_folder, write_bytes
from segopt.files.names import slug
from segopt.tensorrt.flavor import Flavor

if TYPE_CHECKING:
    import tensorrt as trt


def cache_path(folder: Path, flavor: Flavor, gpu: Gpu) -> Path:
    """The cache's file in a folder: one for each flavor, version and GPU, since times of others mislead."""
    name = slug(f"{flavor.name} {flavor.version} {gpu.model} {gpu.compute_capability}")
    return folder / f"{name}.timing"


def attach(config: trt.IBuilderConfig, path: Path) -> None:
    """Let a build use a cache and add to it; where it is missing or not this machine's, begin an empty one."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    cache = config.create_timing_cache(data)
    if not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save(config: trt.IBuilderConfig, path: Path) -> None:
    """Write a build's cache.

    Raises:
        SinkError: unwritable folder, full disk; an older cache is untouched.
    """
    make_folder(path.parent)
    write_bytes(path, bytes(config.get_timing_cache().serialize()))
