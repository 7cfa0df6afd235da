"""Cameras and GStreamer pipelines, through OpenCV."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import cv2

from segopt.errors import SourceBrokenError, SourceError
from segopt.frame import Frame
from segopt.sources.base import Source, SourceFrame, frames_to_expect
from segopt.sources.codec_lines import silence_opencv

_TICK = Fraction(1, 1000)


class CaptureSource(Source):
    """Frames from ``cv2.VideoCapture``; their time is the clock's when they arrive, unless it is a file."""

    kind = "video"
    tick = _TICK

    def __init__(
        self,
        device: int | str,
        *,
        stride: int = 1,
        max_frames: int | None = None,
    ) -> None:
        """Open a camera by its index, or a GStreamer pipeline.

        Raises:
            SourceError: no such camera, it gives no frames, or OpenCV was built without GStreamer.
        """
        super().__init__()
        self.label = f"camera {device}" if isinstance(device, int) else f"GStreamer pipeline {device!r}"
        self.name = f"camera-{device}" if isinstance(device, int) else "gstreamer"
        self.live = isinstance(device, int) or not re.search(r"\b(file|multifile)src\b", device)
        self._stride, self._limit = stride, max_frames
        self.frame_count = frames_to_expect(None, stride, max_frames)
        silence_opencv()
        if isinstance(device, int):
            self._capture = cv2.VideoCapture(device)
            fix = "plug it in, or try another index; `v4l2-ctl --list-devices` lists cameras on Linux"
        else:
            if not _is_utf8(device):
                raise SourceError(f"{self.label}: is no UTF-8, as GStreamer's pipelines must be; rename its files")
            if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
                raise SourceError(
                    f"{self.label}: this OpenCV ({cv2.__version__}) was built without GStreamer, as wheels from "
                    "PyPI are; use the system's OpenCV (`apt install python3-opencv`, or JetPack's), or give an "
                    "rtsp:// or http:// URL or a file instead"
                )
            self._capture = cv2.VideoCapture(device, cv2.CAP_GSTREAMER)
            fix = "try it with gst-launch-1.0; it must end in `videoconvert ! video/x-raw,format=BGR ! appsink`"
        if not self._capture.isOpened():
            raise SourceError(f"{self.label}: cannot be opened; {fix}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = Fraction(fps).limit_denominator(1001) if 0 < fps < 1000 else Fraction(30)
        self.rate = self._rate / stride

    def _frames(self) -> Iterator[SourceFrame]:
        index = given = 0
        start = time.monotonic()
        while self._limit is None or given < self._limit:
            if not self._capture.grab():
                break
            if index % self._stride == 0:
                done, image = self._capture.retrieve()
                if not done:
                    break
                now = Fraction(int((time.monotonic() - start) * 1000), 1000) if self.live else index / self._rate
                stem = f"{self.name}-{index:06d}"
                yield SourceFrame(index, _as_bgr(cast(Frame, image)), stem, f"{stem}.jpg", now)
                given += 1
            index += 1
        if index == 0:
            raise SourceError(f"{self.label}: gives no frames; check that no other program uses it")
        if self.live and (self._limit is None or given < self._limit):
            raise SourceBrokenError(
                f"{self.label}: stopped giving frames after {{frames}}; check its cable",
                frames=index,
                reason="it gives no more frames",
            )

    def _close(self) -> None:
        self._capture.release()


def _is_utf8(text: str) -> bool:
    """OpenCV crashes on what is not; names of files may hold any byte."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_bgr(image: Frame) -> Frame:
    if image.ndim == 2:
        return cast(Frame, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    if image.shape[2] == 4:
        return cast(Frame, cv2.cvtColor(image, cv2.COLOR_BGRA2BGR))
    return image
