"""What weights do not hold: read from live detectors, written as JSON, and given back."""

import inspect
import json
import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.ops import MultiScaleRoIAlign

from segopt.errors import ExportError
from segopt_export import settings_of
from segopt_export.networks.families import DETECTRON2
from segopt_export.networks.maskrcnn_resnet import maskrcnn_resnet_fpn
from segopt_export.networks.setting_values import shown
from segopt_export.networks.settings import SETTINGS, apply_settings
from segopt_export.networks.settings_file import read_settings
from segopt_export.networks.table import NETWORKS


def detector(build=maskrcnn_resnet50_fpn, **options) -> MaskRCNN:
    """A detector of torchvision without its weights' memory."""
    with torch.device("meta"):
        return build(weights=None, weights_backbone=None, num_classes=5, **options)


CHANGED = {
    "rpn_anchor_generator": AnchorGenerator(
        ((8, 12), (16, 24), (32, 48), (64, 96), (128, 192)), ((0.3, 1.0, 4.0),) * 5
    ),
    "rpn_pre_nms_top_n_test": 600,
    "rpn_post_nms_top_n_test": 2000,
    "rpn_nms_thresh": 0.6,
    "rpn_score_thresh": 0.1,
    "box_score_thresh": 0.02,
    "box_nms_thresh": 0.3,
    "box_detections_per_img": 77,
    "bbox_reg_weights": (8.0, 8.0, 4.0, 4.0),
    "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 9, 3, canonical_scale=160),
    "mask_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 1),
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "min_size": (320, 480),
    "max_size": 960,
}


@pytest.mark.parametrize(
    ("build", "changed"),
    [
        (maskrcnn_resnet50_fpn, CHANGED),
        # torchvision's builder sets the anchors of its second version itself.
        (
            maskrcnn_resnet50_fpn_v2,
            {
                name: value
                for name, value in CHANGED.items()
                if name not in ("rpn_anchor_generator", "box_roi_pool")
            },
        ),
    ],
    ids=["v1", "v2"],
)
def test_settings_go_through_json_into_another_network(build, changed):
    settings = settings_of(detector(build, **changed))
    assert settings != settings_of(detector(build))
    other = NETWORKS[build.__name__].with_settings(read_settings(json.loads(json.dumps(settings)), detector=True))
    with torch.device("meta"):
        model = other.build(5)
    assert settings_of(model) == settings
    shapes = {name: tensor.shape for name, tensor in detector(build, **changed).state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_every_name_is_one_of_torchvisions():
    arguments = {*inspect.signature(MaskRCNN).parameters, *inspect.signature(AnchorGenerator).parameters}
    assert set(SETTINGS) - arguments == {"anchor_sizes", "frozen_norm_eps"}


def test_the_epsilon_of_frozen_norms_is_read():
    with torch.device("meta"):
        model = maskrcnn_resnet_fpn(5, depth=101, rules=DETECTRON2)
    settings = settings_of(model)
    assert settings["frozen_norm_eps"] == 1e-5
    apply_settings(model, read_settings({"frozen_norm_eps": 0}, detector=True), has_weights=True)
    assert settings_of(model) == {**settings, "frozen_norm_eps": 0.0}


def test_flat_lists_are_read_as_torchvision_reads_them():
    model = detector()
    apply_settings(
        model,
        read_settings({"anchor_sizes": [8, 16, 32, 64, 128], "aspect_ratios": [0.5, 2]}, detector=True),
        has_weights=False,
    )
    generator = model.rpn.anchor_generator
    assert generator.sizes == ((8,), (16,), (32,), (64,), (128,))
    assert generator.aspect_ratios == ((0.5, 2.0),) * 5
    assert model.rpn.head.cls_logits.out_channels == 2


def test_settings_of_a_semantic_network_are_said_not_read():
    with torch.device("meta"):
        model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(ValueError, match=r"LRASPP.*image_mean.*image_std"):
        settings_of(model)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["is no JSON", "settings_of"]),
        ("[1]", ["must be a JSON object"]),
        ('{"anchor_size": [8]}', ["anchor_size", "did you mean anchor_sizes"]),
        ('{"zoom": 2}', ["zoom", "box_nms_thresh"]),
        ('{"box_nms_thresh": "0.5"}', ['box_nms_thresh is "0.5"', "a number from 0 to 1"]),
        ('{"box_nms_thresh": 1.5}', ["box_nms_thresh is 1.5", "a number from 0 to 1"]),
        ('{"box_nms_thresh": NaN}', ["box_nms_thresh is NaN", "a number from 0 to 1"]),
        ('{"box_nms_thresh": true}', ["box_nms_thresh is true", "a number from 0 to 1"]),
        ('{"rpn_post_nms_top_n_test": 0}', ["rpn_post_nms_top_n_test is 0", "whole number from 1"]),
        ('{"rpn_post_nms_top_n_test": 10.5}', ["rpn_post_nms_top_n_test is 10.5", "whole number from 1"]),
        ('{"box_detections_per_img": 5000}', ["box_detections_per_img is 5000", "3840"]),
        ('{"anchor_sizes": []}', ["anchor_sizes is []", "[[32], [64]"]),
        ('{"anchor_sizes": [[8], "x"]}', ["anchor_sizes is", "[[32], [64]"]),
        ('{"anchor_sizes": [[-8]]}', ["anchor_sizes is [[-8]]", "[[32], [64]"]),
        ('{"aspect_ratios": [0]}', ["aspect_ratios is [0]", "[0.5, 1, 2]"]),
        ('{"image_mean": [123.7, 116.3, 103.5]}', ["image_mean is [123.7, 116.3, 103.5]", "divide", "by 255"]),
        ('{"image_std": [0, 0.5, 0.5]}', ["image_std is [0, 0.5, 0.5]", "above 0"]),
        ('{"image_mean": [0.5]}', ["image_mean is [0.5]", "three numbers"]),
        ('{"min_size": 900, "max_size": 800}', ["min_size 900", "max_size 800"]),
        ('{"min_size": "big"}', ['min_size is "big"', "whole number"]),
        ('{"bbox_reg_weights": [1, 1, 1]}', ["bbox_reg_weights", "four numbers"]),
        ('{"box_roi_pool": 7}', ["box_roi_pool is 7", "featmap_names"]),
        ('{"box_roi_pool": {"ratio": 2}}', ["box_roi_pool", "'ratio'", "sampling_ratio"]),
        ('{"box_roi_pool": {"output_size": [7, 9]}}', ["box_roi_pool", "output_size", "whole number"]),
        ('{"box_roi_pool": {"featmap_names": "0"}}', ["box_roi_pool", "featmap_names", "list"]),
    ],
)
def test_bad_settings_are_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(ExportError) as error:
        read_settings(path, detector=True)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert [word for word in words if word not in text] == [], text


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"nowhere\.json: cannot be read \(No such file"):
        read_settings(tmp_path / "nowhere.json", detector=True)


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"box_nms_thresh": 0.4}', encoding="utf-8-sig")
    assert read_settings(path, detector=True) == {"box_nms_thresh": 0.4}


