"""A run opens no internet socket. The kernel watches, so that native libraries are held to it as well."""

import platform
import signal
import subprocess
import sys

import cv2
import pytest

import clips
import tiny

# socket() is 41 on x86-64 and 198 on arm64; the filter kills the process where its domain is AF_INET or AF_INET6.
NUMBERS = {"x86_64": 41, "aarch64": 198}
WITHOUT_INTERNET = """
import ctypes, struct, sys
def block(number):
    load, equal, give = 0x20, 0x15, 0x06
    kill, allow = 0x80000000, 0x7FFF0000
    code = [(load, 0, 0, 0), (equal, 0, 4, number), (load, 0, 0, 16), (equal, 1, 0, 2), (equal, 0, 1, 10),
            (give, 0, 0, kill), (give, 0, 0, allow)]
    rows = b"".join(struct.pack("HBBI", *row) for row in code)
    buffer = ctypes.create_string_buffer(rows)
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):
        sys.exit(77)
block(int(sys.argv[1]))
"""
RUN = """
import segopt
with segopt.load("engine.onnx") as segmenter:
    assert len(segmenter("picture.png")) > 0
    stats = segopt.run(segmenter, "street.mp4", save=("overlay", "panoptic", "coco", "jsonl"), track=True)
    assert stats.frames == 4
print("done", "socket" in sys.modules)
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NUMBERS,
    reason="the filter is for Linux on these machines",
)


def run(code, folder):
    number = NUMBERS[platform.machine()]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_INTERNET + code, str(number)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel takes no seccomp filter")
    return done


@pytest.mark.parametrize("domain", ["AF_INET", "AF_INET6"])
def test_whoever_opens_an_internet_socket_is_ended(domain, tmp_path):
    done = run(
        f"import socket; print('here', flush=True); socket.socket(socket.{domain}); print('there')", tmp_path
    )
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, "here\n")


def test_sockets_within_the_machine_are_left_alone(tmp_path):
    assert run("import socket; socket.socket(socket.AF_UNIX); print('there')", tmp_path).stdout == "there\n"


def test_a_run_from_file_to_files_opens_none(tmp_path):
    tiny.panoptic_engine(tmp_path / "engine.onnx")
    clips.clip(tmp_path / "street.mp4", 4)
    cv2.imwrite(str(tmp_path / "picture.png"), clips.frame(0))
    done = run(RUN, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("done")
