import http.server
import threading
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from segopt.errors import SourceBrokenError, SourceError, UsageError
from segopt.sources import open_source
from segopt.sources.pictures import read_picture


def read(spec, **options):
    """Every frame, and the error that ended it."""
    frames = []
    with open_source(str(spec), **options) as source:
        try:
            frames.extend(source)
        except SourceError as error:
            return source, frames, error
    return source, frames, None


def numbers(frames):
    return [clips.number_of(frame.image) for frame in frames]


def test_a_folder_gives_its_pictures_in_natural_order(tmp_path):
    folder = clips.pictures(tmp_path / "street", ["f1.png", "f2.png", "f10.png"])
    (folder / "notes.txt").write_text("not a picture")
    source, frames, error = read(folder)
    assert error is None
    assert (source.kind, source.live, source.name, source.frame_count) == ("pictures", False, "street", 3)
    assert [frame.file_name for frame in frames] == ["f1.png", "f2.png", "f10.png"]
    assert numbers(frames) == [0, 1, 2]
    assert all(frame.time is None for frame in frames)


def test_a_glob_gives_what_it_matches(tmp_path):
    folder = clips.pictures(tmp_path / "a", ["1.png", "2.jpg", "3.png"])
    _, frames, _ = read(folder / "*.png")
    assert [frame.file_name for frame in frames] == ["1.png", "3.png"]


