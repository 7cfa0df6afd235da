"""A repository in a real Triton server: its answers are those of the segmenter, whoever else asks.

The server is that of nvidia-pytriton, in the environment that SEGOPT_TRITON_PYTHON names; `make
test-scale` makes it.
"""

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
import triton_server
from segopt.triton.repository import write_repository

pytestmark = [
    pytest.mark.skipif(
        not triton_server.PYTHON,
        reason="SEGOPT_TRITON_PYTHON names no Python with nvidia-pytriton; `make test-scale` sets it",
    ),
    pytest.mark.slow,
]
SIZES = [(48, 64), (480, 640), (30, 200), (97, 33), (240, 320)]
EXAMPLE = Path(__file__).parents[3] / "examples" / "triton_client.py"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny.panoptic_engine(tmp_path_factory.mktemp("engine") / "e.onnx")


@pytest.fixture(scope="module")
def server(tmp_path_factory, engine):
    pytest.importorskip("tritonclient", reason="tritonclient is not installed; `make test-scale` installs it")
    folder = tmp_path_factory.mktemp("server")
    four = tiny.panoptic_engine(folder / "four.onnx", batch=4)
    write_repository([engine, four], folder / "repository")
    triton_server.stand_in(folder / "repository")
    with triton_server.serving(folder / "repository", folder) as server:
        yield server


@pytest.fixture(scope="module")
def segmenter(engine):
    return segopt.load(engine, device="cpu", threads=1)


def client(server, protocol):
    if protocol == "http":
        import tritonclient.http as triton

        return triton, triton.InferenceServerClient(server.http)
    import tritonclient.grpc as triton

    return triton, triton.InferenceServerClient(server.grpc)


def asked(triton, name, array, kind):
    each = triton.InferInput(name, list(array.shape), kind)
    each.set_data_from_numpy(array)
    return each


def frame(number):
    return clips.frame(number, SIZES[number % len(SIZES)])


