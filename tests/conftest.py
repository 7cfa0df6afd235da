import contextlib
import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before NumPy and PyTorch are imported: their threads would wait for cores on which other workers compute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is installed beside ONNX Runtime, and how fast it is, decides on no test; nothing is left in a user's cache.
os.environ["SEGOPT_AUTO_OPENVINO"] = "off"
os.environ["SEGOPT_CACHE"] = "off"

# importlib mode leaves sys.path alone; `import tiny` and `import clips` need this folder on it.
sys.path.insert(0, str(Path(__file__).parent))

import tiny
from segopt import interrupts
from segopt.cli import main


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of one file share its fixtures, so they run in one process, where a test is in no other group."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_finish(session):
    """Without groups every test passes, and the costly things that they share are made several times."""
    grouped = getattr(session.config.option, "loadgroup", False)
    if grouped and not all("@" in item.nodeid for item in session.items):
        pytest.exit("this pytest-xdist does not group tests with this pytest; install what pyproject.toml says", 3)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_interrupts():
    """A shell starts background jobs with SIGINT ignored, and Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Export once for all tests and processes: ``exported(mode, branches=..., **options)`` is a file to be read.

    ``branches`` have the weights that come with the package; options are those of an export request.
    """
    from segopt_export.exporter import export
    from segopt_export.request import ExportRequest
    from segopt_export.weights.loading import WeightsRequest

    shared = tmp_path_factory.getbasetemp()
    # Each process has its folder in that of the whole run.
    shared = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "exported"

    def make(mode, branches=None, **options):
        branches = branches or (mode,)
        name = hashlib.sha256(repr((mode, branches, sorted(options.items()))).encode()).hexdigest()[:16]
        shared.mkdir(exist_ok=True)
        path = shared / name / "model.onnx"
        with locked(shared / f"{name}.lock"):
            if not path.exists():
                weights = {branch: WeightsRequest("demo") for branch in branches}
                export(ExportRequest(mode, weights=weights, output=path, **options))
        return path

    return make


@contextlib.contextmanager
def locked(path):
    """One process at a time."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def semantic_engine(tmp_path):
    """Path of a semantic engine: class 1 where a pixel is bright, 48x64, batch 1."""
    return tiny.semantic_engine(tmp_path / "semantic.onnx")


@pytest.fixture
def panoptic_engine(tmp_path):
    """Path of a panoptic engine: bright pixels are sky, two objects at fixed places, 48x64, batch 1."""
    return tiny.panoptic_engine(tmp_path / "panoptic.onnx")


@pytest.fixture
def segopt_cli(monkeypatch, capsys):
    """Run the command line in this process: its exit status, and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back behind the test

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["segopt", *map(str, arguments)])
        handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
        try:
            with pytest.raises(SystemExit) as exit_:
                main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        printed = capsys.readouterr()
        return exit_.value.code, printed.out, printed.err

    return call
