"""Pictures and videos, through ``segopt run`` with a tiny engine."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

import clips
import tiny
from fuzzing.attempts import FaultError, Outcome, command
from fuzzing.mutators import damaged, resealed_png

Attempt = Callable[[Random, Path], Outcome]

_SIZE = (60, 80)
_BIT_DEPTH = 24
"""Place of that byte in a PNG."""


def pictures(good: Path) -> Attempt:
    """Damaged bytes of pictures of every format, of several in a file too."""
    engine = tiny.panoptic_engine(good / "engine.onnx")
    samples = _picture_samples()
    every = [data for forms in samples.values() for data in forms]

    def attempt(chance: Random, case: Path) -> Outcome:
        suffix = chance.choice(sorted(samples))
        others = samples[suffix] if chance.random() < 0.9 else every
        path = case / "in" / f"street{suffix}"
        data = damaged(chance.choice(samples[suffix]), others, chance)
        path.write_bytes(resealed_png(data, chance) or b"\0")
        outcome = _run(case, path, engine)
        if outcome == "right" and suffix != ".gif":
            _compare_with_pillow(path, case / "out")
        return outcome

    return attempt


def videos(good: Path) -> Attempt:
    """Damaged bytes of short videos in each container, with sound and without."""
    engine = tiny.panoptic_engine(good / "engine.onnx")
    samples = _video_samples(good)

    def attempt(chance: Random, case: Path) -> Outcome:
        suffix = chance.choice(sorted(samples))
        path = case / "in" / f"drive{suffix}"
        path.write_bytes(damaged(chance.choice(samples[suffix]), samples[suffix], chance) or b"\0")
        outcome = _run(case, path, engine)
        _check_frames(path.stem, case / "out")
        return outcome

    return attempt


def _run(case: Path, path: Path, engine: Path) -> Outcome:
    saves = ("--save", "overlay,panoptic,coco", "--output", "out")
    return command(case, path.name, "run", "--engine", engine, f"in/{path.name}", *saves, "--max-frames", "100")


def _check_frames(stem: str, out: Path) -> None:
    """As many frames in the video as pictures and entries beside it."""
    if not (out / "panoptic.json").exists():
        return
    document = json.loads((out / "panoptic.json").read_text())
    pngs = len(list((out / "panoptic").glob("*.png")))
    overlay = out / f"{stem}-overlay.mp4"
    frames = clips.play(overlay).frames if overlay.exists() else 0
    counts = (len(document["annotations"]), len(document["images"]), pngs)
    if set(counts) != {frames} and (frames or any(counts)):
        raise FaultError(f"the video has {frames} frames; annotations, images and PNGs are {counts}")


def _compare_with_pillow(path: Path, out: Path) -> None:
    """Where Pillow reads the same file, it has the same size, and a PNG the same pixels."""
    sizes = {
        image["width"] * image["height"] for image in json.loads((out / "panoptic.json").read_text())["images"]
    }
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.width * picture.height not in sizes:
                raise FaultError(f"Pillow reads {picture.size}, and the run has {sizes} pixels")
            # Of 16 bits Pillow takes the upper 8, and what is nearly black then is stretched here.
            if picture.format != "PNG" or picture.mode != "RGB" or path.read_bytes()[_BIT_DEPTH] != 8:
                return
            if getattr(picture, "n_frames", 1) > 1:
                return
            expected = np.asarray(picture)[..., ::-1]
    except FaultError:
        raise
    except Exception:
        return  # Pillow is as strict in other places.
    from segopt.sources.pictures import read_picture

    if not np.array_equal(read_picture(path), expected):
        raise FaultError("other pixels than Pillow reads")


def _picture_samples() -> dict[str, list[bytes]]:
    rng = np.random.default_rng(0)
    image = clips.frame(42, _SIZE)
    image[10:40, 30:60] = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    one = Image.fromarray(image[..., ::-1].copy())
    several = [Image.fromarray(np.roll(image, 9 * i, 1)[..., ::-1].copy()) for i in range(3)]
    turned = Image.Exif()
    turned[0x0112] = 6
    exif = turned.tobytes()
    forms: dict[str, list[tuple[str, Image.Image, dict[str, Any]]]] = {
        ".jpg": [
            ("JPEG", one, {}),
            ("JPEG", one, {"progressive": True, "exif": exif}),
            ("JPEG", one.convert("L"), {"restart_marker_blocks": 2}),
            ("JPEG", one.convert("CMYK"), {}),
        ],
        ".png": [
            ("PNG", one, {}),
            ("PNG", one.convert("P"), {}),
            ("PNG", one.convert("RGBA"), {"exif": exif}),
            ("PNG", several[0], {"save_all": True, "append_images": several[1:]}),
        ],
        ".webp": [
            ("WEBP", one, {}),
            ("WEBP", one, {"lossless": True, "exif": exif}),
            ("WEBP", several[0], {"save_all": True, "append_images": several[1:]}),
        ],
        ".tif": [
            *(
                ("TIFF", one, {"compression": name})
                for name in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
            ),
            ("TIFF", one.convert("1"), {"compression": "group4"}),
            ("TIFF", several[0], {"save_all": True, "append_images": several[1:]}),
        ],
        ".bmp": [("BMP", one, {}), ("BMP", one.convert("P"), {})],
        ".gif": [("GIF", one, {}), ("GIF", several[0], {"save_all": True, "append_images": several[1:]})],
        ".avif": [
            ("AVIF", one, {"exif": exif}),
            ("AVIF", several[0], {"save_all": True, "append_images": several}),
        ],
        ".jp2": [("JPEG2000", one, {})],
        ".ppm": [("PPM", one, {}), ("PPM", one.convert("L"), {})],
    }
    samples = {suffix: [_saved(*form) for form in each] for suffix, each in forms.items()}
    samples[".png"].append(cv2.imencode(".png", image.astype(np.uint16) * 16)[1].tobytes())
    samples[".tif"].append(cv2.imencode(".tiff", image.astype(np.uint16) * 257)[1].tobytes())
    # A name that says nothing.
    samples[".dat"] = [forms[0] for suffix, forms in samples.items() if suffix != ".gif"]
    samples[".dat"].append(cv2.imencode(".hdr", image.astype(np.float32) / 255)[1].tobytes())
    return samples


def _saved(name: str, picture: Image.Image, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def _video_samples(good: Path) -> dict[str, list[bytes]]:
    forms = {
        ".mp4": [("libx264", {}), ("libx264", {"movflags": "frag_keyframe+empty_moov"}), ("mpeg4", {})],
        ".mkv": [("libx264", {}), ("libvpx-vp9", {}), ("ffv1", {})],
        ".ts": [("libx264", {}), ("mpeg2video", {})],
        ".avi": [("mpeg4", {}), ("msmpeg4v2", {})],
        ".webm": [("libvpx", {})],
    }
    samples = {}
    for suffix, each in forms.items():
        files = [
            clips.clip(good / f"{i}{suffix}", 10, rate=Fraction(25), codec=codec, options=options)
            for i, (codec, options) in enumerate(each)
            if codec in av.codecs_available
        ]
        samples[suffix] = [path.read_bytes() for path in files]
    samples[".mp4"].append(_with_sound(good / "sound.mp4").read_bytes())
    return samples


def _with_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        audio.layout = "mono"
        for i in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(clips.frame(i), format="bgr24")))
        for i in range(6):
            wave = np.sin(np.arange(1024) / 10).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, 1024 * i
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path
