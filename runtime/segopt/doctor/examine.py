"""What this machine has of all that segopt can use, and what each missing thing would take.

Looks from outside: no package that it reports on is imported into this process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segopt import processor
from segopt.doctor import probes
from segopt.doctor.findings import PROBE_SECONDS, TIMED_OUT, Facts, Finding, package
from segopt.doctor.gpu import gpu_findings
from segopt.version import installed_version

_JETSON_RELEASE = Path("/etc/nv_tegra_release")
_JETSON_MODEL = Path("/proc/device-tree/model")


def examine() -> list[Finding]:
    """Look at this machine.

    Each package is looked at in a process of its own, all at the same time and for at most 15 seconds, since a
    board that was just started is slow: a broken one is a finding and nothing else. torch is never imported; its
    version comes from its metadata.

    Returns:
        Findings in the order of a table: the machine, what segopt needs, what speeds it up, what export needs.
    """
    jetson = _JETSON_RELEASE.exists()
    with ThreadPoolExecutor(max_workers=len(probes.PROBES)) as pool:
        facts = dict(zip(probes.PROBES, pool.map(_probe, probes.PROBES), strict=True))
    return [
        _machine(),
        _python(),
        package("numpy", facts["numpy"], "pip install numpy", lambda f: str(f["version"])),
        *_opencv(facts["opencv"], jetson),
        _pyav(facts["pyav"]),
        *gpu_findings(facts, jetson=jetson),
        package("OpenVINO", facts["openvino"], 'pip install "segopt[openvino]"', _openvino),
        *(_distribution(name) for name in ("torch", "torchvision", "onnx", "onnxscript")),
    ]


_MODULES = {
    "numpy": "numpy",
    "opencv": "cv2",
    "pyav": "av",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
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
            timeout=PROBE_SECONDS,
            check=False,
        )
        facts: Facts = json.loads(done.stdout.decode(errors="replace").strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"broken": TIMED_OUT}
    except (OSError, ValueError, IndexError):
        return {"broken": "its import ended the Python process"}
    return facts


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # Looking for cuda.bindings imports cuda, which can fail in any way.
        return False


def _openvino(facts: Facts) -> str:
    devices = [f"{name} ({', '.join(kinds)})" for name, kinds in facts["devices"].items()]
    return f"{facts['version']}, devices: {', '.join(devices) or 'none'}"


def _machine() -> Finding:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    board, release = _read(_JETSON_MODEL).strip("\0\n "), jetson_release(_read(_JETSON_RELEASE))
    parts = [board, release, system, f"{os.cpu_count()} CPU cores"]
    if processor.flags() & {"avx512_vnni", "avx_vnni"}:
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
    opencv = package("OpenCV", facts, "pip install opencv-python-headless", lambda f: str(f["version"]))
    if opencv.status != "ok":
        return [opencv]
    gstreamer_fix = "build OpenCV with GStreamer; PyPI's wheels have none"
    if jetson:
        gstreamer_fix = "sudo apt install python3-opencv, in a venv made with --system-site-packages"
    gui = str(facts["gui"])
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")) or sys.platform != "linux"
    if gui.upper().startswith("NO"):
        fix = "for --show: pip uninstall opencv-python-headless, pip install opencv-python (needs libGL.so.1)"
        window = Finding("OpenCV windows", "missing", "", fix)
    elif not display:
        window = Finding("OpenCV windows", "warning", f"{gui}, no display here", "--show needs a desktop session")
    else:
        window = Finding("OpenCV windows", "ok", gui)
    has_gstreamer = str(facts["gstreamer"]).upper().startswith("YES")
    return [
        opencv,
        window,
        Finding("OpenCV GStreamer", "ok", str(facts["gstreamer"]))
        if has_gstreamer
        else Finding("OpenCV GStreamer", "missing", "", gstreamer_fix),
    ]


def _pyav(facts: Facts) -> Finding:
    fix = "pip install av"
    finding = package("PyAV", facts, fix, lambda f: f"{f['version']}, encoders: {', '.join(f['encoders'])}")
    if finding.status == "ok" and "libx264" not in facts["encoders"]:
        found = f"{facts['version']}, no libx264 encoder"
        return Finding("PyAV", "warning", found, f"{fix} (the wheels of PyPI have libx264)")
    return finding


def _distribution(name: str) -> Finding:
    """A heavy package, known by its metadata alone."""
    version = installed_version(name)
    if version is None:
        return Finding(name, "missing", "", 'for export: pip install "segopt[export]"')
    return Finding(name, "ok", version)
