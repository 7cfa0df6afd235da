"""Weights from the Hugging Face hub, which a server on this machine stands for."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

constants = pytest.importorskip("huggingface_hub.constants")

from lively_eomt import NAMES, lively, write_folder  # noqa: E402
from segopt.errors import ExportError  # noqa: E402
from segopt_export.networks.table import find_network  # noqa: E402
from segopt_export.weights.eomt import load_eomt  # noqa: E402
from segopt_export.weights.hub import is_hub_id  # noqa: E402
from segopt_export.weights.loading import WeightsRequest  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EOMT = find_network("eomt", "panoptic")


class Hub(BaseHTTPRequestHandler):
    """One model, ``lab/tiny``, as the hub's ``resolve`` addresses give it."""

    folder = None
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        self.asked.append(self.path)
        name, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        path = self.folder / file
        if name == "lab/gated":
            self._refuse(403, "GatedRepo")
        elif name != "lab/tiny":
            self._refuse(404, "RepoNotFound")
        elif revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif not path.is_file():
            self._refuse(404, "EntryNotFound")
        else:
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    def _refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server, its files and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    Hub.folder, Hub.asked = write_folder(tmp_path / "files"), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def load(tmp_path, spec="lab/tiny"):
    return load_eomt(EOMT, WeightsRequest(spec, tmp_path / "classes.json"))


@pytest.mark.parametrize("spec", ["lab/tiny", "lab/tiny@v1", f"lab/tiny@{COMMIT}"])
@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub_is_taken_at_a_commit_that_is_written_down(tmp_path, spec):
    trained = load(tmp_path, spec)
    assert trained.origin.name == f"lab/tiny@{COMMIT}"
    assert trained.origin.sha256 == hashlib.sha256((Hub.folder / "model.safetensors").read_bytes()).hexdigest()
    assert trained.model.query.weight.equal(lively().query.weight)
    later = [path for path in Hub.asked if not path.endswith("config.json")]
    assert later
    assert all(f"/resolve/{COMMIT}/" in path for path in later)


def test_what_was_downloaded_is_there_when_the_hub_is_not(hub, tmp_path):
    load(tmp_path)
    hub.shutdown()
    hub.server_close()
    assert load(tmp_path).origin.name == f"lab/tiny@{COMMIT}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lab/nothing", r"^lab/nothing: is no file or folder here, and no model of the hub"),
        ("lab/tiny@v9", "the hub has no such revision"),
        ("lab/gated", "its owner asks for an agreement first"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_give_is_one_line(tmp_path, spec, message):
    with pytest.raises(ExportError, match=message) as caught:
        load(tmp_path, spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.usefixtures("hub")
def test_a_model_without_one_of_its_files_is_one_line(tmp_path, file):
    (Hub.folder / file).unlink()
    with pytest.raises(ExportError, match=rf"^lab/tiny: has n.* {file}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_one_line(hub, tmp_path):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ExportError, match=r"^lab/tiny: .*(does not answer|cannot be downloaded)") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_here_is_no_id_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab" / "tiny").mkdir(parents=True)
    assert not is_hub_id("lab/tiny")
    assert not is_hub_id("./lab/other")
    assert not is_hub_id("/lab/other")
    assert not is_hub_id("weights.pth")
    assert not is_hub_id("runs/weights.pth")
    assert is_hub_id("lab/other")
