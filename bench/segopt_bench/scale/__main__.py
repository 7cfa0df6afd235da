"""``python -m segopt_bench.scale``: how cost grows with canvas, batch, detections and length of the video.

The demo's panoptic network is exported once for each variant and timed on synthetic scenes, on the CPU. Then
``segopt run`` works through a long video while its memory is watched.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from segopt.errors import SegoptError
from segopt.files.atomic import make_folder, write_bytes, write_json
from segopt_bench.footprint.process import Usage
from segopt_bench.latency.plots import need_matplotlib
from segopt_bench.reporting.machine import conditions, describe_machine, this_moment, warnings
from segopt_bench.reporting.stages import STAGES
from segopt_bench.reporting.tables import Table, milliseconds, spread
from segopt_bench.reporting.terminal import as_rich
from segopt_bench.scale.axes import Cost, Variant, export_variant, measure, variants
from segopt_bench.scale.plots import costs_png, memory_png
from segopt_bench.scale.video import growth, run_long_video

_MIB = 2**20
_VIDEO_SIZE = (128, 224)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.scale", description=(__doc__ or "").strip())
    parser.add_argument(
        "--rounds", type=int, default=15, metavar="N", help="for each axis (15); 0: the video alone"
    )
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="of the video (10000); 0: none")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for scale.json and plots")
    options = parser.parse_args(arguments)
    try:
        need_matplotlib("scale")
        make_folder(options.output)
        run(options.output, options.rounds, options.frames)
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(output: Path, rounds: int, frames: int) -> None:
    """Measure, print and write.

    Raises:
        SegoptError: an export or a run fails, or the folder cannot be written.
    """
    from rich.console import Console

    console = Console()
    machine, before = describe_machine(), this_moment()
    with tempfile.TemporaryDirectory() as folder:
        chosen = variants() if rounds else []
        costs = measure(chosen, Path(folder), rounds, lambda what: print(what, file=sys.stderr))
        for axis in dict.fromkeys(cost.variant.axis for cost in costs):
            console.print(as_rich(cost_table(axis, [cost for cost in costs if cost.variant.axis == axis])))
        usage = None
        if frames:
            print(f"{frames} frames", file=sys.stderr)
            smallest = Variant("video", "video", frames, canvas=_VIDEO_SIZE)
            usage = run_long_video(export_variant(smallest, Path(folder)), _VIDEO_SIZE, frames)
            print(video_line(usage, frames))
    facts = conditions(before, this_moment())
    doubts = warnings(before, this_moment(), machine.cores)
    print(f"{machine.cpu}, {machine.cores} cores; load average {facts['load average']}")
    for doubt in doubts:
        print(f"doubtful: {doubt}")
    document = {
        "costs": [dataclasses.asdict(cost) for cost in costs],
        "video": None if usage is None else {"frames": frames, **dataclasses.asdict(usage)},
        "machine": dataclasses.asdict(machine),
        "conditions": facts,
        "warnings": doubts,
    }
    write_json(output / "scale.json", document)
    if costs:
        write_bytes(output / "costs.png", costs_png(costs))
    if usage is not None:
        write_bytes(output / "memory.png", memory_png(usage, frames))
    print(f"written to {output}")


def cost_table(axis: str, costs: Sequence[Cost]) -> Table:
    """One axis."""
    rows = tuple(
        (
            cost.variant.label,
            milliseconds(cost.total.median),
            spread(cost.total),
            *(milliseconds(cost.stages[name].median) for name in STAGES),
        )
        for cost in costs
    )
    return Table("milliseconds a frame, medians", (axis, "in all", "5% to 95%", *STAGES), rows)


def video_line(usage: Usage, frames: int) -> str:
    """Memory over a video, for people."""
    start, held = usage.samples[len(usage.samples) // 2][1], usage.samples[-1][1]
    return (
        f"{frames} frames in {usage.seconds:.0f} s: at most {usage.peak_bytes / _MIB:.0f} MiB, "
        f"{start / _MIB:.1f} MiB half way and {held / _MIB:.1f} MiB at the end "
        f"({growth(usage.samples) / 1024:+.1f} KiB a second over the last half)"
    )


if __name__ == "__main__":
    sys.exit(main())
