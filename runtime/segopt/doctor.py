"""What this machine has of all that segopt can use, and what each missing thing would take.

Looks from outside: no package that it reports on is imported into this process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segopt import probes

Facts = dict[str, Any]
Status = Literal["ok", "missing", "warning"]

_PROBE_SECONDS = 3.0
_TIMED_OUT = f"no answer within {_PROBE_SECONDS:.0f} s"
_JETSON_RELEASE = Path("/etc/nv_tegra_release")
_JETSON_MODEL = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    status: Status
    """``warning``: it is there, and broken, too old or of less use than it could be."""
    found: str
    """Versions and features; for a missing thing, empty or why it cannot be used."""
    mend: str = ""
    """What it would take; empty where all is well."""


def examine() -> list[Finding]:
    """Look at this machine.

    Each package is looked at in a process of its own, all at the same time and for at most 3 seconds, so that a
    broken one is a finding and nothing else. torch is never imported: its version comes from its metadata.

    Returns:
        Findings in the order of a table: the machine, what segopt needs, what speeds it up, what export needs.
    """
    jetson = _JETSON_RELEASE.exists()
    with ThreadPoolExecutor(max_workers=len(probes.PROBES)) as pool:
        facts = dict(zip(probes.PROBES, pool.map(_probe, probes.PROBES), strict=True))
    return [
        _machine(),
        _python(),
        _package("numpy", facts["numpy"], "pip install numpy", lambda f: str(f["version"])),
        *_opencv(facts["opencv"], jetson),
        _pyav(facts["pyav"]),
        _onnxruntime(facts["onnxruntime"], facts["gpu"]),
        _gpu(facts["gpu"], jetson),
        _package("cuda-bindings", facts["cuda_bindings"], 'pip install "segopt[gpu]"', _cuda_version),
        _package("TensorRT", facts["tensorrt"], _tensorrt_mend(jetson), _trt_version),
        _package("TensorRT lean runtime", facts["tensorrt_lean"], _LEAN_MEND, _trt_version),
        _package("TensorRT-RTX", facts["tensorrt_rtx"], _rtx_mend(jetson), _trt_version),
        *(_distribution(name) for name in ("torch", "torchvision", "onnx", "onnxscript")),
    ]


_MODULES = {
    "numpy": "numpy",
    "opencv": "cv2",
    "pyav": "av",
    "onnxruntime": "onnxruntime",
    "tensorrt": "tensorrt",
    "tensorrt_lean": "tensorrt_lean",
    "tensorrt_rtx": "tensorrt_rtx",
    "cuda_bindings": "cuda.bindings",
}


def _probe(name: str) -> Facts:
    """Facts of one probe; ``{"absent": True}`` where its module is not installed, ``broken`` where it fails."""
    module = _MODULES.get(name)
    if module is not None and not _installed(module):
        return {"absent": True}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, probes.__file__, name]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        facts: Facts = json.loads(done.stdout.decode(errors="replace").strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"broken": _TIMED_OUT}
    except (OSError, ValueError, IndexError):
        return {"broken": "its import ended the Python process"}
    return facts


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # Looking for cuda.bindings imports cuda, which can fail in any way.
        return False


def _package(name: str, facts: Facts, mend: str, describe: Callable[[Facts], str]) -> Finding:
    if "absent" in facts:
        return Finding(name, "missing", "", mend)
    if "broken" in facts:
        fix = f"reinstall: {mend}"
        if facts["broken"] == _TIMED_OUT:
            fix = f"run this again (a cold disk is slow); if it stays, {fix}"
        return Finding(name, "warning", f"installed, but broken: {facts['broken']}", fix)
    return Finding(name, "ok", describe(facts))


def _machine() -> Finding:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    board, release = _read(_JETSON_MODEL).strip("\0\n "), jetson_release(_read(_JETSON_RELEASE))
    parts = [board, release, system, f"{os.cpu_count()} CPU cores"]
    if "avx512_vnni" in (flags := _cpu_flags()) or "avx_vnni" in flags:
        parts.append("VNNI (fast INT8)")
    return Finding("Machine", "ok", ", ".join(part for part in parts if part))


def jetson_release(text: str) -> str:
    """``L4T 36.4.3 (JetPack 6)`` from the text of ``/etc/nv_tegra_release``; empty where it says nothing."""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    if match is None:
        return ""
    major = int(match[1])
    jetpack = {32: " (JetPack 4)", 34: " (JetPack 5)", 35: " (JetPack 5)", 36: " (JetPack 6)"}
    return f"L4T {major}.{match[2]}{jetpack.get(major, ' (JetPack 7)' if major >= 38 else '')}"


def _cpu_flags() -> set[str]:
    text = _read(Path("/proc/cpuinfo"))
    match = re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)
    return set(match[1].split()) if match else set()


def _read(path: Path) -> str:
    """The file's text; empty where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "warning", found, "segopt is tested on 3.10 to 3.13")


