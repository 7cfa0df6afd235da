from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from segopt.sources import open_source


def read(spec, **options):
    with open_source(str(spec), **options) as source:
        return list(source), source.notes


def film(path, images, *, codec="libx264", aspect=None, pixels="yuv420p", options=None, tags=(), rate=25):
    """Lossless frames with the tags that are given: colorspace, color_primaries, color_trc, color_range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pixels
        context = stream.codec_context
        if aspect:
            context.sample_aspect_ratio = aspect
        for name, value in dict(tags).items():
            setattr(context, name, value)
        for i, image in enumerate(images):
            frame = image
            if isinstance(image, np.ndarray):
                frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixels)
            frame.pts, frame.time_base = i, Fraction(1, rate)
            for name, value in dict(tags).items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (64, 48)),
        (Fraction(16, 15), (51, 48)),
        (Fraction(8, 9), (48, 54)),
        (Fraction(1), (48, 48)),
    ],
    ids=str,
)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_pixels_that_are_not_square_become_square(tmp_path, aspect, size, ending):
    circle = cv2.circle(np.zeros((48, 48, 3), np.uint8), (24, 24), 16, (255, 255, 255), -1)
    frames, notes = read(film(tmp_path / f"a.{ending}", [circle] * 12, aspect=aspect))
    assert {frame.image.shape[1::-1] for frame in frames} == {size}
    across = (frames[0].image[size[1] // 2, :, 0] > 127).sum()
    down = (frames[0].image[:, size[0] // 2, 0] > 127).sum()
    assert across / down == pytest.approx(float(aspect), rel=0.07)
    assert len(notes) == (aspect != 1)
    assert aspect == 1 or f"not square ({aspect})" in notes[0]


def test_a_shape_of_pixels_that_cannot_be_is_not_believed(tmp_path):
    frames, notes = read(film(tmp_path / "a.mp4", [clips.frame(0)], aspect=Fraction(1, 200)))
    assert (frames[0].image.shape, notes) == ((48, 64, 3), [])


def woven(number):
    """Two moments in one frame, as an interlaced camera gives them: a bar that moves on between the fields."""
    image = np.full((64, 96, 3), 30, np.uint8)
    for field in range(2):
        left = 8 + 8 * number + 4 * field
        image[field::2, left : left + 16] = 220
    return image


def interlaced(path, frames=6):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"qscale": "2", "flags": "+ildct+ilme"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(woven(i), format="bgr24").reformat(format="yuv420p")
            graph = av.filter.Graph()
            nodes = [
                graph.add_buffer(width=96, height=64, format=frame.format, time_base=Fraction(1, 25)),
                graph.add("setfield", "tff"),
                graph.add("buffersink"),
            ]
            graph.link_nodes(*nodes).configure()
            graph.vpush(frame)
            frame = graph.vpull()
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combing(image):
    """How much more neighboring rows differ than rows of one field do."""
    gray = image[4:-4, :, 0].astype(int)
    return np.abs(gray[1:] - gray[:-1]).mean() - np.abs(gray[2:] - gray[:-2]).mean()


@pytest.mark.parametrize("ending", ["ts", "mkv", "mpg"])
def test_interlaced_frames_are_deinterlaced(tmp_path, ending):
    path = interlaced(tmp_path / f"a.{ending}")
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    frames, notes = read(path)
    assert min(combing(image) for image in raw) > 15
    assert max(combing(frame.image) for frame in frames) < 3
    assert len(frames) == len(raw) == 6
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.time - frames[0].time for frame in frames] == [Fraction(i, 25) for i in range(6)]
    assert {frame.duration for frame in frames} <= {None, Fraction(1, 25)}
    assert [note.split(": ")[1] for note in notes] == ["interlaced frames are deinterlaced"]


def test_frames_that_are_not_interlaced_stay_as_they_are(tmp_path):
    plain = clips.clip(tmp_path / "plain.ts", 5, size=(64, 96), codec="mpeg2video", rate=Fraction(25))
    mixed = tmp_path / "mixed.ts"
    mixed.write_bytes(plain.read_bytes() + interlaced(tmp_path / "a.ts", 4).read_bytes() + plain.read_bytes())
    with av.open(str(mixed)) as container:
        decoded = list(container.decode(video=0))
    assert [frame.interlaced_frame for frame in decoded] == [False] * 5 + [True] * 4 + [False] * 5
    frames, _ = read(mixed)
    assert len(frames) == 14
    for i in (*range(5), *range(9, 14)):
        np.testing.assert_array_equal(frames[i].image, decoded[i].to_ndarray(format="bgr24"))


def test_a_stride_is_counted_in_deinterlaced_frames(tmp_path):
    path = interlaced(tmp_path / "a.ts", 7)
    every, _ = read(path)
    third, _ = read(path, stride=3)
    assert [frame.index for frame in third] == [0, 3, 6]
    for frame in third:
        np.testing.assert_array_equal(frame.image, every[frame.index].image)


def sizes_that_change(path):
    with path.open("wb") as file:
        for size in ((48, 64), (96, 96)):
            part = path.with_name("part.h264")
            with av.open(str(part), "w") as container:
                stream = container.add_stream("libx264", rate=25)
                stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
                for i in range(5):
                    image = clips.frame(i, size)
                    image[:2] = 255
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
                container.mux(stream.encode(None))
            file.write(part.read_bytes())
    return path


def test_frames_whose_size_changes_are_given_as_they_are_and_said_once(tmp_path):
    frames, notes = read(sizes_that_change(tmp_path / "a.h264"))
    assert [frame.image.shape[:2] for frame in frames] == [(48, 64)] * 5 + [(96, 96)] * 5
    assert [note.split(": ")[1] for note in notes] == [
        "frames change from 64x48 to 96x96; a video made of them stays 64x48"
    ]


def two_films(path, sizes, default=None):
    with av.open(str(path), "w") as container:
        streams = []
        for number, size in enumerate(sizes):
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = int(number == default) if default is not None else 0
            streams.append(stream)
        for i in range(4):
            for number, stream in enumerate(streams):
                image = clips.frame(10 * number + i, sizes[number])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("default", "taken", "said"),
    [(None, 1, "the largest one (stream 1, 128x96)"), (0, 0, "the default one (stream 0, 64x48)")],
)
def test_of_several_video_streams_the_default_or_the_largest_is_taken_and_said(tmp_path, default, taken, said):
    frames, notes = read(two_films(tmp_path / "a.mkv", [(48, 64), (96, 128)], default))
    assert [clips.number_of(frame.image) for frame in frames] == [10 * taken + i for i in range(4)]
    assert len(notes) == 1
    assert "has 2 video streams" in notes[0]
    assert said in notes[0]


COLORS = [(40, 40, 220), (40, 200, 40), (220, 60, 40), (128, 128, 128), (120, 160, 200)]
"""BGR."""
BT709, UNTAGGED, BT601, BT2020 = 1, 2, 6, 9
MATRICES = {BT709: "ITU709", BT601: "ITU601"}


def stripes(height, width):
    return np.concatenate([np.full((height, width // len(COLORS), 3), color, np.uint8) for color in COLORS], 1)


def middles(image):
    step = image.shape[1] / len(COLORS)
    return [image[image.shape[0] // 2, round((i + 0.5) * step)].astype(int) for i in range(len(COLORS))]


@pytest.mark.parametrize(
    ("size", "tag", "matrix"),
    [
        ((720, 1280), UNTAGGED, BT709),
        ((1080, 1920), UNTAGGED, BT709),
        ((576, 720), UNTAGGED, BT601),
        ((480, 640), UNTAGGED, BT601),
        ((720, 1280), BT601, BT601),
        ((480, 640), BT709, BT709),
    ],
)
def test_colors_are_read_by_their_tag_and_without_one_as_players_do(tmp_path, size, tag, matrix):
    picture = av.VideoFrame.from_ndarray(stripes(*size), format="bgr24")
    coded = picture.reformat(format="yuv420p", dst_colorspace=MATRICES[matrix], dst_color_range="MPEG")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.colorspace = coded.colorspace = tag
        coded.pts, coded.time_base = 0, Fraction(1, 25)
        container.mux([*stream.encode(coded), *stream.encode(None)])
    frames, notes = read(path)
    assert notes == []
    assert np.abs(np.subtract(middles(frames[0].image), COLORS)).max() <= 6


TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""Linear BT.709 RGB to BT.2020 (ITU-R BT.2087)."""
PQ, HLG = 16, 18


