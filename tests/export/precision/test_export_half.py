"""`segopt export --precision fp16` from the command line to a file that the runtime runs."""

from pathlib import Path

import cv2
import pytest
import torch
from torch import nn

import lively
import segopt
from segopt_export.precision.half import convert_to_half

pytestmark = pytest.mark.slow

NETWORK = "fcn_mobilenet_v3_small_fpn"
OPTIONS = ("--mode", "semantic", "--network", NETWORK, "--weights", "random", "--size", "64x96", "--no-build")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(lively.pictures(2, (64, 96))):
        cv2.imwrite(str(folder / f"{i}.png"), picture.numpy())
    (folder / "broken.jpg").write_bytes(b"not a picture")
    return folder


def test_a_file_in_half_says_so_and_runs(segopt_cli, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = segopt_cli("export", *OPTIONS, "--precision", "fp16", "--calibration", folder)
    assert status == 0, err
    for words in ("fp16", "pixels equal", "half precision was tried on 2 pictures", "broken.jpg"):
        assert words in out, out
    file = Path(f"engines/semantic-{NETWORK}-random-fp16.onnx")
    card = segopt.read_card(file)
    assert card.precision == "fp16"
    assert card.half_share >= 0.95
    assert card.float_layers == ()
    with segopt.load(file, device="cpu") as segmenter:
        assert segmenter(cv2.imread(str(folder / "0.png"))).classes.shape == (64, 96)
    status, out, _ = segopt_cli("info", file)
    assert status == 0
    assert "100.0% of convolutions" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "fp8"], ["--precision fp8", "fp16"]),
        (["--calibration", "pictures"], ["--calibration", "--precision fp16"]),
        (["--precision", "fp16", "--calibration", "nowhere"], ["nowhere", "does not exist"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(segopt_cli, monkeypatch, tmp_path, options, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = segopt_cli("export", *OPTIONS, *options)
    assert status in (1, 2)
    (line,) = [line for line in err.splitlines() if line.startswith("segopt: error:")]
    assert all(word in line for word in words), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("keep", "dtype"), [((), torch.float16), (("2",), torch.float32)])
def test_what_follows_a_group_norm_is_in_half_again_where_all_layers_are(keep, dtype):
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1)).eval()
    convert_to_half(network, keep=keep)
    found = []
    network[1].register_forward_hook(lambda _, inputs, output: found.append((inputs[0].dtype, output.dtype)))
    network(torch.ones(1, 4, 8, 8))
    assert found == [(torch.float32, dtype)]
