import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from segopt.errors import SourceBrokenError, SourceError
from segopt.sources import open_source
from segopt.sources.codec_lines import call_listening
from segopt.sources.damage import DamagedPictureError, intact
from segopt.sources.pictures import read_picture


def scene(seed=0, size=(120, 160)):
    """Something like a photo: soft, with some grain."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def encoded(suffix, image=None, *options):
    done, data = cv2.imencode(suffix, scene() if image is None else image, list(options))
    assert done
    return data.tobytes()


def wrong(image, right):
    """Share of pixels that are visibly wrong."""
    return 1.0 if image.shape != right.shape else (np.abs(image.astype(int) - right).max(2) > 24).mean()


def read_picture_of(folder, suffix, data):
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    return read_picture(path)


def damaged(data, rng):
    changed = bytearray(data)
    kind = rng.integers(3)
    if kind == 0:
        for at in rng.integers(len(data) // 5, len(data), rng.integers(1, 20)):
            changed[at] = rng.integers(256)
    elif kind == 1:
        at = rng.integers(len(data) // 5, len(data) - 300)
        changed[at : at + 256] = rng.integers(0, 256, 256, dtype=np.uint8).tobytes()
    else:
        del changed[rng.integers(len(data) // 4, len(data) - 4) :]
    return bytes(changed)


JPEG = (".jpg", cv2.IMWRITE_JPEG_QUALITY, 90)
FORMS = {
    "jpeg": (JPEG, 0.9),
    "progressive jpeg": ((*JPEG, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 0.9),
    "png": ((".png",), 1.0),
    "deflated tiff": ((".tif", cv2.IMWRITE_TIFF_COMPRESSION, 8), 1.0),
}


@pytest.mark.parametrize("form", FORMS)
def test_visible_damage_is_found_and_nothing_is_printed(tmp_path, form, capfd):
    (suffix, *options), share = FORMS[form]
    good = encoded(suffix, None, *options)
    right = read_picture_of(tmp_path, suffix, good)
    rng = np.random.default_rng(1)
    visible = found = 0
    for _ in range(200):
        bad = damaged(good, rng)
        image, _ = call_listening(lambda data=bad: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        if image is None or (wrong(image, right) > 0.05):
            visible += 1
            try:
                read_picture_of(tmp_path, suffix, bad)
            except SourceError as error:
                assert "\n" not in str(error)  # noqa: PT017
                found += 1
    assert visible > 50
    assert found >= share * visible
    assert capfd.readouterr() == ("", "")


def test_what_others_print_while_a_picture_is_decoded_is_passed_on(capfd):
    def decode():
        os.write(2, b"Corrupt JPEG data: bad Huffman code\nsomebody else's line\n")
        return 7

    assert call_listening(decode) == (7, "Corrupt JPEG data: bad Huffman code")
    assert capfd.readouterr().err == "somebody else's line\n"


def test_a_few_bytes_of_padding_are_no_damage(tmp_path):
    data = encoded(".jpg")
    (tmp_path / "a.jpg").write_bytes(data[:-2] + bytes(3) + data[-2:])
    assert read_picture(tmp_path / "a.jpg").shape == (120, 160, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp", ".jp2", ".webp"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_picture_that_is_cut_short_is_one_clear_line(tmp_path, suffix, kept, capfd):
    if suffix == ".jp2" and not cv2.haveImageWriter(".jp2"):
        pytest.skip("no JPEG 2000 in this OpenCV")
    data = encoded(suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(SourceError, match=path.name) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_motion_photo_is_whole(tmp_path):
    """A phone's JPEG with a video behind it, whose bytes look like more JPEG."""
    data = encoded(".jpg")
    (tmp_path / "a.jpg").write_bytes(data + b"\0\0\0\x18ftypmp42" + b"\x12\xff\xda\x34\xff\xc4" * 30)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1))


