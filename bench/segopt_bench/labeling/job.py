"""One job in a process of its own, which says as JSON what it did: what ``__main__`` starts and watches."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from segopt.labeling.on_ray import Cluster
from segopt.labeling.run import Progress, Request, Watcher, in_this_process, label
from segopt.labeling.worker import Report

_SETTLED = 0.1
"""Share of the units after which a driver has taken the memory that it needs."""


class Times(Watcher):
    """When reports came, and what memory the driver held then."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended = 0.0
        self.settled = self.held = 0
        self.seconds = 0.0

    def reported(self, report: Report, progress: Progress) -> None:
        """Look at the clock and at the memory."""
        self.ended = time.perf_counter()
        self.began = self.ended - report.seconds if self.began is None else self.began
        self.seconds += report.seconds
        self.held = resident_bytes()
        if progress.done <= max(1, _SETTLED * progress.units):
            self.settled = self.held


def resident_bytes() -> int:
    """Memory of this process, from /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> int:
    """Label, as ENGINE SOURCE OUTPUT WORKERS PICTURES say; 0 workers is no Ray."""
    engine, source, output, workers, pictures = sys.argv[1:]
    request = Request(Path(engine), [source], Path(output), device="cpu", threads=1, pictures=int(pictures))
    times = Times()
    outcome = label(request, Cluster(int(workers)) if int(workers) else in_this_process, times)
    assert times.began is not None
    print(
        json.dumps(
            {
                "units": outcome.progress.done,
                "frames": outcome.progress.frames,
                "work_seconds": times.ended - times.began,
                "unit_seconds": times.seconds,
                "settled_bytes": times.settled,
                "end_bytes": times.held,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
