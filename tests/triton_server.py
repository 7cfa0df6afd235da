"""A real Triton server for tests: the one that the package nvidia-pytriton carries, with the Python backend alone.

The networks, for which it lacks the backends, are run by a stand-in: a Python model that holds the ONNX file.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PYTHON = os.environ.get("SEGOPT_TRITON_PYTHON")
"""A Python with nvidia-pytriton, numpy below 2, and the runtime."""

_STAND_IN = """
import onnxruntime
import triton_python_backend_utils as utils
from pathlib import Path

class TritonPythonModel:
    def initialize(self, args):
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [node.name for node in self.session.get_outputs()]

    def execute(self, requests):
        responses = []
        for request in requests:
            image = utils.get_input_tensor_by_name(request, "image").as_numpy()
            found = dict(zip(self.names, self.session.run(self.names, {"image": image})))
            tensors = [utils.Tensor(name, found[name]) for name in request.requested_output_names()]
            responses.append(utils.InferenceResponse(tensors))
        return responses
"""


def stand_in(repository):
    """Let Python models run the networks, with the configurations as they are but for the backend."""
    for path in repository.glob("*/config.pbtxt"):
        text = path.read_text()
        if 'backend: "onnxruntime"' in text:
            path.write_text(
                text.replace('backend: "onnxruntime"', 'backend: "python"').replace("KIND_AUTO", "KIND_CPU")
            )
            (path.parent / "1" / "model.py").write_text(_STAND_IN)
    return repository


class Server:
    """Its ports, and its process."""

    def __init__(self, process, http, grpc, metrics, log):
        self.process, self.http, self.grpc, self.metrics, self.log = process, http, grpc, metrics, log

    def metric(self, name, model):
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(rf'^{name}{{[^}}]*model="{model}"[^}}]*}} (\S+)', text, re.MULTILINE)
        return float(found[1])

    def stop(self):
        """Ask it to end; the seconds that it took."""
        start = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout=60)
        return time.monotonic() - start


@contextlib.contextmanager
def serving(repository, folder):
    """The server with a repository; ``folder`` is for its own files."""
    package = subprocess.run(
        [PYTHON, "-c", "import importlib.util as u; print(u.find_spec('pytriton').submodule_search_locations[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    parts = Path(package) / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(parts / "backends", backends)
    stub = backends / "python" / "triton_python_backend_stub"
    shutil.copy(parts / "python_backend_stubs" / version / stub.name, stub)
    ports = _free_ports(3)
    binary = parts / "bin" / "tritonserver"
    command = [binary, "--model-repository", repository, "--backend-directory", backends]
    command += ["--http-port", ports[0], "--grpc-port", ports[1], "--metrics-port", ports[2]]
    command += ["--exit-timeout-secs", "5", "--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1"]
    command += ["--backend-config", f"python,shm-region-prefix-name=segopt{os.getpid()}_{ports[0]}_"]
    command += ["--backend-config", "python,shm-default-byte-size=4194304"]
    libraries = Path(package).with_name("nvidia_pytriton.libs")
    environment = {
        **os.environ,
        "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{libraries}:{_library_folder()}",
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "server.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server = Server(process, *(f"127.0.0.1:{port}" for port in ports), log)
        _wait(server)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
        if process.poll() is None:
            process.kill()
            process.wait()


def _library_folder():
    """Where the interpreter's own libpython lies, which the stub links."""
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _wait(server):
    end = time.monotonic() + 90
    while True:
        url = f"http://{server.http}/v2/health/ready"
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        text = server.log.read_text(errors="replace")
        assert server.process.poll() is None, text[-4000:]
        assert time.monotonic() < end, text[-4000:]
        time.sleep(0.1)
