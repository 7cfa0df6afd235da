"""Options of the command line that say which weights are meant."""

import onnx
import pytest
import torch
from onnx import numpy_helper

from segopt_export.networks.table import NETWORKS
from segopt_export.weights.loading import WeightsRequest, load_weights

NAME = "lraspp_mobilenet_v3_large"
LAST = "classifier.high_classifier.bias"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def states():
    """Of a training and of its moving average: the same network twice."""
    return [
        load_weights(NETWORKS[NAME], WeightsRequest("random", seed=seed)).model.state_dict() for seed in (0, 1)
    ]


@pytest.fixture
def export(segopt_cli, states, tmp_path):
    """Exports a checkpoint that holds both; the last layer's bias in the file, and what was printed."""
    torch.save({"model": states[0], "model_ema": states[1]}, tmp_path / "two.pth")

    def run(*options):
        output = tmp_path / "out.onnx"
        network = ("--mode", "semantic", "--network", NAME, "--weights", tmp_path / "two.pth")
        status, out, err = segopt_cli(
            "export", *network, *options, "--size", "64x96", "--target", "cpu", "--no-build", "--output", output
        )
        if status:
            assert not output.exists()
            return status, err, None
        tensors = onnx.load(output).graph.initializer
        (bias,) = [numpy_helper.to_array(tensor) for tensor in tensors if tensor.name.endswith(LAST)]
        return status, out, torch.tensor(bias)

    return run


def test_of_two_networks_in_a_file_the_choice_is_said(export, states):
    status, out, bias = export()
    assert status == 0
    assert torch.equal(bias, states[0][LAST])
    assert "model was taken, not model_ema (--weights-key KEY takes another)" in out


def test_a_key_settles_it(export, states):
    status, out, bias = export("--weights-key", "model_ema")
    assert status == 0
    assert torch.equal(bias, states[1][LAST])
    assert "was taken" not in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--weights-key", "nothing"), "no weights of this network under 'nothing'; it has model, model_ema"),
        (("--weights-style", "caffe"), "mmdetection"),
    ],
)
def test_what_does_not_fit_the_file_is_one_line(export, options, words):
    status, err, _ = export(*options)
    assert status in (1, 2)
    (line,) = [line for line in err.splitlines() if line.startswith("segopt: error:")]
    assert words in line
