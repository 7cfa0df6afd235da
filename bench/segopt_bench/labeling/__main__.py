"""``python -m segopt_bench.labeling``: one process, and Ray with one and more workers, over the same sources.

CPU seconds beside those of one process are what Ray costs; frames per second of the work, without the start of
Ray, are what more workers bring. With ``--tiny N`` the sources are N pictures of 64x48, each a unit: what a unit
costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segopt_bench.labeling.tree import run_tree

_PICTURES = 100


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a line for each run."""
    parser = argparse.ArgumentParser(prog="segopt_bench.labeling", description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", type=Path, required=True, metavar="FILE", help="a panoptic model")
    parser.add_argument("source", nargs="?", help="a folder of videos and pictures")
    parser.add_argument("--tiny", type=int, metavar="N", help="N tiny pictures in place of a source")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="0 is no Ray")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="the runs take turns (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    if (options.source is None) == (options.tiny is None):
        parser.error("give a source, or --tiny N")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or _tiny(Path(folder) / "pictures", options.tiny)
        for turn in range(options.rounds):
            for workers in options.workers:
                output = Path(folder) / f"out-{turn}-{workers}"
                row = _run(options.engine, source, output, workers, 1 if options.tiny else _PICTURES)
                rows.append(row)
                print(_line(row), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def _run(engine: Path, source: str, output: Path, workers: int, pictures: int) -> dict[str, Any]:
    parts = (sys.executable, "-m", "segopt_bench.labeling.job", engine, source, output, workers, pictures)
    load = os.getloadavg()[0]
    out, seconds, cpu = run_tree([str(part) for part in parts])
    return {"workers": workers, "load_before": load, "seconds": seconds, "cpu_seconds": cpu, **json.loads(out)}


def _line(row: dict[str, Any]) -> str:
    who = f"{row['workers']} worker{'s' if row['workers'] > 1 else ''}" if row["workers"] else "no Ray"
    unit, rate = 1000 * row["work_seconds"] / row["units"], row["frames"] / row["work_seconds"]
    grown = (row["end_bytes"] - row["settled_bytes"]) / 1e6
    return (
        f"{who:<10} {row['units']} units, {row['frames']} frames: {row['seconds']:.1f} s, "
        f"CPU {row['cpu_seconds']:.1f} s; work {row['work_seconds']:.1f} s, {rate:.2f} fps, {unit:.1f} ms a unit; "
        f"driver grew by {grown:+.1f} MB; load before {row['load_before']:.1f}"
    )


def _tiny(folder: Path, count: int) -> str:
    folder.mkdir()
    picture = np.zeros((48, 64, 3), np.uint8)
    for number in range(count):
        picture[:] = number % 256
        cv2.imwrite(str(folder / f"t{number:06}.png"), picture)
    return str(folder)


if __name__ == "__main__":
    sys.exit(main())
