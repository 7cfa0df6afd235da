"""Every network and mode becomes a plan, in FP32 and in half precision, with TensorRT-RTX and no GPU.

Small canvases: the layers, their types and the graph's operators are those of any other size. The files are those
that tests of parity and of half precision run: in FP32 for the CPU, in half for TensorRT.
"""

import re
import sys
from pathlib import Path

import onnx
import pytest

import lively
import segopt
from segopt.builder.build import Built, build
from segopt.builder.options import BuildOptions
from segopt.model import sidecar
from segopt_export import exporter
from segopt_export.exporter import export
from segopt_export.onnx_file.tensorrt_rules import refusals
from segopt_export.request import ExportRequest
from segopt_export.weights.loading import WeightsRequest

pytestmark = pytest.mark.slow

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")

LARGE = 50e6
"""Bytes of an ONNX file beside which the plan's kernels, 3 to 10 MB of source text for RTX, are small."""
CASTS = 1e6
"""Bytes by which the kernels of half precision, casts among them, may be more than those of single precision."""


def assert_half_is_half(single: tuple[Path, Built], in_half: tuple[Path, Built]):
    """Hold a plan in half precision to what it promises, beside the same network's in single precision."""
    (onnx32, full), (onnx16, half) = single, in_half
    assert full.sidecar.plan.half_share == 0
    assert half.sidecar.plan.half_share >= 0.95
    assert half.sidecar.plan.half_share == pytest.approx(half.sidecar.card.half_share, abs=0.01)
    saved_by_onnx = onnx32.stat().st_size - onnx16.stat().st_size
    assert full.size - half.size >= 0.8 * saved_by_onnx - CASTS
    if onnx32.stat().st_size > LARGE:
        assert half.size <= 0.6 * full.size
    for built in (full, half):
        # A detector whose file was made for the CPU is built, with a note that there is a better one for a GPU.
        for_cpu = built.sidecar.card.target == "cpu" and built.sidecar.card.mode != "semantic"
        assert ["made fast for the CPU" in note for note in built.notes] == [True] * for_cpu
        assert sidecar.read_plan(built.path)[0] == built.sidecar


@pytest.fixture
def no_parity(monkeypatch):
    """Leave out the comparison with PyTorch, which has tests of its own on canvases where it means something."""
    monkeypatch.setattr(exporter, "check_parity", lambda *_: [])


@pytest.mark.slow
@pytest.mark.parametrize("lively_network", [*lively.networks(), lively.FUSION], indirect=True)
def test_every_network_builds_in_both_precisions(tmp_path, lively_network):
    files = [lively_network.write(tmp_path / f"{precision}.onnx", precision) for precision in ("fp32", "fp16")]
    assert_half_is_half(*((file, build(file, BuildOptions(runtime="tensorrt-rtx"))) for file in files))


@pytest.mark.slow
@pytest.mark.usefixtures("no_parity")
def test_mask_rcnn_builds_at_its_full_size(tmp_path):
    """With all of its 1000 proposals, which the small canvases do not reach."""
    request = ExportRequest(
        mode="instance",
        networks={"instance": "maskrcnn_resnet50_fpn"},
        weights={"instance": WeightsRequest("random")},
        canvas=(800, 1344),
        target="tensorrt",
        precision="fp16",
        output=tmp_path / "full.onnx",
    )
    exported = export(request)
    # RTX's parser takes more than that of JetPack 6.
    assert refusals(onnx.load(exported.path)) == []
    built = build(exported.path, BuildOptions(runtime="tensorrt-rtx"))
    assert built.sidecar.plan.half_share >= 0.95
    assert built.sidecar.card.canvas == (800, 1344)


# `segopt export` goes on to build by itself.


@pytest.fixture
def export_cli(segopt_cli, monkeypatch, tmp_path):
    """`segopt export` of a small semantic network with random weights, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*options):
        network = ("--network", "lraspp_mobilenet_v3_large", "--weights", "random", "--size", "32x32")
        return segopt_cli("export", "--mode", "semantic", *network, "--output", "street.onnx", *options)

    return call


def test_an_export_goes_on_to_build(export_cli, tmp_path):
    status, out, err = export_cli()
    assert status == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["street.onnx", "street.plan", "street.plan.json"]
    card = segopt.read_card("street.onnx")
    assert (card.target, card.precision) == ("tensorrt", "fp16")
    assert card.half_share > 0.95
    assert "half precision, since a plan is built from the file; --precision fp32 makes it single" in out
    assert "a plan is built with tensorrt" in out
    assert "--target cpu" in out
    assert "Next: segopt run --engine street.plan SOURCE" in out


def test_an_export_that_is_built_is_as_precise_as_asked(export_cli):
    status, out, err = export_cli("--precision", "fp32")
    assert status == 0, err
    assert segopt.read_card("street.onnx").precision == "fp32"
    assert "half precision, since" not in out


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-build"], ["--no-build", "--target", "tensorrt"]])
def test_an_export_can_do_without(export_cli, tmp_path, options):
    status, out, err = export_cli(*options)
    assert status == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["street.onnx"]
    card = segopt.read_card("street.onnx")
    assert (card.target, card.precision) == ("tensorrt" if "--target" in options else "cpu", "fp32")
    assert "plan" not in out
    assert "Next: segopt run --engine street.onnx SOURCE" in out


def test_an_export_where_there_is_no_builder_says_how_to_get_one(export_cli, tmp_path, monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # Python's own way to say: not there.
    status, out, err = export_cli()
    assert status == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["street.onnx"]
    assert segopt.read_card("street.onnx").target == "cpu"
    assert re.search(r"note +no plan was built, since no TensorRT is installed.*segopt\[rtx\].*segopt\[gpu\]", out)
    assert "Next: segopt run --engine street.onnx SOURCE" in out
