"""`segopt export --precision int8 --int8-loss`, from the command line to a card that says what was chosen."""

import cv2
import pytest

import lively
import segopt

pytestmark = pytest.mark.slow

NETWORK = "fcn_mobilenet_v3_small_fpn"
OPTIONS = ("--mode", "semantic", "--network", NETWORK, "--weights", "random", "--size", "64x96", "--no-build")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eight pictures, of which two are held out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(lively.pictures(8, (64, 96))):
        cv2.imwrite(f"pictures/{i}.png", picture.numpy())
    return "pictures"


def test_a_file_within_a_bound_says_what_it_lost_and_what_else_was_to_be_had(segopt_cli, folder):
    status, out, err = segopt_cli(
        *("export", *OPTIONS, "--precision", "int8", "--int8-loss", "5", "--calibration", folder),
        *("--output", "e.onnx"),
    )
    assert status == 0, err
    choice = segopt.read_card("e.onnx").int8
    assert choice.bound == 5
    assert choice.lost <= 5
    assert (choice.pictures, choice.held_out) == (2, True)
    assert 0 < choice.layers <= choice.candidates
    assert choice.trade_off
    assert f"{choice.layers} of {choice.candidates} layers" in out
    for point in choice.trade_off:
        assert f"trade-off: {point.layers} layers" in out
    status, out, _ = segopt_cli("info", "e.onnx")
    assert status == 0
    assert "2 pictures held out, at most 5" in out
    with segopt.load("e.onnx", device="cpu") as segmenter:
        assert segmenter(cv2.imread("pictures/0.png")).classes.shape == (64, 96)


@pytest.mark.parametrize("options", [("--int8-loss", "0"), ("--precision", "fp16", "--int8-loss", "1")])
def test_a_bound_that_cannot_be_is_refused_in_one_line(segopt_cli, folder, tmp_path, options):
    before = sorted(tmp_path.iterdir())
    status, _, err = segopt_cli("export", *OPTIONS, "--precision", "int8", "--calibration", folder, *options)
    assert status == 2
    (line,) = [line for line in err.splitlines() if line.startswith("segopt: error:")]
    assert "--int8-loss" in line
    assert sorted(tmp_path.iterdir()) == before