def compare(answer, result, index=0):
    np.testing.assert_array_equal(answer.as_numpy("segment_map")[index], result.segment_map)
    png, annotation = result.to_coco_panoptic(0, "")
    sent = cv2.imdecode(np.frombuffer(answer.as_numpy("panoptic_png")[index, 0], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(sent, png)
    found = json.loads(answer.as_numpy("annotation")[index, 0])
    assert [{k: v for k, v in each.items() if k != "score"} for each in found["segments_info"]] == annotation[
        "segments_info"
    ]
    assert (found["height"], found["width"], found["converged"]) == (*result.size, True)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("clients", "requests"), [(1, 50), (8, 25)])
def test_answers_are_those_of_the_segmenter(server, segmenter, protocol, clients, requests):
    """In all 500 requests, of frames of five sizes, raw and encoded in turns."""
    expected = {number: segmenter(frame(number)) for number in range(20)}
    errors = []

    def ask(first):
        triton, connection = client(server, protocol)
        try:
            with connection:
                for count in range(requests):
                    number = (first + count) % 20
                    if count % 2:
                        data = np.array([[cv2.imencode(".png", frame(number))[1].tobytes()]], dtype=np.object_)
                        inputs = [asked(triton, "encoded", data, "BYTES")]
                    else:
                        inputs = [asked(triton, "image", frame(number)[None], "UINT8")]
                    compare(connection.infer("panoptic", inputs), expected[number])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(3 * index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_frames_of_several_sizes_share_a_batch(server):
    before = {name: server.metric(name, "panoptic") for name in ("nv_inference_count", "nv_inference_exec_count")}
    start = threading.Barrier(8)

    def ask(number):
        triton, connection = client(server, "grpc")
        with connection:
            inputs = [asked(triton, "image", frame(number)[None], "UINT8")]
            start.wait()
            for _ in range(10):
                connection.infer("panoptic", inputs)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count, executions = (server.metric(name, "panoptic") - value for name, value in before.items())
    assert count == 80
    assert executions <= 60
    assert server.metric("nv_inference_exec_count", "panoptic_network_b4") > 1


def test_a_request_may_hold_several_frames(server, segmenter):
    triton, connection = client(server, "grpc")
    frames = np.stack([clips.frame(number, (60, 80)) for number in range(3)])
    with connection:
        answer = connection.infer("panoptic", [asked(triton, "image", frames, "UINT8")])
    for index, each in enumerate(frames):
        compare(answer, segmenter(each), index)


def test_what_is_not_asked_for_is_not_sent(server):
    triton, connection = client(server, "grpc")
    with connection:
        inputs = [asked(triton, "image", frame(1)[None], "UINT8")]
        answer = connection.infer("panoptic", inputs, outputs=[triton.InferRequestedOutput("annotation")])
    assert [output.name for output in answer.get_response().outputs] == ["annotation"]


def post(server, body, headers=()):
    request = urllib.request.Request(
        f"http://{server.http}/v2/models/panoptic/infer", data=body, headers=dict(headers), method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def infer_body(name, shape, kind, data):
    return json.dumps({"inputs": [{"name": name, "shape": shape, "datatype": kind, "data": data}]}).encode()


# A body that is no JSON at all is answered by the server itself, with a 500.
MALFORMED = [
    (infer_body("image", [1, 0, 4, 3], "UINT8", []), "none 0"),
    (infer_body("image", [1, 4, 4, 4], "UINT8", [0] * 64), "shape"),
    (infer_body("image", [1, 4, 4, 3], "FP32", [0.0] * 48), "data-type"),
    (infer_body("image", [9, 1, 1, 3], "UINT8", [0] * 27), "batch-size"),
    (infer_body("encoded", [1, 1], "BYTES", ["words"]), "is not a picture"),
    (infer_body("encoded", [1, 1], "BYTES", [""]), "empty"),
    (infer_body("encoded", [2, 1], "BYTES", ["words", "words"]), "is not a picture"),
    (infer_body("film", [1, 1], "BYTES", ["x"]), "film"),
    (json.dumps({"inputs": []}).encode(), ""),
]


@pytest.mark.parametrize(("body", "words"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_request_is_the_clients_fault(server, body, words):
    status, text = post(server, body)
    assert 400 <= status < 500, text
    assert words in text


def test_a_malformed_request_does_not_hurt_those_in_its_batch(server, segmenter):
    expected = {number: segmenter(frame(number)) for number in range(8)}
    start = threading.Barrier(8)
    good, bad, errors = [], [], []

    def ask(number):
        triton, connection = client(server, "grpc")
        with connection:
            start.wait()
            for _ in range(8):
                if number % 4 == 3:
                    empty = np.zeros((1, 0, 7, 3), np.uint8)
                    with pytest.raises(triton.InferenceServerException, match="none 0"):
                        connection.infer("panoptic", [asked(triton, "image", empty, "UINT8")])
                    bad.append(number)
                else:
                    inputs = [asked(triton, "image", frame(number)[None], "UINT8")]
                    compare(connection.infer("panoptic", inputs), expected[number])
                    good.append(number)

    def safely(number):
        try:
            ask(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=safely, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (len(good), len(bad)) == (48, 16)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_example_asks(server, segmenter, tmp_path, protocol):
    import subprocess
    import sys

    clips.pictures(tmp_path, ["a.png"])
    options = ["--url", server.http] if protocol == "http" else ["--grpc", "--url", server.grpc]
    command = [sys.executable, EXAMPLE, tmp_path / "a.png", *options, "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/a.png: 64x48, 3 segments\n"
    png = cv2.imread(str(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(png, segmenter(clips.frame(0)).to_coco_panoptic(0, "")[0])


def test_the_server_ends_within_five_seconds(tmp_path, engine):
    pytest.importorskip("tritonclient", reason="tritonclient is not installed; `make test-scale` installs it")
    write_repository([engine], tmp_path / "repository")
    triton_server.stand_in(tmp_path / "repository")
    with triton_server.serving(tmp_path / "repository", tmp_path) as server:
        triton, connection = client(server, "grpc")
        with connection:
            connection.infer("panoptic", [asked(triton, "image", frame(1)[None], "UINT8")])
        assert server.stop() < 5
