"""A long run on an RTSP server that goes away and comes back: frames, gaps, memory, and whether the video plays.

For 30 minutes with 10 outages: python tests/manual/outages.py --engine MODEL.onnx --minutes 30 --outages 10
For a quick look:               python tests/manual/outages.py --engine MODEL.onnx --minutes 3 --outages 2

It needs the packages that rtsp_server.py names, and exits with 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

SERVER = Path(__file__).with_name("rtsp_server.py")
RSS_GROWTH = 1.10
"""Largest memory of the last quarter of the run, against that of the second."""


def main() -> None:
    """Run it and print a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--outages", type=int, default=10)
    parser.add_argument("--port", default="8554")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    folder = options.output or Path(tempfile.mkdtemp(prefix="segopt-outages-"))
    faults = Outages(options, folder).run()
    for fault in faults:
        print("NOT AS IT SHOULD BE:", fault)
    sys.exit(1 if faults else 0)


class Outages:
    """One long run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.memory: list[tuple[float, float]] = []
        self.server = self._serve()

    def run(self) -> list[str]:
        """Start server and run, let the server go away at random times, and look at what came of it."""
        random.seed(self.options.seed)
        seconds = 60 * self.options.minutes
        # One outage in each equal part of the run, neither at its start nor at its end.
        part = seconds / (self.options.outages + 1)
        ends = [part * (i + 1) + random.uniform(-part / 4, part / 4) for i in range(self.options.outages)]
        lengths = [random.uniform(2, min(15, part / 4)) for _ in ends]
        log = (self.folder / "log.txt").open("w+")
        url = f"rtsp://127.0.0.1:{self.options.port}/cam"
        command = [sys.executable, "-m", "segopt", "run", "--engine", self.options.engine, url]
        command += ["--output", str(self.folder / "run"), "--save", "overlay,coco", "--overwrite"]
        start = time.monotonic()
        run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for at, length in zip(ends, lengths, strict=True):
            self._watch(run, start, start + at)
            print(f"{time.monotonic() - start:7.1f} s  the server goes away for {length:.1f} s", flush=True)
            self.server.kill()
            self.server.wait()
            self._watch(run, start, time.monotonic() + length)
            self.server = self._serve()
        self._watch(run, start, start + seconds)
        run.send_signal(signal.SIGTERM)
        status = run.wait(60)
        self.server.kill()
        log.seek(0)
        return self._report(log.read(), status, sum(lengths))

    def _serve(self) -> subprocess.Popen[bytes]:
        server = subprocess.Popen(["/usr/bin/python3", str(SERVER), self.options.port])
        time.sleep(1.5)
        return server

    def _watch(self, run: subprocess.Popen[bytes], start: float, until: float) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while time.monotonic() < until and run.poll() is None:
            resident = int(Path(f"/proc/{run.pid}/statm").read_text().split()[1]) * page / (1 << 20)
            self.memory.append((time.monotonic() - start, resident))
            time.sleep(1)

    def _report(self, log: str, status: int, outage: float) -> list[str]:
        print(log)
        faults = []
        written = re.search(r"overlay: (.*) \((\d+) frames\)", log)
        gaps = [float(text) for text in re.findall(r"a gap of ([\d.]+) s", log)]
        if status != 128 + signal.SIGTERM:
            faults.append(f"exit status {status}")
        if len(gaps) != self.options.outages:
            faults.append(f"{len(gaps)} gaps for {self.options.outages} outages")
        if written is None:
            return [*faults, "no video"]
        with av.open(written[1], options={"err_detect": "explode"}) as container:
            stream = container.streams.video[0]
            times = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
        pauses = [after - before for before, after in itertools.pairwise(times) if after - before > 2]
        if len(times) != int(written[2]):
            faults.append(f"{len(times)} frames play, and {written[2]} were written")
        if times != sorted(times):
            faults.append("the times run backwards")
        if abs(times[-1] - self.memory[-1][0]) > 20:
            faults.append(f"the video is {times[-1]:.0f} s long, and the run was {self.memory[-1][0]:.0f} s")
        print(f"frames written    {len(times)}, all of them play")
        print(
            f"gaps reported     {len(gaps)}: {', '.join(f'{gap:.1f}' for gap in gaps)} s; outages {outage:.1f} s"
        )
        print(f"pauses in video   {len(pauses)}: {', '.join(f'{pause:.1f}' for pause in pauses)} s")
        print(f"length            {times[-1]:.1f} s of video, {self.memory[-1][0]:.1f} s of run")
        step = max(1, len(self.memory) // 12)
        print("RSS               " + ", ".join(f"{at:.0f} s {size:.0f} MiB" for at, size in self.memory[::step]))
        quarter = len(self.memory) // 4
        second, last = (max(size for _, size in self.memory[quarter * i : quarter * (i + 1)]) for i in (1, 3))
        if last > second * RSS_GROWTH:
            faults.append(f"memory grew from {second:.0f} to {last:.0f} MiB")
        return faults


main()
