"""EoMT on DINOv3 says what transformers' says, and its positions are those of the trained square."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import segopt
import segopt_export
from lively_eomt import (
    CANVAS,
    NAMES,
    TINY,
    dinov3_config,
    dinov3_names,
    lively,
    pixels,
    transformers_dinov3,
)
from segopt.errors import ExportError
from segopt_export.networks.eomt import EoMT, fit_to_canvas
from segopt_export.networks.rotary import rotate, rotation

ROTARY = replace(TINY, rope_theta=100.0, key_bias=False)


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("canvas", [CANVAS, (128, 96)], ids=str)
@pytest.mark.parametrize("masked", [(True, True), (False, False), (False, True)])
def test_it_answers_as_transformers_does(canvas, masked):
    model = lively(ROTARY, masked=masked)
    theirs = transformers_dinov3(model, canvas)
    # transformers spreads positions over the picture that it is given.
    fit_to_canvas(model, canvas, whole=True)
    images = pixels(canvas, count=2)
    with torch.no_grad():
        masks, classes = model(images)
        expected = theirs(images)
    assert relative(masks, expected.masks_queries_logits) < 1e-4
    assert relative(classes, expected.class_queries_logits) < 1e-4


@pytest.mark.parametrize("canvas", [(96, 128), (64, 32)])
def test_a_smaller_canvas_has_the_positions_of_its_part_of_the_square(canvas):
    model = EoMT(ROTARY)
    square = model.rotation.reshape(2, 8, 8, -1)
    fit_to_canvas(model, canvas)
    height, width = canvas[0] // 16, canvas[1] // 16
    assert torch.equal(model.rotation.reshape(2, height, width, -1), square[:, :height, :width])


def test_a_turn_keeps_lengths_and_depends_on_distances_alone():
    by = rotation((6, 6), (6, 6), 16, 100.0)
    assert by.shape == (2, 36, 16)
    tokens = torch.randn(1, 1, 1, 16).expand(1, 2, 40, 16)
    turned = rotate(tokens, by)
    assert torch.equal(turned[:, :, :4], tokens[:, :, :4])
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    patches = turned[0, 0, 4:].reshape(6, 6, 16)
    products = torch.einsum("ijc,klc->ijkl", patches, patches)
    torch.testing.assert_close(products[0, 0, 1, 2], products[3, 2, 4, 4])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov3")
    model = lively(ROTARY)
    config = json.loads(dinov3_config(ROTARY).to_json_string(use_diff=False))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "classes.json").write_text(json.dumps(NAMES))
    mask_probabilities = {"attn_mask_probs": -torch.ones(ROTARY.blocks)}
    save_file({**dinov3_names(model.state_dict()), **mask_probabilities}, folder / "model.safetensors")
    return folder


def export(folder, **options):
    return segopt_export.export(
        "panoptic", network="eomt", weights=folder, classes=folder / "classes.json", **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_users_own_folder_becomes_a_file(folder, precision):
    made = export(folder, precision=precision, target="tensorrt", output=folder / f"{precision}.onnx")
    assert all(figure.good for figure in made.figures), made.figures
    assert (made.card.half_share or 0) == (1.0 if precision == "fp16" else 0)
    frame = (pixels(CANVAS)[0].permute(1, 2, 0).sigmoid() * 255).to(torch.uint8).numpy()
    assert len(segopt.load(made.path)(frame)) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_gated_mlp": True}, "use_gated_mlp is True"),
        ({"intermediate_size": 100}, "intermediate_size is 100"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta is 0"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0}}, "rope_type is yarn"),
        ({"key_bias": 3}, "key_bias is 3"),
        ({"model_type": "eomt"}, "position embeddings"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(folder, tmp_path, change, said):
    for name in ("classes.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = {**json.loads((folder / "config.json").read_text()), **change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=said) as caught:
        export(tmp_path, output=tmp_path / "no.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "no.onnx").exists()