def _opencv(facts: Facts, jetson: bool) -> list[Finding]:
    package = _package("OpenCV", facts, "pip install opencv-python", lambda f: str(f["version"]))
    if package.status != "ok":
        return [package]
    gstreamer_mend = "build OpenCV with GStreamer; PyPI's wheels have none"
    if jetson:
        gstreamer_mend = "sudo apt install python3-opencv, in a venv made with --system-site-packages"
    gui = str(facts["gui"])
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")) or sys.platform != "linux"
    if gui.upper().startswith("NO"):
        window = Finding("OpenCV windows", "missing", "", "pip install opencv-python in place of the headless one")
    elif not display:
        window = Finding("OpenCV windows", "warning", f"{gui}, no display here", "--show needs a desktop session")
    else:
        window = Finding("OpenCV windows", "ok", gui)
    has_gstreamer = str(facts["gstreamer"]).upper().startswith("YES")
    return [
        package,
        window,
        Finding("OpenCV GStreamer", "ok", str(facts["gstreamer"]))
        if has_gstreamer
        else Finding("OpenCV GStreamer", "missing", "", gstreamer_mend),
    ]


def _pyav(facts: Facts) -> Finding:
    mend = "pip install av"
    finding = _package("PyAV", facts, mend, lambda f: f"{f['version']}, encoders: {', '.join(f['encoders'])}")
    if finding.status == "ok" and "libx264" not in facts["encoders"]:
        found = f"{facts['version']}, no libx264 encoder"
        return Finding("PyAV", "warning", found, f"{mend} (the wheels of PyPI have libx264)")
    return finding


def _onnxruntime(facts: Facts, gpu: Facts) -> Finding:
    name, mend = "ONNX Runtime", 'pip install "segopt[cpu]"'
    finding = _package(name, facts, mend, lambda f: f"{f['version']}, providers: {_providers(f)}")
    if finding.status != "ok":
        return finding
    twins = [twin for twin in ("onnxruntime", "onnxruntime-gpu") if _version(twin) is not None]
    if len(twins) > 1:
        # Both unpack into one folder; whichever was installed last decides which providers exist.
        fix = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        return Finding(name, "warning", f"{finding.found}; {' and '.join(twins)} overwrite each other", fix)
    if gpu.get("gpus") and "CUDAExecutionProvider" not in facts["providers"]:
        fix = "for the GPU: pip uninstall onnxruntime, pip install onnxruntime-gpu"
        return Finding(name, "warning", f"{finding.found}; none uses the GPU", fix)
    return finding


def _providers(facts: Facts) -> str:
    return ", ".join(provider.removesuffix("ExecutionProvider") for provider in facts["providers"])


def _gpu(facts: Facts, jetson: bool) -> Finding:
    mend = "flash JetPack" if jetson else "an NVIDIA GPU and its driver; ONNX Runtime on the CPU works without"
    gpus = facts.get("gpus", [])
    if "broken" in facts or not gpus:
        reason = str(facts.get("broken") or facts.get("error") or "the driver lists no GPU")
        driver = facts.get("driver")
        if driver:
            fix = "reboot after a driver update; in a container: --gpus all (or --runtime nvidia)"
            return Finding("NVIDIA GPU", "warning", f"driver {driver}, but {reason}", fix)
        return Finding("NVIDIA GPU", "missing", reason, mend)
    cards = "; ".join(
        f"{gpu['name']} (compute capability {gpu['capability']}, {gpu['memory'] / 2**30:.1f} GiB)" for gpu in gpus
    )
    return Finding("NVIDIA GPU", "ok", f"{cards}; driver {facts['driver'] or '?'}, CUDA {_cuda(facts['cuda'])}")


def _cuda(number: int) -> str:
    """``13.2`` from CUDA's 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _cuda_version(facts: Facts) -> str:
    version = facts["version"] or _version("cuda-bindings") or "?"
    return f"{version}, for CUDA {_cuda(facts['cuda'])}" if facts["cuda"] else str(version)


def _trt_version(facts: Facts) -> str:
    return f"{facts['version']}{'' if facts['builder'] else ', runs plans and builds none'}"


_LEAN_MEND = "only for plans built version-compatible: pip install tensorrt_lean"


def _tensorrt_mend(jetson: bool) -> str:
    if jetson:
        return "sudo apt install python3-libnvinfer, in a venv made with --system-site-packages"
    return 'pip install "segopt[gpu]"'


def _rtx_mend(jetson: bool) -> str:
    if jetson:
        return "not made for Jetson; use TensorRT"
    return 'pip install "segopt[rtx]" (GPUs of compute capability 7.5, 8.0, 8.6, 8.9, 12.x)'


def _distribution(name: str) -> Finding:
    """A heavy package, known by its metadata alone."""
    version = _version(name)
    if version is None:
        return Finding(name, "missing", "", 'for export: pip install "segopt[export]"')
    return Finding(name, "ok", version)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
