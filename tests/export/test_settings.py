"""Networks with other settings than the usual: torchvision's own detections are found again, all of them."""

import json

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

import lively
import segopt
from lively import assert_same_detections
from segopt_export import settings_of
from segopt_export.networks.live import live_network
from segopt_export.networks.settings_file import read_settings
from segopt_export.networks.table import NETWORKS
from segopt_export.static.build import build_graph
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.live import load_any
from segopt_export.weights.loading import WeightsRequest
from segopt_export.weights.random import enliven

RCNN = "maskrcnn_resnet50_fpn"
SMALL = "maskrcnn_mobilenet_v3_small_fpn"
CLASSES = 12
CANVAS = (128, 160)

ANCHORS = ((8,), (16,), (32,), (64,), (128,))
CHANGED = {
    "anchor sizes": {"rpn_anchor_generator": AnchorGenerator(ANCHORS, ((0.5, 1.0, 2.0),) * 5)},
    "aspect ratios": {
        "rpn_anchor_generator": AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.25, 1.0, 4.0),) * 5)
    },
    "mean and std": {"image_mean": [0.2, 0.6, 0.4], "image_std": [0.3, 0.15, 0.25]},
    "proposals": {"rpn_pre_nms_top_n_test": 2000, "rpn_post_nms_top_n_test": 2000},
    "rpn_nms_thresh": {"rpn_nms_thresh": 0.5, "rpn_score_thresh": 0.3},
    "box_nms_thresh": {"box_nms_thresh": 0.3},
    "bbox_reg_weights": {"bbox_reg_weights": (5.0, 5.0, 2.5, 2.5)},
    # Room for 150, of which a threshold between the hundredth score and the next leaves 100.
    "box_score_thresh": {"box_detections_per_img": 150},
    "pools": {
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 3, canonical_scale=160),
        "mask_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 14, 1),
    },
}
ALL = {name: value for changed in CHANGED.values() for name, value in changed.items()} | {
    # Other layers, too: four anchors at a place, and 9 x 9 bins.
    "rpn_anchor_generator": AnchorGenerator(ANCHORS, ((0.25, 0.7, 1.0, 4.0),) * 5),
    "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], 9, 1),
    "box_detections_per_img": 80,
    "box_score_thresh": 0.02,
}


def rcnn(**options):
    """With a narrow mask head, which is most of the time that torchvision's takes."""
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES, **options)
    model.roi_heads.mask_head = MaskRCNNHeads(256, (64, 64), 1)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(64, 64, CLASSES)
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A lively network with the usual settings: its state dict, and a file of it."""
    model = rcnn()
    enliven(model, size=CANVAS)
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(model.state_dict(), path)
    return model.state_dict(), path


def answer(trained, image, **limits):
    """Our detections for the first picture."""
    graph = build_graph({"instance": trained}, CANVAS, DetectionLimits(**limits), "cpu")
    with torch.no_grad():
        outputs = dict(zip(graph.output_names, graph(image), strict=True))
    assert outputs["converged"].all()
    return lively.detections_of(outputs, 0)


def assert_all_found(expected, found):
    """As many of torchvision's detections as there are, where another test lets one in a hundred go."""
    assert_same_detections(expected, found)
    near = torch.cdist(expected.boxes, found.boxes, p=torch.inf) <= 0.05
    near &= (expected.scores[:, None] - found.scores).abs() <= 1e-4
    near &= expected.labels[:, None] == found.labels
    assert int(near.any(dim=1).sum()) == len(expected)


def through_settings(path, settings):
    network = NETWORKS[RCNN].with_settings(read_settings(json.loads(json.dumps(settings)), detector=True))
    return load_any(network, WeightsRequest(str(path)), CANVAS)


def through_the_module(model):
    return load_any(live_network(model, "mine", "instance", {}), WeightsRequest(), CANVAS)


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGED)
def test_the_same_tensors_with_other_settings(trained, what):
    """Through the settings file and through the live module; without either it is another network."""
    state, path = trained
    model = rcnn(**CHANGED[what])
    model.load_state_dict(state)
    image = lively.pictures(1, CANVAS)
    if what == "box_score_thresh":
        (many,) = lively.torchvision_detections(model, image)
        assert len(many) == 150
        model.roi_heads.score_thresh = float(many.scores[99:101].mean())
    settings, live = settings_of(model), through_the_module(model)
    (expected,) = lively.torchvision_detections(model, image)
    assert len(expected) == 100
    assert_all_found(expected, answer(through_settings(path, settings), image, suppression_steps=40))
    assert_all_found(expected, answer(live, image, suppression_steps=40))
    bare = {"box_detections_per_img": settings["box_detections_per_img"]}
    with pytest.raises(AssertionError):
        assert_same_detections(expected, answer(through_settings(path, bare), image, suppression_steps=40))


