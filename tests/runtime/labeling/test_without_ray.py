"""Where Ray is not installed, one line says what to install."""

import importlib.util

import pytest

import clips


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_label_without_ray_says_what_to_install(tmp_path, panoptic_engine, segopt_cli):
    clips.pictures(tmp_path / "in", ["a.png"])
    status, _, err = segopt_cli(
        "label", "--engine", panoptic_engine, tmp_path / "in", "--output", tmp_path / "out"
    )
    assert status == 1
    assert err.startswith("segopt: error: label needs Ray Data")
    assert "pip install 'segopt[cluster]'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
