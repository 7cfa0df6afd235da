"""Runs cases of one class, one after the other: ``python -m fuzzing.worker CLASS SEED FIRST FOLDER``.

Prints a JSON line when a case begins and one when it ends, for ever; it is the campaign that ends it.
"""

from __future__ import annotations

import getpass
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from random import Random

_SPARE = 6 << 30
"""Bytes of addresses above those in use at the start: what is beyond is a fault, and the machine lives."""

_LIBRARIES_OWN = frozenset({".ses", f"torchinductor_{getpass.getuser()}"})
"""One file of ONNX Runtime's telemetry, and one folder that PyTorch keeps its cache in."""


def main() -> None:
    """Run cases until the end of the world."""
    name, seed, first, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ |= {"TMPDIR": str(temporary), "OPENCV_TEMP_PATH": str(temporary)}
    # A shell starts background jobs with SIGINT ignored, and nohup ignores SIGHUP; the command would do so, too.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_DFL)
    lines = os.fdopen(os.dup(1), "w", buffering=1)

    from fuzzing.attempts import FaultError, check_whole
    from fuzzing.classes import CLASSES

    (folder / "good").mkdir(exist_ok=True)
    attempt = CLASSES[name].prepare(folder / "good")
    _limit_addresses()
    number = first
    while True:
        case = folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        for inner in ("in", "out"):
            (case / inner).mkdir(parents=True)
        lines.write(json.dumps({"begins": number}) + "\n")
        _forget_peak()
        began = time.monotonic()
        try:
            outcome = attempt(Random(f"{name} {seed} {number}"), case)
            check_whole(case)
            if left := [path.name for path in temporary.iterdir() if path.name not in _LIBRARIES_OWN]:
                raise FaultError(f"left in the folder of temporary files: {', '.join(left)}")
            result = {"outcome": outcome}
        except FaultError as fault:
            result = {"fault": str(fault)}
        except Exception as error:
            result = {"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        measured = {"seconds": time.monotonic() - began, "peak": _peak()}
        lines.write(json.dumps({"ends": number, **result, **measured}) + "\n")
        if "fault" in result:
            return
        number += 1


def _limit_addresses() -> None:
    status = Path("/proc/self/status").read_text()
    used = int(next(line for line in status.splitlines() if line.startswith("VmSize")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE, used + _SPARE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Most memory that this process had at once since :func:`_forget_peak`, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) >> 10


if __name__ == "__main__":
    main()
