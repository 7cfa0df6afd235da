"""Whether a viewer who stops reading slows a run: ``python tests/manual/stalled_viewer.py --engine MODEL VIDEO``.

Runs in turn with nobody at the preview, and with a connection that asks for the stream and never reads; frames a
second of each, and the ratio in the median, the least and the greatest.
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import time


def frames_a_second(engine: str, video: str, port: int, *, stalled: bool) -> float:
    """Of one run."""
    command = [sys.executable, "-m", "segopt", "run", "--engine", engine, video, "--save", "none"]
    running = subprocess.Popen([*command, "--preview", str(port)], stdout=subprocess.PIPE, text=True)
    viewer = connected(port) if stalled else None
    printed = running.communicate()[0]
    if viewer:
        viewer.close()
    found = re.search(r"\(([\d.]+) fps\)", printed)
    assert found, printed
    return float(found[1])


def connected(port: int) -> socket.socket:
    """A viewer with little room for what it does not read."""
    for _ in range(500):
        viewer = socket.socket()
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        try:
            viewer.connect(("127.0.0.1", port))
        except OSError:
            viewer.close()
            time.sleep(0.02)
        else:
            viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return viewer
    sys.exit(f"nothing listens on port {port}")


def main() -> None:
    """Take turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--port", type=int, default=18099)
    given = parser.parse_args()
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(given.rounds):
        for stalled in (False, True) if number % 2 == 0 else (True, False):
            rates[stalled].append(frames_a_second(given.engine, given.video, given.port, stalled=stalled))
    ratios = [with_one / without for without, with_one in zip(rates[False], rates[True], strict=True)]
    print("nobody:", *rates[False])
    print("stalled:", *rates[True])
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