def test_a_preview_in_a_segment_is_not_the_end(tmp_path):
    data, preview = encoded(".jpg"), encoded(".jpg", scene(1, (16, 16)))
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    assert read_picture(tmp_path / "a.jpg").shape == (120, 160, 3)
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2 : len(data) // 2])
    with pytest.raises(SourceError, match="damaged"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path, missing, progressive, capfd):
    data = encoded(*JPEG[:1], None, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    (tmp_path / "a.jpg").write_bytes(data[:-missing])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    assert capfd.readouterr() == ("", "")


def test_good_pictures_are_never_refused():
    pil = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    jpeg = [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"subsampling": 1}]
    jpeg += [{"restart_marker_blocks": 2}, {"quality": 5}, {"quality": 99}]
    tiff = [
        {"compression": name} for name in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
    ]
    forms = [("JPEG", mode, options) for mode in ("RGB", "L", "CMYK") for options in jpeg]
    forms += [("TIFF", mode, options) for mode in ("RGB", "L", "RGBA", "P", "1", "LA", "CMYK") for options in tiff]
    forms += [
        (name, mode, {}) for name in ("BMP", "PNG", "JPEG2000", "WEBP", "GIF") for mode in ("RGB", "L", "P", "1")
    ]
    checked = 0
    for name, mode, options in forms:
        height, width = rng.integers(1, 150, 2)
        picture = pil.fromarray(scene(2, (int(height), int(width)))).convert(mode)
        file = io.BytesIO()
        try:
            picture.save(file, name, **options)
        except (OSError, ValueError, KeyError):
            continue  # Pillow has no such form.
        assert intact(file.getvalue()), (name, mode, options)
        checked += 1
    assert checked > 60


def test_what_is_no_picture_at_all_is_left_to_the_decoder():
    rng = np.random.default_rng(0)
    starts = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"\0\0\0\x0cjP  "]
    for _ in range(500):
        data = starts[rng.integers(len(starts))] + rng.integers(0, 256, rng.integers(80), dtype=np.uint8).tobytes()
        try:
            intact(data)
        except DamagedPictureError:
            continue


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_few_bits_of_16_are_scaled_and_that_is_said(tmp_path, bits):
    from segopt.sources import open_source

    ramp = np.tile(np.linspace(0, (1 << bits) - 1, 320).astype(np.uint16), (24, 1))
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), ramp)
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    expected = (ramp >> (bits - 8)).astype(int)
    assert np.abs(frames[1].image[..., 0].astype(int) - expected).max() <= 1
    assert len(source.notes) == 1
    assert f"uses {bits} of its 16 bits" in source.notes[0]


@pytest.mark.parametrize("value", [0, 3000])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_dark_picture_stays_dark(tmp_path, value, kind):
    image = np.full((20, 20), value // 256 if kind == np.uint8 else value, kind)
    image[0, 0] = 12 if kind == np.uint8 else 60000 if value else 0
    cv2.imwrite(str(tmp_path / "a.png"), image)
    notes = []
    assert read_picture(tmp_path / "a.png", notes.append)[10, 10, 0] == value // 256
    assert notes == []


def test_an_animation_that_claims_more_frames_than_its_bytes_hold_is_damaged(tmp_path):
    path = tmp_path / "a.png"
    animation = cv2.Animation()
    animation.frames = [np.full((8, 8, 3), level, np.uint8) for level in (10, 90, 200)]
    animation.durations = [100, 100, 100]
    assert cv2.imwriteanimation(str(path), animation)
    with open_source(str(path)) as source:
        assert source.frame_count == 3
    data = bytearray(path.read_bytes())
    at = data.index(b"acTL")
    for claimed in (65535, 400_000_000):
        data[at + 4 : at + 8] = struct.pack(">I", claimed)
        data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
        path.write_bytes(data)
        with pytest.raises(SourceError, match=rf"a\.png: the picture is damaged \(it claims {claimed} frames in"):
            open_source(str(path))
    cv2.imwrite(str(tmp_path / "b.png"), scene())
    with (
        open_source(str(tmp_path)) as source,
        pytest.raises(SourceBrokenError, match=r"1 of 2 .*a\.png: .*damaged"),
    ):
        list(source)
    assert source.frame_count == 2


# What getrusage says begins with what the process had that started this one.
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_chunk_that_claims_four_gigabytes_takes_none(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), scene())
    data = path.read_bytes()
    at = data.index(b"IDAT")
    path.write_bytes(data[: at - 4] + b"\xff" * 4 + data[at:])
    code = (
        "import re, sys\n"
        "from segopt.sources import open_source\n"
        "try: open_source(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    said, kibibytes = done.stdout.splitlines()
    assert "a.png: the picture is damaged (it is cut short)" in said
    assert int(kibibytes) < 1 << 20
