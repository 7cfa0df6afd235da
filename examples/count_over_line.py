"""Count objects that cross a line, each once, by class and direction.

    python examples/count_over_line.py engines/panoptic.onnx street.mp4 --line 0 360 1280 360

Needs segopt alone. An object crosses where the middle of its box's lower edge comes to the other side; one that
was seen for less than 0.2 s is not counted.
"""

from __future__ import annotations

import argparse
from collections import Counter

import segopt

YOUNGEST_SECONDS = 0.2


def side(point: tuple[float, float], line: tuple[float, float, float, float]) -> bool:
    """On which side of the endless line through two points a point lies."""
    x0, y0, x1, y1 = line
    return (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0) > 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Count objects that cross a line.")
    parser.add_argument("engine")
    parser.add_argument("source")
    parser.add_argument("--line", type=float, nargs=4, required=True, metavar=("X0", "Y0", "X1", "Y1"))
    options = parser.parse_args()
    line = tuple(options.line)
    sides: dict[int, bool] = {}
    crossings: Counter[tuple[str, str]] = Counter()
    with segopt.load(options.engine) as segmenter:
        for item in segopt.stream(segmenter, options.source, track=True):
            for segment, box in zip(item.result, item.result.boxes.tolist(), strict=True):
                if segment.track is None or segment.age < YOUNGEST_SECONDS:
                    continue
                now = side(((box[0] + box[2]) / 2, box[3]), line)
                before = sides.setdefault(segment.track, now)
                if before != now:
                    crossings[segment.name, "in" if now else "out"] += 1
                    sides[segment.track] = now
    for (name, direction), count in sorted(crossings.items()):
        print(f"{name} {direction}: {count}")


if __name__ == "__main__":
    main()
