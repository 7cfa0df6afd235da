"""A download ends in the published file or in one line, whatever the server does."""

import contextlib
import hashlib
import socket
import threading
import time

import pytest

from segopt.errors import ExportError
from segopt_export.weights import download as module
from segopt_export.weights.download import MIRROR_VARIABLE, download, mirrored

PAGE = b"<!DOCTYPE html><html>Not found</html>"


@contextlib.contextmanager
def answering(talk):
    """A server that gives each connection to ``talk``; the URL of a file there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/w-0123abcd.pth"


def answer(body=b"", status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def saying(data):
    return lambda connection: connection.sendall(data)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)


def assert_refused(url, tmp_path, *words, **options):
    with pytest.raises(ExportError) as error:
        download(url, **options)
    text = str(error.value)
    assert "\n" not in text
    for word in (url, *words):
        assert word in text, text
    assert [path for path in (tmp_path / "hub").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\xff garbage\r\n\r\n", ["cannot be downloaded"]),
        (b"", ["cannot be downloaded"]),
        (answer(status="500 Sorry\x1b[31m"), ["the server answers 500", "--weights"]),
        (answer(b"half", Content_Length=400), ["broke off after 4 of 400 bytes"]),
        (answer(b"5\r\nhal", Transfer_Encoding="chunked"), ["cannot be downloaded"]),
        (answer(b"not it", Content_Length=6), ["not the file that was published", "hash differs"]),
        (answer(PAGE, Content_Length=len(PAGE)), ["not the file that was published", "is a web page"]),
        (answer(status="302 Found", Location="file:///etc/passwd"), ["302", "not allowed"]),
        (answer(status="302 Found", Location="ftp://127.0.0.1/x"), ["sends on to ftp:", "not followed"]),
        (answer(status="302 Found", Location="http://[bad/x"), ["cannot be downloaded"]),
    ],
)
def test_what_is_no_good_answer_is_one_line_and_leaves_nothing(data, words, tmp_path):
    with answering(saying(data)) as url:
        assert_refused(url, tmp_path, *words)


@pytest.mark.parametrize("start", [b"", answer(b"some", Content_Length=400)], ids=["no answer", "in the middle"])
def test_a_server_that_stalls_is_given_up(start, tmp_path):
    def stall(connection):
        connection.sendall(start)
        time.sleep(3)

    began = time.monotonic()
    with answering(stall) as url:
        assert_refused(url, tmp_path, "said nothing for 0.3 s", "--weights random")
    assert time.monotonic() - began < 2.5


def test_a_slow_server_is_waited_for(tmp_path):
    body = b"\x80\x02}."
    digits = hashlib.sha256(body).hexdigest()[:8]

    def slowly(connection):
        connection.sendall(answer(Content_Length=len(body)))
        for i in range(len(body)):
            time.sleep(0.15)
            connection.sendall(body[i : i + 1])

    with answering(slowly) as url:
        path = download(url, sha256=digits)
    assert path.read_bytes() == body
    assert path.is_relative_to(tmp_path)


@pytest.mark.parametrize(
    "mirror", ["/mnt/weights", "file:///mnt", "mirror.local", "http://", "http://[x", "ftp://a/b"]
)
def test_a_mirror_that_is_no_url_is_named(mirror, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    with pytest.raises(ExportError) as error:
        mirrored("https://download.pytorch.org/models/w-0123abcd.pth")
    assert MIRROR_VARIABLE in str(error.value)
    assert mirror in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_a_published_hash_comes_through_https_alone(tmp_path):
    assert_refused("http://mirror.example/model_final.pkl", tmp_path, "https:// alone", sha256="")


def test_https_does_not_become_http():
    request = module.urllib.request.Request("https://a.example/w.pth")
    with pytest.raises(module.urllib.error.URLError, match="not followed"):
        module._Redirect().redirect_request(request, None, 302, "Found", {}, "http://a.example/w.pth")
    assert module._Redirect().redirect_request(request, None, 302, "Found", {}, "https://b.example/w.pth")