def as_hdr(image, transfer):
    """What a BT.2100 camera makes of an sRGB scene whose white has 203 cd/m2 (ITU-R BT.2408); a 10-bit frame."""
    rgb = image[..., ::-1] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ TO_BT2020.T
    if transfer == PQ:
        y = (linear * 203 / 10000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        shown = linear * 203 / 1000
        scene = shown * (shown @ [0.2627, 0.6780, 0.0593])[..., None] ** (1 / 1.2 - 1)
        upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        coded = np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)
    luma = coded @ [0.2627, 0.6780, 0.0593]
    blue, red = (coded[..., 2] - luma) / 1.8814, (coded[..., 0] - luma) / 1.4746
    planes = [64 + 876 * luma, (512 + 896 * blue)[::2, ::2], (512 + 896 * red)[::2, ::2]]
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuv420p10le")
    for target, plane in zip(frame.planes, planes, strict=True):
        padded = np.zeros((target.height, target.line_size // 2), "<u2")
        padded[:, : plane.shape[1]] = np.round(plane)
        target.update(padded.tobytes())
    return frame


@pytest.mark.parametrize("transfer", [PQ, pytest.param(HLG, marks=pytest.mark.slow)], ids=["PQ", "HLG"])
def test_hdr_is_converted_to_sdr_and_said_once(tmp_path, transfer):
    tags = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": transfer, "color_range": 1}
    scene = stripes(64, 320)
    frames_in = [as_hdr(scene, transfer) for _ in range(3)]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 320, "yuv420p10le"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for i, frame in enumerate(frames_in):
            frame.pts, frame.time_base = i, Fraction(1, 25)
            for name, value in tags.items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames, notes = read(path)
    assert len(frames) == 3
    # libswscale's table is coarse: the greens lose up to 22 of 255, where reading it as SDR loses 100.
    difference = np.abs(np.subtract(middles(frames[2].image), COLORS))
    assert difference.max() <= 24
    assert difference.mean() <= 8
    assert len(notes) == 1
    assert f"HDR ({ {PQ: 'PQ', HLG: 'HLG'}[transfer] })" in notes[0]
