import json
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import clips
from segopt.errors import SinkError
from segopt.files.reserved import ReservedFile
from segopt.sinks.json_list import JsonStream
from segopt.sinks.mp4 import _OPTIONS, VideoWriter
from segopt.sinks.recovery import recover, recover_below

WRITE_AND_DIE = """
import os, pathlib, sys
from fractions import Fraction
import clips
from segopt.sinks.json_list import JsonStream
from segopt.sinks.mp4 import VideoWriter
folder = pathlib.Path(sys.argv[1])
video = VideoWriter(folder / "a.mp4", rate=Fraction(25, 2))
coco = JsonStream(folder / "coco.json")
panoptic = JsonStream(folder / "panoptic.json", key="annotations", head={"info": {}, "categories": [1]})
for i in range(int(sys.argv[2])):
    video.write(clips.frame(i % 100))
    coco.extend([{"i": i}, {"i": i}])
    panoptic.extend([{"i": i}], {"images": {"id": i}})
os._exit(9)
"""


def write_and_die(folder, frames):
    tests = os.path.dirname(clips.__file__)  # noqa: PTH120
    path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", WRITE_AND_DIE, str(folder), str(frames)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == 9


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_killed_writer_leaves_a_video_that_plays_and_can_be_completed(tmp_path):
    write_and_die(tmp_path, 200)
    (part,) = tmp_path.glob(".a.mp4.*.part")
    with av.open(str(part)) as container:
        played = sum(1 for _ in container.decode(video=0))
    recovery = recover(tmp_path)
    video = clips.play(tmp_path / "a.mp4")
    assert video.index_first
    # All but the last second, and what the encoder held.
    assert video.frames == played >= 200 - 13 - 60
    numbers = [round(time * Fraction(25, 2)) for time in video.times]
    assert video.numbers == [number % 100 for number in numbers]
    assert_a_beginning(numbers)
    assert {(file.path.name, file.count) for file in recovery.files} >= {("a.mp4", video.frames)}
    assert hidden(tmp_path) == []


def test_json_documents_are_completed_entry_by_entry(tmp_path):
    write_and_die(tmp_path, 7)
    recover(tmp_path)
    assert json.loads((tmp_path / "coco.json").read_text()) == [{"i": i // 2} for i in range(14)]
    assert json.loads((tmp_path / "panoptic.json").read_text()) == {
        "info": {},
        "categories": [1],
        "annotations": [{"i": i} for i in range(7)],
        "images": [{"id": i} for i in range(7)],
    }
    assert hidden(tmp_path) == []


def assert_a_beginning(numbers):
    """All frames up to somewhere, but that B-frames, which are stored behind a later one, may be missing there."""
    assert numbers == sorted(set(numbers))
    missing = set(range(numbers[-1])) - set(numbers)
    assert all(number >= numbers[-1] - 3 for number in missing)


def cut(path, keep):
    """What a power cut may leave: the end is missing, or zeros."""
    data = path.read_bytes()
    path.write_bytes(data[:keep] + bytes(len(data) - keep))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_missing_at_the_end_the_rest_is_whole(tmp_path, seed):
    rng = np.random.default_rng(seed)
    write_and_die(tmp_path, 60)
    for path in tmp_path.glob(".*"):
        if rng.random() < 0.7:
            used = len(path.read_bytes().rstrip(b"\0"))
            cut(path, int(rng.integers(0, used)))
    recover(tmp_path)
    assert hidden(tmp_path) == []
    if (tmp_path / "a.mp4").exists():
        video = clips.play(tmp_path / "a.mp4")
        assert_a_beginning(video.numbers)
    if (tmp_path / "coco.json").exists():
        entries = json.loads((tmp_path / "coco.json").read_text())
        assert entries == [{"i": i // 2} for i in range(len(entries))]
    if (tmp_path / "panoptic.json").exists():
        document = json.loads((tmp_path / "panoptic.json").read_text())
        count = len(document["annotations"])
        assert document["annotations"] == [{"i": i} for i in range(count)]
        assert document["images"] == [{"id": i} for i in range(count)]


def test_an_older_file_of_that_name_stays(tmp_path):
    write_and_die(tmp_path, 3)
    (tmp_path / "coco.json").write_text("older")
    recover(tmp_path)
    assert (tmp_path / "coco.json").read_text() == "older"
    assert len(json.loads((tmp_path / "coco-2.json").read_text())) == 6


def test_what_is_still_being_written_is_not_touched(tmp_path):
    living = JsonStream(tmp_path / "coco.json")
    living.extend([1])
    assert (recover(tmp_path).files, recover_below(tmp_path).swept) == ((), 0)
    living.extend([2])
    living.close()
    assert json.loads((tmp_path / "coco.json").read_text()) == [1, 2]


def reference(path, images, times, tick):
    """The MP4 that libavformat's muxer makes of the frames without any detour."""
    writer = VideoWriter(path, rate=Fraction(25), tick=tick)
    file = ReservedFile(path, 0)
    with av.open(
        file,
        mode="w",
        format="mp4",
        options={"movflags": "+faststart"},
        io_open=lambda _url, _flags, _options: file.reader(),
    ) as container:
        stream = container.add_stream("libx264", rate=25, options=dict(_OPTIONS["libx264"]))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size = writer._tick, 100
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        writer._size = (64, 48)
        durations = {}
        packets = []
        for image, time in zip(images, times, strict=True):
            frame = writer._video_frame(image)
            frame.pts, frame.time_base = writer._place(time), writer._tick
            durations[frame.pts] = writer._length(None)
            writer.frames += 1
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            packet.duration = durations.pop(packet.pts)
            container.mux(packet)
    file.commit()
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steady", [True, False])
def test_the_detour_over_fragments_changes_no_byte(tmp_path, steady, seed):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(70)]
    tick = Fraction(1, 90_000)
    steps = [3600] * 70 if steady else rng.integers(1, 90_000, 70).tolist()
    times = [Fraction(sum(steps[:i]), 90_000) for i in range(70)]
    with VideoWriter(tmp_path / "a.mp4", rate=Fraction(25), tick=tick) as video:
        for image, time in zip(images, times, strict=True):
            video.write(image, time=time)
    assert (tmp_path / "a.mp4").read_bytes() == reference(tmp_path / "b.mp4", images, times, tick)


def test_without_room_for_a_copy_the_same_file_comes_of_it(tmp_path, monkeypatch):
    def write(path):
        with VideoWriter(path, rate=Fraction(25)) as video:
            for i in range(60):
                video.write(clips.frame(i))
        return path.read_bytes()

    open_file = ReservedFile.__init__

    def no_copy(self, path, reserve, **options):
        if options.get("ending") == "tmp":
            raise SinkError("full")
        open_file(self, path, reserve, **options)

    copied = write(tmp_path / "a.mp4")
    monkeypatch.setattr(ReservedFile, "__init__", no_copy)
    assert write(tmp_path / "b.mp4") == copied
    assert hidden(tmp_path) == []
