"""How many objects stand in a zone, frame by frame, with supervision's zones and `segopt.stream`.

pip install "supervision>=0.30"
python examples/zones.py engines/panoptic.onnx street.mp4 --zone 100 200 500 200 500 400 100 400
"""

from __future__ import annotations

import argparse

import numpy as np
import supervision

import segopt


def main() -> None:
    parser = argparse.ArgumentParser(description="Count objects in a zone.")
    parser.add_argument("engine")
    parser.add_argument("source")
    parser.add_argument("--zone", type=int, nargs="+", required=True, help="corners: x0 y0 x1 y1 x2 y2 ...")
    options = parser.parse_args()
    zone = supervision.PolygonZone(polygon=np.array(options.zone).reshape(-1, 2))
    seen: set[int] = set()
    with segopt.load(options.engine, mode="instance") as segmenter:
        for item in segopt.stream(segmenter, options.source, track=True):
            found = item.result.to_supervision()
            inside = found[zone.trigger(found)]
            seen |= {int(track) for track in inside.tracker_id}
            print(f"frame {item.index}: {len(inside)} in the zone, {len(seen)} so far")


if __name__ == "__main__":
    main()
