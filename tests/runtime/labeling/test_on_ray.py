"""The same jobs on Ray: what is killed costs the unit that it was in, and nothing else.

``make test-scale`` has Ray.
"""

import contextlib
import filecmp
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import clips
import tiny
from processes import heed_signals
from segopt.labeling.run import Request, in_this_process, label

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"), pytest.mark.slow]
LONG = 400
"""Frames of a video that is long enough to be killed in."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Eight videos, one of them long, and pictures; the engine; and the answer of one process."""
    pytest.importorskip("ray", reason="Ray is not installed; `make test-scale` installs it")
    folder = tmp_path_factory.mktemp("lake")
    tiny.panoptic_engine(folder / "e.onnx")
    (folder / "in").mkdir()
    for number in range(7):
        clips.clip(folder / "in" / f"clip.{number}.mp4", 5 + number)
    clips.clip(folder / "in" / "long.mp4", LONG)
    clips.pictures(folder / "in" / "stills", [f"IMG.2024.{number:02}.png" for number in range(9)])
    request = Request(folder / "e.onnx", [str(folder / "in")], folder / "reference", device="cpu", pictures=4)
    assert label(request, in_this_process).failed == ()
    return folder


@contextlib.contextmanager
def labeling(lake, output, *options):
    """``segopt label`` under way."""
    command = [
        sys.executable,
        "-m",
        "segopt",
        "label",
        "--engine",
        lake / "e.onnx",
        lake / "in",
        "--output",
        output,
    ]
    command += ["--device", "cpu", "--pictures-per-unit", "4", *options]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(process, status=0):
    out, err = process.communicate(timeout=180)
    assert process.returncode == status, err
    return out, err


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def begun(output, unit):
    """The worker that is in the midst of a unit, by the file that it has open."""

    def find():
        if len(list(output.glob(f"panoptic/.{unit}.attempt-*/panoptic/*.png"))) < 5:
            return None
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if f"/.{unit}.attempt-" in str(descriptor.readlink()):
                    return int(descriptor.parts[2])
        return None

    return find


def shards(output):
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(output / "panoptic") if not name.startswith(".")]  # noqa: PTH208
    return []


def assert_same(lake, output):
    """Everything is what one process writes, and nothing hidden is left."""

    def compare(one, other):
        comparison = filecmp.dircmp(one, other, ignore=["job.json"])
        assert comparison.left_only == comparison.right_only == []
        assert filecmp.cmpfiles(one, other, comparison.common_files, shallow=False)[1:] == ([], [])
        for name in comparison.common_dirs:
            compare(one / name, other / name)

    compare(lake / "reference", output)
    assert list(output.rglob(".*")) == []


def test_two_workers_write_what_one_process_does_also_where_one_is_killed(lake, tmp_path):
    with labeling(lake, tmp_path / "out", "--workers", 2) as process:
        os.kill(wait_for(begun(tmp_path / "out", "long")), signal.SIGKILL)
        out, err = ended(process)
    assert "11 of 11 units done, 1 done again after their worker died" in out
    assert err == ""
    assert_same(lake, tmp_path / "out")


def test_a_job_goes_on_after_its_driver_was_killed(lake, tmp_path):
    with labeling(lake, tmp_path / "out", "--workers", 1) as process:
        wait_for(lambda: len(shards(tmp_path / "out")) >= 4)
        process.kill()
        process.wait()
    done = shards(tmp_path / "out")
    before = {name: (tmp_path / "out" / "panoptic" / name).stat().st_ino for name in done}
    with labeling(lake, tmp_path / "out", "--workers", 1) as process:
        out, _ = ended(process)
    # The worker may have completed one more before it noticed.
    assert 4 <= len(done) <= 6
    assert any(f"{count} were done before" in out for count in (len(done), len(done) + 1))
    assert {name: (tmp_path / "out" / "panoptic" / name).stat().st_ino for name in done} == before
    assert_same(lake, tmp_path / "out")


def test_a_job_outlives_one_of_two_nodes(lake, tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.head_node, cluster.add_node(num_cpus=1)]
        with labeling(lake, tmp_path / "out", "--workers", 2, "--address", cluster.address) as process:
            worker = wait_for(begun(tmp_path / "out", "long"))
            parents = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
            parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
            node = parents[parent]
            if node is cluster.head_node:
                # The head has the cluster's state; the other one is what can be lost.
                node = nodes[1]
            cluster.remove_node(node, allow_graceful=False)
            out, _ = ended(process)
    finally:
        cluster.shutdown()
    assert "11 of 11 units done" in out
    assert_same(lake, tmp_path / "out")


def test_ctrl_c_ends_in_one_line_and_what_is_done_stays(lake, tmp_path):
    with labeling(lake, tmp_path / "out", "--workers", 1) as process:
        wait_for(lambda: len(shards(tmp_path / "out")) >= 2)
        process.send_signal(signal.SIGINT)
        _, err = ended(process, 130)
    assert err == "segopt: interrupted\n"
    assert len(shards(tmp_path / "out")) >= 2
    assert list((tmp_path / "out").rglob(".*")) == []


def refused(lake, output, *options):
    with labeling(lake, output, *options) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert err.startswith("segopt: error: ")
    assert len(err.splitlines()) == 1, err
    assert not output.exists() or not list(output.glob("panoptic/*"))
    return err


def test_an_address_where_nobody_answers_is_refused(lake, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    err = refused(lake, tmp_path / "out", "--address", f"127.0.0.1:{port}")
    assert f"--address 127.0.0.1:{port}: does not answer" in err
    assert "is neither auto" in refused(lake, tmp_path / "out", "--address", "host:port")


def test_an_address_of_something_that_is_no_ray_is_given_up(lake, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []
        threading.Thread(target=lambda: taken.append(server.accept()), daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        err = refused(lake, tmp_path / "out", "--address", address, "--connect-timeout", 8)
        assert time.monotonic() - start < 40
    assert "Ray at 127.0.0.1" in err


def test_an_engine_that_does_not_load_on_a_worker_is_one_line(lake, tmp_path):
    err = refused(lake, tmp_path / "out", "--device", "tensorrt", "--workers", 1)
    assert "has no TensorRT provider" in err
    assert not (tmp_path / "out").exists()


def test_what_fails_is_named_and_the_rest_is_done(lake, tmp_path):
    shutil.copytree(lake / "in" / "stills", tmp_path / "in" / "stills")
    (tmp_path / "in" / "words.mp4").write_text("words")
    (tmp_path / "list").write_text(f"{tmp_path}/in\n{tmp_path}/lost.mp4\n")
    command = [sys.executable, "-m", "segopt", "label", "--engine", lake / "e.onnx", f"@{tmp_path}/list"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "out", "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
        f"{tmp_path}/lost.mp4",
        f"{tmp_path}/in/words.mp4",
    ]
    assert "1 of 2 units done" in done.stdout
    assert len(json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]) == 9