def test_a_semantic_network_has_a_mean_and_no_anchors():
    assert read_settings({"image_mean": [0, 0, 0]}, detector=False) == {"image_mean": (0, 0, 0)}
    with pytest.raises(ExportError, match="anchor_sizes is of a detector"):
        read_settings({"anchor_sizes": [8]}, detector=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"anchor_sizes": [[8], [16], [32]]}, "anchor_sizes has sizes for 3 levels, and the network has 5"),
        ({"aspect_ratios": [[1], [1]]}, "aspect_ratios has ratios for 2 levels, and the network has 5"),
        ({"anchor_sizes": [[8, 9], [16], [32], [64], [128]]}, "3 and 6 anchors at a place"),
        ({"box_roi_pool": {"sampling_ratio": 0}}, "box_roi_pool has a sampling_ratio of 0"),
    ],
)
def test_settings_that_a_network_cannot_take_are_refused(settings, words):
    network = NETWORKS["maskrcnn_resnet50_fpn"].with_settings(read_settings(settings, detector=True))
    with torch.device("meta"), pytest.raises(ExportError, match=re.escape(words)):
        network.build(5)


def test_a_trained_layer_never_changes_its_shape():
    with pytest.raises(ValueError, match=r"rpn\.head\.cls_logits.*has its weights already"):
        apply_settings(detector(), read_settings({"aspect_ratios": [0.5, 2]}, detector=True), has_weights=True)


def test_values_are_shown_on_one_line():
    assert shown(((32,), (64,))) == "32 64"
    assert shown(((0.5, 1.0), (0.5, 1.0))) == "0.5 1"
    assert shown(((8, 12), (16, 24))) == "8 12 / 16 24"
    assert shown({"output_size": 7, "featmap_names": ("0", "1")}) == "output_size 7, featmap_names 0 1"


@pytest.mark.slow
def test_importing_the_package_alone_does_not_import_torch():
    code = "import sys, segopt_export; assert 'torch' not in sys.modules; segopt_export.settings_of"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modules_that_are_no_detectors_have_no_settings():
    with pytest.raises(ValueError, match="Linear is no detector"):
        settings_of(nn.Linear(2, 2))
