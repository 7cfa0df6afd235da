"""The machine: what it is, and how it was doing while it was measured.

Linux tells it in ``/proc``, ``/sys`` and the control group. What it does not tell is None, and shown as "not
available".
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segopt import processor
from segopt.version import installed_version

UNKNOWN = "not available"
_PACKAGES = (
    "segopt",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "torchvision",
)
_BUSY_SHARE = 0.3
"""Of the cores: with a load above it before anything was measured, somebody else is at work."""
_STOLEN_SHARE = 0.02


@dataclass(frozen=True)
class Machine:
    """What does not change."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_gib: float | None
    system: str
    cpu_limit: str | None
    """Of the control group, where it has one."""
    gpu: str | None
    """As nvidia-smi names it."""
    versions: dict[str, str]


@dataclass(frozen=True)
class Moment:
    """What does change."""

    load: float | None
    """Processes that ran or waited to run, over the last minute."""
    clocks_mhz: tuple[float, ...] | None
    """Of each core, from cpufreq."""
    governor: str | None
    throttled: int | None
    """Times that cores throttled for heat since the machine started."""
    group_throttled: int | None
    """Times that the control group ran out of its share of CPU time."""
    celsius: float | None
    """The hottest thermal zone."""
    ticks: tuple[int, int] | None
    """CPU time since the machine started, and how much of it a hypervisor gave to others."""
    gpu: str | None
    """SM clock, temperature and reasons to throttle, from nvidia-smi."""


def describe_machine() -> Machine:
    """Look at this machine."""
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo") or "", flags=re.MULTILINE)
    quota = (_read("/sys/fs/cgroup/cpu.max") or "max").split()
    return Machine(
        cpu=processor.name(),
        cores=processor.cores(),
        memory_gib=int(memory[1]) / 2**20 if memory else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_limit=None if quota[0] == "max" else f"{int(quota[0]) / int(quota[1]):.2g} CPUs",
        gpu=_nvidia_smi("name,driver_version"),
        versions=_versions(),
    )


def this_moment() -> Moment:
    """Look at how the machine is doing."""
    clocks = [int(text) / 1000 for text in _read_all("devices/system/cpu", "cpu*/cpufreq/scaling_cur_freq")]
    counts = [int(text) for text in _read_all("devices/system/cpu", "cpu*/thermal_throttle/core_throttle_count")]
    zones = [int(text) / 1000 for text in _read_all("class/thermal", "thermal_zone*/temp")]
    group = re.search(r"^nr_throttled (\d+)$", _read("/sys/fs/cgroup/cpu.stat") or "", flags=re.MULTILINE)
    return Moment(
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        clocks_mhz=tuple(clocks) or None,
        governor=next(iter(_read_all("devices/system/cpu", "cpu0/cpufreq/scaling_governor")), None),
        throttled=sum(counts) if counts else None,
        group_throttled=int(group[1]) if group else None,
        celsius=max(zones) if zones else None,
        ticks=_ticks(_read("/proc/stat")),
        gpu=_nvidia_smi("clocks.sm,temperature.gpu,clocks_throttle_reasons.active"),
    )


def _ticks(stat: str | None) -> tuple[int, int] | None:
    """From the line of all cores: user nice system idle iowait irq softirq steal (proc_stat(5))."""
    fields = (stat or "").split("\n", 1)[0].split()[1:9]
    numbers = [int(field) for field in fields]
    return (sum(numbers), numbers[7]) if len(numbers) == 8 else None


def torch_threads() -> int | None:
    """How many threads PyTorch computes with; None where it was not imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def conditions(before: Moment, after: Moment) -> dict[str, str]:
    """For people: how the machine was doing, fact by fact."""
    clocks = [mhz for moment in (before, after) for mhz in moment.clocks_mhz or ()]
    return {
        "load average": _join(f"{m.load:.2f}" for m in (before, after) if m.load is not None) + " (before, after)",
        "CPU clocks": _or_unknown(f"{min(clocks):.0f} to {max(clocks):.0f} MHz" if clocks else None),
        "CPU governor": _or_unknown(before.governor),
        "CPU throttling": _or_unknown(_grown(before.throttled, after.throttled, "times for heat")),
        "CPU share used up": _or_unknown(_grown(before.group_throttled, after.group_throttled, "times")),
        "CPU time stolen": _or_unknown(None if (s := stolen(before, after)) is None else f"{s:.1%}"),
        "temperature": _or_unknown(
            _join(f"{m.celsius:.0f} °C" for m in (before, after) if m.celsius is not None) or None
        ),
        "GPU clock, temperature, throttle reasons": _or_unknown(
            _join(m.gpu for m in (before, after) if m.gpu) or None
        ),
    }


def warnings(before: Moment, after: Moment, cores: int, threads: int | None = None) -> list[str]:
    """What makes figures that were taken in between doubtful; ``threads`` are PyTorch's."""
    found = []
    if threads is not None and threads < cores:
        found.append(
            f"PyTorch used {threads} of {cores} cores (OMP_NUM_THREADS?) and ONNX Runtime all of them: "
            "this is no comparison"
        )
    if before.load is not None and before.load > _BUSY_SHARE * cores:
        found.append(
            f"the machine was busy before anything was measured (load {before.load:.2f} on {cores} cores): "
            "threads that wait for each other suffer most, so ratios are wrong, too; measure on an idle machine"
        )
    for what, start, end in (
        ("the CPU throttled for heat", before.throttled, after.throttled),
        ("the CPU share of this container was used up", before.group_throttled, after.group_throttled),
    ):
        if start is not None and end is not None and end > start:
            found.append(
                f"{what} {end - start} times while it was measured: on a cooler, freer machine it is faster"
            )
    share = stolen(before, after)
    if share is not None and share > _STOLEN_SHARE:
        found.append(f"the hypervisor gave {share:.0%} of the CPU time to others while it was measured")
    return found


def stolen(before: Moment, after: Moment) -> float | None:
    """Share of the CPU time between two moments that the hypervisor gave to others."""
    if before.ticks is None or after.ticks is None or after.ticks[0] <= before.ticks[0]:
        return None
    return (after.ticks[1] - before.ticks[1]) / (after.ticks[0] - before.ticks[0])


def _grown(start: int | None, end: int | None, unit: str) -> str | None:
    return None if start is None or end is None else f"{end - start} {unit}"


def _or_unknown(text: str | None) -> str:
    return UNKNOWN if text is None else text


def _join(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _versions() -> dict[str, str]:
    versions = {package: installed_version(package) for package in _PACKAGES}
    known = {package: version for package, version in versions.items() if version is not None}
    return {"Python": platform.python_version(), **known}


def _nvidia_smi(query: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) or None


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _read_all(folder: str, pattern: str) -> list[str]:
    texts = (_read(path) for path in sorted((Path("/sys") / folder).glob(pattern)))
    return [text for text in texts if text]
