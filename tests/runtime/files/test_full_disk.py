"""Full disks, for real: a small file system of its own, and a limit on the size of files."""

import json
import os
import resource
import signal
import subprocess
from fractions import Fraction

import numpy as np
import pytest

import clips
from segopt.errors import SinkError
from segopt.files.atomic import write_bytes
from segopt.sinks.json_list import JsonStream
from segopt.sinks.mp4 import VideoWriter


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_files(tmp_path):
    """A folder where no file may get above 2 MB, as with a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["small_disk", "small_files"])
def tight(request):
    return request.getfixturevalue(request.param)


def test_a_video_on_a_full_disk_is_completed_and_plays(tight):
    rng = np.random.default_rng(0)
    video = VideoWriter(tight / "out.mp4", rate=Fraction(25, 2))
    with pytest.raises(SinkError, match=r"out\.mp4: cannot be written .* first \d+ frames are kept") as caught:  # noqa: PT012
        for _ in range(2000):
            video.write(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8))
    assert "\n" not in str(caught.value)
    played = clips.play(tight / "out.mp4")
    assert f"first {played.frames} frames" in str(caught.value)
    assert played.frames > 10
    assert (played.rate, played.index_first) == (Fraction(25, 2), True)
    assert [path.name for path in tight.iterdir()] == ["out.mp4"]
    video.close()


def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_disk_that_others_fill_does_not_cost_the_video(small_disk):
    rng = np.random.default_rng(0)
    video = VideoWriter(small_disk / "out.mp4", rate=Fraction(25))
    for _ in range(20):
        video.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    fill(small_disk / "other")
    video.close()
    assert clips.play(small_disk / "out.mp4").frames == 20


def test_a_json_list_on_a_full_disk_stays_valid(tight):
    entry = {"text": "x" * 10_000}
    stream = JsonStream(tight / "list.json", key="entries", head={"version": 1})
    with pytest.raises(SinkError, match="cannot be written"):  # noqa: PT012
        for i in range(2000):
            stream.extend([entry], {"names": f"picture {i}"})
    stream.close()
    document = json.loads((tight / "list.json").read_text())
    assert document["version"] == 1
    assert len(document["entries"]) == len(document["names"]) == stream.entries > 50


def test_a_file_that_does_not_fit_leaves_nothing_and_keeps_the_old_one(tight):
    write_bytes(tight / "a.bin", b"old")
    with pytest.raises(SinkError, match=r"a\.bin: cannot be written"):
        write_bytes(tight / "a.bin", bytes(8 << 20))
    assert (tight / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tight.iterdir()] == ["a.bin"]
