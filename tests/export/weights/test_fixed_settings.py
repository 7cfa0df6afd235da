"""Settings that weights decide themselves are refused where they are given."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_MEAN, WeightsOrigin
from segopt_export.networks.settings_file import read_settings
from segopt_export.networks.table import DEMO_NETWORKS, NETWORKS
from segopt_export.settings_notes import recorded_settings
from segopt_export.weights.fixed_settings import check_detectron2_decides_none
from segopt_export.weights.loading import Trained, WeightsRequest, load_weights

DETECTRON2 = {
    "proposal_generator.rpn_head.conv.bias": (256,),
    "roi_heads.box_predictor.cls_score.weight": (3, 8),
    "roi_heads.mask_head.predictor.weight": (2, 4, 1, 1),
}
"""Enough of a checkpoint to be known as Detectron2's."""


def load(name, settings, spec):
    network = NETWORKS[name].with_settings(read_settings(settings, detector=NETWORKS[name].branch != "semantic"))
    return load_weights(network, WeightsRequest(str(spec)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_mean", [0.5, 0.5, 0.5]), ("image_std", [0.2, 0.2, 0.2]), ("frozen_norm_eps", 1e-3)],
)
def test_a_checkpoint_of_detectron2_says_its_normalization_itself(tmp_path, key, value):
    path = tmp_path / "model_final.pkl"
    arrays = {name: np.zeros(shape, np.float32) for name, shape in DETECTRON2.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol=2))
    with pytest.raises(ExportError) as error:
        load("maskrcnn_resnet50_fpn", {key: value, "box_nms_thresh": 0.4}, path)
    text = str(error.value)
    assert text == f"{path}: a checkpoint of Detectron2 decides that itself; leave {key} out of the settings"


@pytest.mark.parametrize(
    ("branch", "settings", "named"),
    [
        ("semantic", {"image_mean": [0.5, 0.5, 0.5]}, "image_mean"),
        ("panoptic", {"anchor_sizes": [8, 16, 32, 64, 128], "box_nms_thresh": 0.4}, "anchor_sizes"),
    ],
)
def test_demo_weights_were_trained_with_their_own(branch, settings, named):
    with pytest.raises(ExportError) as error:
        load(DEMO_NETWORKS[branch], settings, "demo")
    assert str(error.value).startswith("--weights demo: ")
    assert str(error.value).endswith(f"leave {named} out of the settings")


def test_random_weights_have_no_frozen_norms():
    with pytest.raises(ExportError, match="leave frozen_norm_eps out of the settings"):
        load("maskrcnn_resnet50_fpn", {"frozen_norm_eps": 1e-3}, "random")


def test_thresholds_are_free():
    """What no weights were trained with may be another for any of them."""
    trained = load(DEMO_NETWORKS["panoptic"], {"box_nms_thresh": 0.4, "rpn_post_nms_top_n_test": 150}, "demo")
    assert trained.model.roi_heads.nms_thresh == 0.4
    assert trained.model.rpn.post_nms_top_n() == 150


@pytest.mark.parametrize("branch", ["semantic", "panoptic"])
def test_saying_again_what_they_were_trained_with_does_no_harm(branch):
    """As the settings in a card do, from which a network is built again."""
    trained = load(DEMO_NETWORKS[branch], {}, "demo")
    again = load(DEMO_NETWORKS[branch], recorded_settings(trained), "demo")
    assert again.origin == trained.origin


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.detectron2])
def test_a_network_of_detectron2_can_be_built_again_from_its_card(name):
    network = NETWORKS[name]
    with torch.device("meta"):
        model = network.detectron2(*((81, 54) if network.branch == "panoptic" else (81,)))
    recorded = recorded_settings(Trained(network, model, [], False, WeightsOrigin("model_final.pkl", "0")))
    assert recorded["image_mean"] == list(IMAGENET_MEAN)
    check_detectron2_decides_none(network.with_settings(read_settings(recorded, detector=True)), Path("m.pkl"))
