import struct

import av
import cv2
import numpy as np
import pytest

from segopt.sources import open_source
from segopt.sources.orientation import Orientation, avif_orientation
from segopt.sources.pictures import read_picture

FFMPEG = {
    (1, 0, 0, 1): [("null", "")],
    (-1, 0, 0, 1): [("hflip", "")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
    (0, -1, 1, 0): [("transpose", "cclock")],
}
"""What ffmpeg's own -autorotate does for each display matrix a, b, c, d (fftools/ffmpeg_filter.c)."""


def four_colors(size=(48, 64)):
    image = np.zeros((*size, 3), np.uint8)
    y, x = size[0] // 2, size[1] // 2
    image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:] = (
        (40, 40, 220), (40, 200, 40), (220, 60, 40), (40, 200, 200),
    )  # fmt: skip
    return image


def film(path, matrix=(1, 0, 0, 1)):
    """An MP4 of three equal frames with a display matrix, which libavformat would not write for a mirrored one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(four_colors(), format="bgr24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 24 + 16
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def shown_by_ffmpeg(path, matrix):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=64, height=48, format=frame.format, time_base=frame.time_base)]
    nodes += [graph.add(*filter_) for filter_ in FFMPEG[matrix]]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    graph.vpush(frame)
    return graph.vpull().to_ndarray(format="bgr24")


def first(path):
    with open_source(str(path)) as source:
        return next(iter(source)).image


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("matrix", FFMPEG, ids=str)
def test_a_video_is_shown_upright_in_all_eight_orientations(tmp_path, matrix, ending):
    path = film(tmp_path / "film.mp4", matrix)
    if ending != "mp4":
        copied = tmp_path / f"copied.{ending}"
        with av.open(str(path)) as source, av.open(str(copied), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        path = copied
    image, expected = first(path), shown_by_ffmpeg(path, matrix)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 2


def test_a_matrix_of_an_odd_angle_or_of_nothing_is_no_error():
    quarter = struct.pack("=9i", 10, 60000, 0, -60000, 10, 0, 0, 0, 1 << 30)
    assert Orientation.of_matrix(quarter) == Orientation.of_turn(270)
    assert Orientation.of_matrix(bytes(36)) == Orientation.of_matrix(b"") == Orientation()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_picture_is_shown_upright_in_all_eight_orientations(tmp_path, number, suffix):
    pil = pytest.importorskip("PIL.Image")
    ops = pytest.importorskip("PIL.ImageOps")
    if suffix == ".avif" and not _reads_avif():
        pytest.skip("no AVIF in this OpenCV or Pillow")
    path = tmp_path / f"a{suffix}"
    exif = pil.Exif()
    exif[0x0112] = number
    pil.fromarray(four_colors()[..., ::-1].copy()).save(path, exif=exif.tobytes())
    with pil.open(path) as picture:
        expected = np.asarray(ops.exif_transpose(picture).convert("RGB"))[..., ::-1]
    image = read_picture(path)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 3


def _reads_avif():
    features = pytest.importorskip("PIL.features")
    return features.check("avif") and cv2.imencode(".avif", four_colors())[0]


def test_orientation_of_a_broken_avif_is_upright():
    rng = np.random.default_rng(0)
    meta = b"meta" + bytes(4) + b"\0\0\0\x18iprp" + b"\0\0\0\x10ipma" + bytes(8)
    for size in range(len(meta)):
        assert avif_orientation(b"\0\0\0\x30" + meta[:size]) == Orientation()
    for _ in range(300):
        noise = bytearray(b"\0\0\0\x30" + meta + b"\0\0\0\x0epitm" + bytes(6))
        for at in rng.integers(0, len(noise), 4):
            noise[at] = rng.integers(256)
        avif_orientation(bytes(noise))
