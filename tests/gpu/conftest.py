"""Plans built on this machine's GPU. Without one, every test here is skipped with the driver's reason."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from segopt.driver import find_gpu, why_no_gpu
from segopt.errors import EngineError

CANVAS = (256, 448)
SEEDS = range(2000, 2006)


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The GPU, as the driver names it."""
    found = find_gpu()
    if found is None:
        pytest.skip(f"no NVIDIA GPU ({why_no_gpu()})")
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    return found


@dataclass(frozen=True)
class Model:
    """One network, as an ONNX file and as the plan that was built from it here."""

    onnx: Path
    plan: Path


@pytest.fixture(scope="session")
def export_demo(gpu, tmp_path_factory):  # noqa: ARG001
    """Exports the demo network of a mode; each one once."""
    from segopt_export.exporter import export
    from segopt_export.request import ExportRequest
    from segopt_export.weights.loading import WeightsRequest

    @cache
    def make(mode, precision, target="tensorrt"):
        request = ExportRequest(
            mode,
            weights=dict.fromkeys(("semantic", "instance"), WeightsRequest("demo")),
            canvas=CANVAS,
            target=target,
            precision=precision,
            output=tmp_path_factory.mktemp("gpu") / f"{mode}-{precision}.onnx",
        )
        return export(request).path

    return make


@pytest.fixture(scope="session")
def make_model(export_demo):
    """Exports the demo network of a mode and builds it; each one once."""
    from segopt.builder.build import build

    @cache
    def make(mode, precision="fp16"):
        path = export_demo(mode, precision)
        try:
            built = build(path)
        except EngineError as error:
            pytest.skip(f"no plan can be built on this machine: {error}")
        if not built.runs_here:
            pytest.skip(f"{built.sidecar.plan.runtime} builds plans here that this GPU does not run")
        return Model(path, built.path)

    return make


@pytest.fixture(scope="session")
def images(gpu):  # noqa: ARG001
    """Street scenes as a network takes them, uint8 BGR [1, H, W, 3] each."""
    from segopt_bench.scenes import Scene

    return [Scene(seed).render(*CANVAS).frame[None] for seed in SEEDS]
