"""``python -m segopt_bench.scenes``: write synthetic street scenes with their ground truth."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from segopt.errors import SinkError
from segopt_bench.scenes.dataset import Size, write_clip, write_dataset

_SMALLEST, _LARGEST = 32, 4096


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m segopt_bench.scenes",
        description="Write synthetic street scenes with exact ground truth in the COCO formats.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=_count, default=20, metavar="N", help="pictures, or frames of the video")
    parser.add_argument("--size", type=_size, default=(256, 448), metavar="HxW", help="in pixels (256x448)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of the first scene; the next have S + 1 ..."
    )
    parser.add_argument("--video", action="store_true", help="one scene over time, 15 frames a second, and an MP4")
    options = parser.parse_args(arguments)

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{options.count}", end="\n" if done == options.count else "", file=sys.stderr)

    try:
        if options.video:
            path = write_clip(options.output, options.seed, options.size, frames=options.count, progress=progress)
            print(f"{options.count} frames of scene {options.seed}: {path}")
        else:
            seeds = range(options.seed, options.seed + options.count)
            write_dataset(options.output, seeds, options.size, progress=progress)
            print(f"{options.count} scenes: {options.output}")
    except SinkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _size(text: str) -> Size:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    height, width = (int(side) for side in match.groups()) if match else (0, 0)
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give height x width from {_SMALLEST} to {_LARGEST}, such as 256x448"
        )
    return height, width


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pictures; give 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