def test_equal_stems_get_different_names(tmp_path):
    folder = clips.pictures(tmp_path / "a", ["x.jpg", "x.png", "x-2.png"])
    _, frames, _ = read(folder)
    assert len({frame.name for frame in frames}) == 3


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"stride": 2}, [0, 2, 4]),
        ({"stride": 3, "max_frames": 1}, [0]),
        ({"max_frames": 9}, [0, 1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("kind", ["pictures", "video"])
def test_stride_and_limit_keep_the_sources_own_indices(tmp_path, kind, options, indices):
    spec = tmp_path / "clip.mp4"
    if kind == "video":
        clips.clip(spec, 5)
    else:
        spec = clips.pictures(tmp_path / "five", [f"{i}.png" for i in range(5)])
    source, frames, error = read(spec, **options)
    assert error is None
    assert [frame.index for frame in frames] == numbers(frames) == indices
    assert options.get("max_frames", 0) > 5 or source.frame_count == len(indices)


@pytest.mark.parametrize("option", ["stride", "max_frames"])
def test_stride_and_limit_below_one_are_refused(option, tmp_path):
    with pytest.raises(UsageError, match="must be from 1 to"):
        open_source(str(tmp_path), **{option: 0})


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 6), 40000, np.uint16), [156, 156, 156]),
        (np.full((4, 6), 90, np.uint8), [90, 90, 90]),
        (np.full((4, 6, 4), (10, 20, 30, 0), np.uint8), [10, 20, 30]),
        (np.full((4, 6, 3), (2560, 5120, 7680), np.uint16), [10, 20, 30]),
    ],
    ids=["gray 16 bit", "gray", "alpha", "color 16 bit"],
)
def test_any_picture_becomes_bgr_uint8(tmp_path, pixels, expected):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_picture(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.shape == (4, 6, 3)
    assert np.abs(image[0, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("damage", ["half", "text", "empty"])
def test_a_damaged_picture_in_a_folder_is_left_out_and_reported_at_the_end(tmp_path, suffix, damage):
    folder = clips.pictures(tmp_path / "a", [f"{i}{suffix}" for i in range(4)])
    bad = folder / f"1{suffix}"
    data = bad.read_bytes()
    bad.write_bytes({"half": data[: len(data) // 2], "text": b"hello", "empty": b""}[damage])
    _, frames, error = read(folder)
    assert [frame.index for frame in frames] == [0, 2, 3]
    assert isinstance(error, SourceBrokenError)
    assert "1 of 4 pictures" in str(error)
    assert str(bad) in str(error)
    with pytest.raises(SourceError, match=bad.name):
        open_source(str(bad))


def several(path, count, size=(48, 64)):
    """One file with ``count`` pictures, the n-th one being ``frame(n)``."""
    pil = pytest.importorskip("PIL.Image")
    images = [pil.fromarray(clips.frame(i, size)[..., ::-1].copy()) for i in range(count)]
    options = {} if path.suffix == ".tif" else {"duration": 100}
    try:
        images[0].save(path, save_all=True, append_images=images[1:], **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {path.suffix}")
    return path


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif", ".tif", ".gif"])
@pytest.mark.parametrize("count", [2, 90])
def test_a_file_of_several_pictures_gives_them_all(tmp_path, suffix, count):
    source, frames, error = read(several(tmp_path / f"a{suffix}", count))
    assert error is None
    assert numbers(frames) == [frame.index for frame in frames] == list(range(count))
    assert source.frame_count == len({frame.name for frame in frames}) == count


def test_files_of_several_pictures_in_a_folder_keep_their_place_and_get_names_of_their_own(tmp_path):
    folder = clips.pictures(tmp_path / "in", ["a.png", "z.png"])
    several(folder / "m.tif", 20)
    source, frames, error = read(folder, stride=3)
    assert error is None
    assert [frame.index for frame in frames] == [0, 3, 6, 9, 12, 15, 18, 21]
    assert numbers(frames) == [0, 2, 5, 8, 11, 14, 17, 1]
    assert len(set(source.stems)) == source.frame_count + 14 == 22


def test_a_damaged_file_of_several_pictures_is_left_out_and_reported(tmp_path):
    folder = clips.pictures(tmp_path / "in", ["a.png", "z.png"])
    path = several(folder / "m.png", 5)
    path.write_bytes(path.read_bytes()[:-400])
    _, frames, error = read(folder)
    assert {frame.file_name for frame in frames} == {"a.png", "z.png"}
    assert "m.png" in str(error)


def test_a_constant_rate_video_gives_each_frame_with_its_time(tmp_path):
    source, frames, error = read(clips.clip(tmp_path / "clip.mp4", 20))
    assert error is None
    assert (source.kind, source.live, source.name, source.frame_count) == ("video", False, "clip", 20)
    assert source.rate == Fraction(25, 2)
    assert numbers(frames) == list(range(20))
    assert [frame.time for frame in frames] == [Fraction(2 * i, 25) for i in range(20)]
    assert {frame.duration for frame in frames} == {Fraction(2, 25)}
    assert len({frame.name for frame in frames}) == 20


def test_a_variable_rate_video_gives_its_own_times(tmp_path):
    times = [0, 40, 60, 160, 170]
    path = clips.clip(tmp_path / "vfr.mkv", 5, times=times, tick=Fraction(1, 1000))
    _, frames, error = read(path)
    assert error is None
    assert [frame.time * 1000 for frame in frames] == times


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.ts", "clip.webm"])
def test_other_containers_are_read_whole(tmp_path, name):
    codec = "libvpx" if name.endswith("webm") else "libx264"
    source, frames, error = read(clips.clip(tmp_path / name, 12, rate=Fraction(30000, 1001), codec=codec))
    assert error is None
    assert numbers(frames) == list(range(12))
    assert source.rate == Fraction(30000, 1001)


@pytest.mark.parametrize(("rotation", "turn"), [(90, 1), (180, 2), (-90, 3)])
def test_rotated_video_comes_upright(tmp_path, rotation, turn):
    path = clips.clip(tmp_path / "turned.mp4", 3, rotation=rotation)
    _, frames, error = read(path)
    assert error is None
    with av.open(str(path)) as container:
        upright = list(container.decode(video=0))
    degrees = round(upright[0].rotation)
    turns = degrees // 90 % 4
    assert turns == turn or turns == -turn % 4
    # Of the same file: on busy cores x264's threads now and then give other bits for the same frames.
    np.testing.assert_array_equal(frames[2].image, np.rot90(upright[2].to_ndarray(format="bgr24"), turns))


def test_a_video_of_one_frame_has_one_frame(tmp_path):
    source, frames, error = read(clips.clip(tmp_path / "one.mp4", 1))
    assert (len(frames), error, source.frame_count) == (1, None, 1)


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_video_cut_in_half_gives_its_good_frames_then_says_so(tmp_path, name):
    options = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    path = clips.clip(tmp_path / name, 40, noise=True, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _, frames, error = read(path)
    assert 10 < len(frames) < 30
    assert isinstance(error, SourceBrokenError)
    assert f"breaks off after {len(frames)} frames" in str(error)


def test_an_mp4_cut_between_two_frames_is_still_found_out(tmp_path):
    path = clips.clip(tmp_path / "cut.mp4", 40, noise=True, options={"movflags": "+faststart"})
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[30]
    path.write_bytes(path.read_bytes()[: entry.pos])
    _, frames, error = read(path)
    assert len(frames) == 30
    assert isinstance(error, SourceBrokenError)
    assert "30 of 40 frames" in str(error)


def test_a_video_with_damaged_frames_gives_what_came_before_them(tmp_path):
    path = clips.clip(tmp_path / "damaged.mp4", 40, noise=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = bytes(byte ^ 0x5A for byte in data[middle : middle + 20000])
    path.write_bytes(data)
    _, frames, error = read(path)
    assert 10 < len(frames) < 30
    assert isinstance(error, SourceBrokenError)


def test_a_limit_reached_before_the_damage_is_no_error(tmp_path):
    path = clips.clip(tmp_path / "cut.mp4", 40, noise=True, options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, frames, error = read(path, max_frames=5)
    assert (len(frames), error) == (5, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nothing.mp4", "does not exist"),
        (lambda p: clips.clip(p / "drive.mp4", 1).with_name("drvie.mp4"), r"did you mean .*drive\.mp4"),
        (lambda p: p / "no" / "where.jpg", "there is no folder"),
        (lambda p: p, "has no pictures"),
        (lambda p: clips.clip(p / "a.mp4", 1).parent, r"name one of its videos, as .*a\.mp4"),
        (lambda p: p / "*.jpg", "matches no file"),
    ],
    ids=["missing", "near name", "missing folder", "empty folder", "folder of videos", "empty glob"],
)
def test_what_does_not_exist_is_named_with_its_fix(tmp_path, make, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(make(tmp_path)))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a.jpg", "noending"])
@pytest.mark.parametrize("content", [b"", b"some words, and no picture at all\n" * 40])
def test_a_file_that_is_neither_picture_nor_video_is_refused(tmp_path, name, content, capfd):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        open_source(str(tmp_path / name))
    assert capfd.readouterr().err == ""


def test_a_picture_without_an_ending_is_recognized(tmp_path):
    clips.pictures(tmp_path, ["a.png"])
    (tmp_path / "a.png").rename(tmp_path / "a")
    _, frames, _ = read(tmp_path / "a")
    assert len(frames) == 1


def test_a_sound_file_has_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(SourceError, match="has no video in it"):
        open_source(str(tmp_path / "sound.m4a"))


def test_a_camera_that_is_not_there_is_one_clear_line(capfd):
    with pytest.raises(SourceError, match="camera 97: cannot be opened"):
        open_source("97")
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
def test_a_gstreamer_pipeline_without_gstreamer_says_what_to_install():
    with pytest.raises(SourceError, match="python3-opencv"):
        open_source("videotestsrc ! videoconvert ! appsink")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_dead_address_is_named_without_its_password(scheme):
    with pytest.raises(SourceError, match=r"cannot be opened") as caught:
        open_source(f"{scheme}://me:secret@127.0.0.1:9/cam", timeout=2)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_a_finite_file_over_http_is_not_live_and_loses_no_frame(tmp_path):
    clips.clip(tmp_path / "clip.mp4", 20, options={"movflags": "+faststart"})

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source, frames, error = read(f"http://127.0.0.1:{server.server_port}/clip.mp4", timeout=5)
        server.shutdown()
    assert (source.live, source.name, source.frame_count) == (False, "clip", 20)
    assert (numbers(frames), error) == (list(range(20)), None)


def test_an_endless_http_stream_is_live_and_its_end_is_reported(tmp_path):
    data = clips.clip(tmp_path / "clip.ts", 60, noise=True).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source, frames, error = read(f"http://127.0.0.1:{server.server_port}/cam", timeout=5)
        server.shutdown()
    assert source.live
    assert source.frame_count is None
    assert [frame.index for frame in frames] == list(range(60))
    assert isinstance(error, SourceBrokenError)
    assert "breaks off after 60 frames" in str(error)


@pytest.mark.parametrize("spec", ["filesrc location=\udcfc.mp4 ! decodebin ! appsink", "\ud800 ! appsink"])
def test_a_pipeline_that_is_no_utf_8_is_one_line(spec):
    """OpenCV crashes on it, with every backend."""
    with pytest.raises(SourceError, match="is no UTF-8") as caught:
        open_source(spec)
    assert str(caught.value).isprintable()
