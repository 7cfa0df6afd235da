"""A picture of too many pixels is refused by its header, before memory is taken for it."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

import clips
from segopt.errors import SourceError, UsageError
from segopt.pixel_limit import max_pixels
from segopt.sources import open_source

READ = """
import resource, sys
from segopt.errors import SegoptError
from segopt.sources import open_source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open_source(sys.argv[1]) as source:
        print(sum(frame.image.size for frame in source))
except SegoptError as error:
    print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
"""


def read(path, limit=None):
    environment = {name: value for name, value in os.environ.items() if "PIXELS" not in name}
    if limit is not None:
        environment["SEGOPT_MAX_PIXELS"] = str(limit)
    done = subprocess.run(
        [sys.executable, "-c", READ, path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_small_file_of_a_billion_pixels_takes_no_memory(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    assert "a.png: has more pixels than the limit of 178956970; set SEGOPT_MAX_PIXELS" in read(path)


def test_the_limit_is_the_users(tmp_path):
    path = clips.pictures(tmp_path, ["a.jpg"]) / "a.jpg"
    assert read(path, 10**6).isdecimal()
    assert "limit of 100;" in read(path, 100)
    assert "must be a whole number" in read(path, "many")


@pytest.mark.parametrize("text", ["0", "-5", "1e6", "٣", "9" * 20])
def test_a_limit_that_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv("SEGOPT_MAX_PIXELS", text)
    with pytest.raises(UsageError, match="SEGOPT_MAX_PIXELS"):
        max_pixels()


def test_a_video_of_larger_frames_is_refused(tmp_path, monkeypatch):
    clips.clip(tmp_path / "a.mp4", 3)
    with open_source(str(tmp_path / "a.mp4")) as source:
        height, width = next(iter(source)).image.shape[:2]
    monkeypatch.setenv("SEGOPT_MAX_PIXELS", str(height * width - 1))
    with pytest.raises(SourceError, match=f"has {width}x{height} pixels"):
        open_source(str(tmp_path / "a.mp4"))


def test_a_frame_that_grows_beyond_the_limit_ends_the_video(tmp_path, monkeypatch):
    """Two streams of different sizes, one behind the other, as a camera writes them that changes its mode."""
    small, large = (clips.clip(tmp_path / f"{name}.ts", 10, size=size) for name, size in SIZES)
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    monkeypatch.setenv("SEGOPT_MAX_PIXELS", str(200 * 200))
    shapes = set()
    with open_source(str(tmp_path / "both.ts")) as source, pytest.raises(SourceError):
        shapes.update(frame.image.shape for frame in source)
    assert all(np.prod(shape[:2]) <= 200 * 200 for shape in shapes)


SIZES = (("small", (96, 128)), ("large", (480, 640)))
