"""A window that shows results while they are made."""

from __future__ import annotations

import os
import subprocess
import sys

from segopt.errors import UsageError
from segopt.frame import Frame

_PROBE = "import cv2; cv2.namedWindow('segopt'); cv2.waitKey(1)"
_PROBE_SECONDS = 20
WINDOWS_FIX = (
    "for windows: pip uninstall opencv-python-headless, pip install opencv-python, and on Debian or Ubuntu "
    "sudo apt install libgl1"
)
_KEYS = frozenset({ord("q"), 27})


class Screen:
    """A window; the keys q and Esc ask for an end. For the main thread only.

    Open it before anything imports PyAV: the wheels of PyAV and OpenCV both carry libxcb, and ``cv2.imshow`` hangs
    where PyAV's was loaded first (PyAV issues 978 and 1050).
    """

    def __init__(self, title: str) -> None:
        """Open the window.

        Raises:
            UsageError: there is no display, or OpenCV was built without windows.
        """
        self._title = title
        # The Qt in OpenCV's wheels has no fonts and complains of it, several lines at a time.
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        _check_display()
        import cv2

        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.waitKey(1)
        self._sized = False

    def show(self, image: Frame) -> bool:
        """Show a drawn frame, BGR uint8 [H, W, 3]; False when the user asked to end."""
        import cv2

        if not self._sized:
            self._sized = True
            height, width = image.shape[:2]
            scale = min(1.0, 1280 / width, 720 / height)
            cv2.resizeWindow(self._title, round(width * scale), round(height * scale))
        cv2.imshow(self._title, image)
        return self.poll()

    def poll(self) -> bool:
        """Let the window redraw and take keys; False when the user asked to end."""
        import cv2

        if cv2.waitKey(1) & 0xFF in _KEYS:
            return False
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()


def _check_display() -> None:
    # Qt aborts the whole process where it cannot reach the display, so another process tries first.
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
        failed, reason = probe.returncode != 0, probe.stderr
    except subprocess.TimeoutExpired:
        failed, reason = True, b""
    if b"not implemented" in reason:
        raise UsageError(
            "--show: this OpenCV was built without windows (the headless one, which needs no libGL.so.1); "
            f"{WINDOWS_FIX}; or leave --show out and look at the saved overlay"
        )
    if failed:
        raise UsageError(
            "--show: no window can be opened (there is no display); run it on a desktop, set DISPLAY, or leave "
            "--show out and look at the saved overlay"
        )
