"""``segopt run --preview`` in a process of its own."""

import http.client
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

import clips
import tiny

COMMAND = [sys.executable, "-c", "from segopt.cli import main; main()", "run", "--save", "none", "--engine"]


@pytest.fixture
def running(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    clips.clip(tmp_path / "long.mp4", 2_500)
    command = [*COMMAND, str(engine), "long.mp4", "--preview", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_ends_a_run_that_is_looked_at(running):
    url = urlsplit(running.stdout.readline().removeprefix("preview: ").strip())
    viewers = []
    for path in ("/stream.mjpg", "/events"):
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
        connection.request("GET", path)
        viewers.append(connection.getresponse())
        assert viewers[-1].fp.readline()
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=10) == 130
    print(f"ended after {time.monotonic() - began:.2f} s")
    errors = running.stderr.read()
    assert "Traceback" not in errors, errors


def test_a_port_in_use_is_one_line_and_nothing_is_made(tmp_path, running, segopt_cli):
    port = urlsplit(running.stdout.readline().removeprefix("preview: ").strip()).port
    arguments = ["--save", "coco", "--output", tmp_path / "o", "--preview", port]
    status, _, err = segopt_cli("run", "--engine", tmp_path / "e.onnx", tmp_path / "long.mp4", *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert f"--preview 127.0.0.1:{port}: the port is in use" in err
    assert not (tmp_path / "o").exists()
