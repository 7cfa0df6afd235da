"""bf16 reckoned in PyTorch: layers are rounded, geometry is not."""

import numpy as np
import pytest
import torch

from segopt.model.reading import read_card
from segopt_bench.bf16.__main__ import both, boxes_moved, in_openvino, main
from segopt_bench.bf16.rounding import to_bf16


def test_numbers_are_rounded_to_eight_bits():
    values = torch.tensor([1.0, 1 + 2**-9, 1 + 2**-8 + 2**-9, -3.14159])
    assert to_bf16(values).tolist() == [1.0, 1.0, 1 + 2**-7, -3.140625]


@pytest.mark.slow
def test_layers_are_in_bf16_and_the_answer_is_nearly_the_same(exported, capsys):
    path = exported("panoptic")
    card = read_card(path)
    plain, other = both(card)
    seen = []
    for module in other.backend.graph.modules():
        if isinstance(module, torch.nn.Conv2d):
            # A shortcut may be added in place afterwards.
            module.register_forward_hook(
                lambda _, inputs, output: seen.extend(torch.equal(t, to_bf16(t)) for t in (inputs[0], output))
            )
    moved = boxes_moved(card, plain, other, 2)
    assert len(moved) > 3
    assert 0 < np.median(moved) < 1
    assert len(seen) > 40
    assert all(seen)
    assert main(["--engine", str(path), "--scenes", "2"]) == 0
    out = capsys.readouterr().out
    assert "bf16, reckoned" in out
    assert "px (median)" in out


@pytest.mark.slow
def test_a_cpu_with_bf16_runs_a_file_in_half_in_it(exported):
    openvino = pytest.importorskip("openvino")
    single, half = exported("panoptic"), exported("panoptic", precision="fp16")
    assert in_openvino(single, read_card(single)) == {}
    found = in_openvino(half, card := read_card(half))
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert found == {}
        return
    ((name, segmenter),) = found.items()
    assert name.endswith("(CPU, bf16)")
    moved = boxes_moved(card, both(card)[0], segmenter, 2)
    assert len(moved) > 3
    assert 0 < np.median(moved) < 0.5


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(["--engine", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
