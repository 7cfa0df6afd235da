"""Masks at the frame's size never exist as planes: a merge takes a fraction of their memory."""

import subprocess
import sys

import pytest

HEIGHT, WIDTH, COUNT = 1080, 1920, 100
PLANES = COUNT * HEIGHT * WIDTH
"""Bytes that as many masks take at one byte a pixel."""
CODE = f"""
import numpy as np, segopt

def peak():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))

def merge(height, width, count):
    random = np.random.default_rng(0)
    corners = random.uniform(0, (0.8 * width, 0.8 * height), (count, 2))
    boxes = np.hstack([corners, corners + random.uniform(24, 0.2 * height, (count, 2))]).astype(np.float32)
    scores = np.linspace(0.99, 0.6, count).astype(np.float32)
    across = (np.arange(28) - 13.5) / 13.5
    masks = np.repeat((1 - across[:, None] ** 2 - across**2)[None].clip(0, 1), count, axis=0).astype(np.float32)
    semantic = np.ones((height, width), np.uint8)
    return segopt.merge.merge_panoptic(boxes, scores, np.ones(count, np.int32), masks, semantic, {{1: 9}})

merge(256, 256, 4)
before = peak()
segment_map, segments = merge({HEIGHT}, {WIDTH}, {COUNT})
assert segment_map.shape == ({HEIGHT}, {WIDTH}) and len(segments) > 30, len(segments)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_merge_of_100_masks_takes_less_than_a_tenth_of_their_planes():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # The map alone, int32, takes 8 MB.
    assert 4 * HEIGHT * WIDTH < int(done.stdout) < PLANES / 10
