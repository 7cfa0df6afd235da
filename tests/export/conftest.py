import functools
import http.server
import threading

import pytest

import lively
from segopt_export.weights.download import MIRROR_VARIABLE


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def lively_network(request):
    """Networks by an indirect parameter (see :func:`lively.networks`), with what other tests made of them."""
    return lively.LivelyNetwork(*request.param.split("+"))


@pytest.fixture
def weights_server(tmp_path, monkeypatch):
    """A folder, and the URL under which it is served as the mirror of all weights; torch.hub's cache is empty."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
        monkeypatch.setenv(MIRROR_VARIABLE, url)
        yield folder, url
        httpd.shutdown()