@pytest.mark.slow
def test_all_at_once_and_layers_of_other_shapes(tmp_path):
    model = rcnn(**ALL)
    enliven(model, size=CANVAS)
    path = tmp_path / "mine.pth"
    torch.save(model.state_dict(), path)
    image = lively.pictures(1, CANVAS)
    trained, live = through_settings(path, settings_of(model)), through_the_module(model)
    (expected,) = lively.torchvision_detections(model, image)
    assert len(expected) == 80
    for found in (answer(trained, image), answer(live, image)):
        assert_all_found(expected, found)


# Through the command line.


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small detector with settings of its own, its weights, and its settings as ``settings_of`` writes them."""
    folder = tmp_path_factory.mktemp("small")
    model = NETWORKS[SMALL].build(5)
    model.transform.image_mean, model.transform.image_std = [0.2, 0.6, 0.4], [0.3, 0.15, 0.25]
    model.transform.min_size, model.transform.max_size = (100, 120), 150
    model.rpn.anchor_generator = AnchorGenerator(ANCHORS, ((0.25, 1.0, 4.0),) * 5)
    model.roi_heads.nms_thresh, model.roi_heads.detections_per_img = 0.3, 40
    enliven(model, size=CANVAS)
    torch.save(model.state_dict(), folder / "mine.pth")
    with (folder / "model.json").open("w") as file:
        json.dump(settings_of(model), file)
    return folder, model


def export_small(segopt_cli, folder, *options):
    base = ("export", "--mode", "instance", "--network", SMALL, "--weights", folder / "mine.pth", "--no-build")
    return segopt_cli(*base, *options)


@pytest.mark.slow
def test_a_settings_file_on_the_command_line(small, segopt_cli, tmp_path):
    folder, model = small
    file = tmp_path / "mine.onnx"
    status, out, err = export_small(segopt_cli, folder, "--settings", folder / "model.json", "--output", file)
    assert status == 0, err
    assert "taken for granted" not in out
    card = segopt.read_card(file)
    assert card.canvas == (128, 160), "the smallest that holds the network's own sizes"
    assert card.max_detections == 40
    assert card.mean == (0.2, 0.6, 0.4)
    assert card.std == (0.3, 0.15, 0.25)
    recorded = json.loads((folder / "model.json").read_text())
    assert card.settings == {"instance": recorded}
    image = lively.pictures(1, CANVAS)
    (expected,) = lively.torchvision_detections(model, image)
    with segopt.load(file) as segmenter:
        outputs = segmenter.backend.infer({"image": image.numpy()})
    assert len(expected) == 40
    found = {key: torch.from_numpy(value.copy()) for key, value in outputs.items()}
    assert_same_detections(expected, lively.detections_of(found, 0))


@pytest.mark.slow
def test_a_bare_file_is_told_what_was_taken_for_granted(small, segopt_cli, tmp_path):
    folder, _ = small
    options = ("--size", "64x96", "--max-detections", 5, "--output", tmp_path / "mine.onnx")
    status, out, err = export_small(segopt_cli, folder, *options)
    assert status == 0, err
    (note,) = [line for line in out.splitlines() if "taken for granted" in line]
    for words in (
        "mine.pth",
        "a weights file does not hold it",
        "anchor_sizes 16 32 64 128 256",
        "aspect_ratios 0.5 1 2",
        "rpn_post_nms_top_n_test 200",
        "box_nms_thresh 0.5",
        "box_roi_pool featmap_names 0 1 2 3, output_size 7, sampling_ratio 2",
        "image_mean 0.485 0.456 0.406",
        "--settings FILE.json",
    ):
        assert words in note, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ({"box_nms_tresh": 0.3}, [], ["model.json", "box_nms_tresh", "did you mean box_nms_thresh"]),
        ({"aspect_ratios": [1]}, [], ["mine.pth", "rpn.head.cls_logits"]),
        ({"anchor_sizes": [8, 16]}, [], ["anchor_sizes has sizes for 2 levels, and the network has 5"]),
        (
            {"rpn_pre_nms_top_n_test": 5000},
            ["--target", "tensorrt"],
            ["rpn_pre_nms_top_n_test is 5000", "3840", "--target cpu"],
        ),
        ({"box_detections_per_img": 3000}, [], ["max detections is 3000", "2000"]),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(small, segopt_cli, tmp_path, content, options, words):
    folder, _ = small
    settings = tmp_path / "model.json"
    settings.write_text(json.dumps(content))
    status, _, err = export_small(segopt_cli, folder, "--settings", settings, "--size", "64x96", *options)
    assert status in (1, 2)
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("done ")]
    assert len(lines) == 1, err
    assert [word for word in words if word not in lines[0]] == [], lines


def test_settings_of_a_fusion_belong_to_one_of_its_networks(segopt_cli):
    status, _, err = segopt_cli("export", "--mode", "panoptic", "--settings", "model.json")
    assert status == 2
    assert "--instance-settings" in err
