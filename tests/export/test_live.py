"""Networks from the user's own code: exported, held against their own forward, and built."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0, resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, mobilenet_backbone, resnet_fpn_backbone
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

import lively
import segopt
from lively import assert_same_detections
from segopt.errors import ExportError
from segopt_export.exporter import export
from segopt_export.networks.live import live_network
from segopt_export.networks.settings_file import read_settings
from segopt_export.networks.table import NETWORKS
from segopt_export.onnx_file.own_forward import check_own_forward
from segopt_export.request import ExportRequest
from segopt_export.static.build import build_graph, shared_normalization
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.live import load_any
from segopt_export.weights.loading import WeightsRequest
from segopt_export.weights.random import enliven

pytestmark = pytest.mark.slow

CANVAS = (128, 160)
SMALL = "maskrcnn_mobilenet_v3_small_fpn"
OTHER_MEAN = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.3, 0.2]}


def efficientnet_fpn():
    levels = {"2": 24, "3": 40, "5": 112, "7": 320}
    return BackboneWithFPN(
        efficientnet_b0(weights=None).features,
        {level: str(i) for i, level in enumerate(levels)},
        list(levels.values()),
        out_channels=128,
        extra_blocks=LastLevelMaxPool(),
    )


def one_level():
    """As in torchvision's tutorial: the last map of a classifier, without a pyramid."""
    backbone = nn.Sequential(*list(resnet18(weights=None).children())[:-3])
    backbone.out_channels = 256
    return backbone


BACKBONES = {
    "resnet18": lambda: resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5),
    "resnext50_32x4d": lambda: resnet_fpn_backbone(
        backbone_name="resnext50_32x4d", weights=None, trainable_layers=5
    ),
    # torchvision's own has two levels, of strides 16 and 32.
    "mobilenet_v3_large": lambda: mobilenet_backbone("mobilenet_v3_large", weights=None, fpn=True),
    "efficientnet_b0": efficientnet_fpn,
    "one level": one_level,
}


def rcnn(backbone, classes=6, **options):
    """A lively detector on a backbone, with anchors for small pictures; few detections make it quick."""
    options = {"box_detections_per_img": 30, "rpn_post_nms_top_n_test": 300, **options}
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, 64, 64))
    levels = len(features) if isinstance(features, dict) else 1
    sizes = tuple((8 * 2**i,) for i in range(levels)) if levels > 3 else ((16, 32, 64),) * levels
    model = MaskRCNN(
        backbone, classes, rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * levels), **options
    )
    enliven(model, size=CANVAS)
    return model


def load(model, branch="instance", settings=None, weights="default"):
    given = read_settings(settings or {}, detector=branch != "semantic")
    return load_any(live_network(model, "mine", branch, given), WeightsRequest(str(weights)), CANVAS)


def run(trained, image, limits=DetectionLimits()):
    graph = build_graph(trained, CANVAS, limits, "cpu")
    with torch.no_grad():
        return dict(zip(graph.output_names, graph(image), strict=True))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "resnext50_32x4d" else n for n in BACKBONES]
)
def test_a_detector_on_any_backbone(name):
    model = rcnn(BACKBONES[name](), **OTHER_MEAN)
    trained = load(model)
    image = lively.pictures(1, CANVAS)
    (expected,) = lively.torchvision_detections(model, image)
    assert len(expected) > 20, "the network is not lively"
    assert_same_detections(expected, lively.detections_of(run({"instance": trained}, image), 0))


DEEP_BACKBONES = {"resnext50_32x4d", "mobilenet_v3_large"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.deep) if n in DEEP_BACKBONES else n for n in BACKBONES]
)
def test_its_file_says_the_same_and_becomes_a_plan(name, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    from segopt.builder.build import build
    from segopt.builder.options import BuildOptions

    model = rcnn(BACKBONES[name](), **OTHER_MEAN)
    file = tmp_path / "mine.onnx"
    made = export(
        ExportRequest(
            "instance",
            modules={"instance": model},
            canvas=CANVAS,
            target="tensorrt",
            precision="fp32",
            output=file,
        )
    )
    assert any(figure.name == "own forward" for figure in made.figures)
    image = lively.pictures(1, CANVAS)
    (expected,) = lively.torchvision_detections(model, image)
    with segopt.load(file, score_threshold=0.0) as segmenter:
        outputs = segmenter.backend.infer({"image": image.numpy()})
    found = {key: torch.from_numpy(np.array(value)) for key, value in outputs.items()}
    assert_same_detections(expected, lively.detections_of(found, 0))
    built = build(file, BuildOptions(runtime="tensorrt-rtx"))
    assert built.sidecar.card.networks == {"instance": "MaskRCNN"}


class OwnAnchors(AnchorGenerator):
    """Anchors around the corners of cells."""

    def grid_anchors(self, grid_sizes, strides):
        return [anchors + 3 for anchors in super().grid_anchors(grid_sizes, strides)]


class OwnMasks(nn.Module):
    """A mask predictor of another make: bilinear upsampling and one convolution."""

    def __init__(self, channels, classes):
        super().__init__()
        self.mask_fcn_logits = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        return self.mask_fcn_logits(nn.functional.interpolate(x, scale_factor=2, mode="bilinear"))


def test_anchors_poolers_and_heads_of_the_users_own():
    sizes = ((8, 12), (16, 24), (32, 48), (64, 96), (96, 128))
    torch.manual_seed(0)
    model = MaskRCNN(
        BACKBONES["resnet18"](),
        rpn_anchor_generator=OwnAnchors(sizes, ((0.5, 1.0, 2.0),) * 5),
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 5, 3),
        box_head=nn.Sequential(nn.Conv2d(256, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64), nn.ReLU()),
        box_predictor=Predictor(64, 6),
        mask_predictor=OwnMasks(256, 6),
        bbox_reg_weights=(4.0, 4.0, 2.0, 2.0),
    )
    enliven(model, size=CANVAS)
    trained = load(model)
    assert len(trained.classes) == 6
    image = lively.pictures(1, CANVAS)
    (expected,) = lively.torchvision_detections(model, image)
    assert len(expected) == 100
    assert_same_detections(expected, lively.detections_of(run({"instance": trained}, image), 0))


class Predictor(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.cls_score = nn.Linear(inputs, classes)
        self.bbox_pred = nn.Linear(inputs, 4 * classes)

    def forward(self, x):
        return self.cls_score(x), self.bbox_pred(x)


@pytest.fixture(scope="module")
def small():
    model = NETWORKS[SMALL].build(5)
    enliven(model, size=CANVAS)
    return model


def test_a_part_that_lies_about_its_work_is_caught(small):
    """A method that an instance replaces is not seen by its class, but its answer is another one."""
    trained = load(small)
    image = lively.pictures(1, CANVAS)
    graph = build_graph({"instance": trained}, CANVAS, DetectionLimits(), "cpu")
    figures = check_own_forward(graph, {"instance": trained}, image)
    assert [figure.text for figure in figures] == ["100 of 100 detections found again"]
    heads = trained.model.roi_heads
    own = heads.postprocess_detections
    heads.postprocess_detections = lambda *inputs: tuple([part[0][::2]] for part in own(*inputs))
    with pytest.raises(ExportError, match="mine: its own forward and the static graph disagree"):
        check_own_forward(graph, {"instance": trained}, image)


def test_weights_from_a_file_are_loaded_by_the_module_itself(small, tmp_path):
    path = tmp_path / "mine.pth"
    other = NETWORKS[SMALL].build(5)
    enliven(other, seed=3, size=CANVAS)
    torch.save(other.state_dict(), path)
    trained = load(small, weights=path)
    assert trained.origin.name == "mine.pth"
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    torch.save(NETWORKS[SMALL].build(4).state_dict(), path)
    with pytest.raises(ExportError, match=r"mine\.pth: these weights do not fit mine: roi_heads") as error:
        load(small, weights=path)
    assert "is [4, 256], not [5, 256]" in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_from_a_checkpoint_of_the_users_own_training(small, tmp_path):
    """Behind a prefix, without the counters of frozen norms, among other things."""
    path = tmp_path / "last.ckpt.pth"
    other = NETWORKS[SMALL].build(5)
    enliven(other, seed=3, size=CANVAS)
    state = {f"net.{k}": v for k, v in other.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"epoch": 3, "state_dict": {**state, "criterion.weight": torch.ones(5)}}, path)
    trained = load(small, weights=path)
    for name, tensor in other.state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], tensor) or name.endswith("num_batches_tracked"), name
    state["net.rpn.head.cls_logits.bias"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(ExportError, match=r"holds NaN in net\.rpn\.head\.cls_logits\.bias"):
        load(small, weights=path)


def test_a_live_network_with_nan_is_refused(small):
    sick = deepcopy(small)
    with torch.no_grad():
        sick.rpn.head.cls_logits.bias[0] = torch.nan
    with pytest.raises(ExportError, match=r"mine: holds NaN in rpn\.head\.cls_logits\.bias"):
        load(sick)


def test_a_semantic_network_of_the_users_own():
    backbone = IntermediateLayerGetter(resnet18(weights=None), {"layer4": "out"})
    model = DeepLabV3(backbone, DeepLabHead(512, 5))
    enliven(model, size=CANVAS)
    image = lively.pictures(1, CANVAS)
    outputs = run({"semantic": load(model, "semantic")}, image)
    expected = lively.torchvision_label_map(model, image)
    assert len(expected.unique()) > 2
    assert (outputs["semantic"] == expected).float().mean() >= 0.999


class Bare(nn.Module):
    """The smallest semantic network: the class is the brightest of three colors, after normalization."""

    def forward(self, x):
        return x * 1.0


def test_two_networks_behind_one_picture_may_be_normalized_differently(small):
    settings = {"image_mean": [0.91, 0.52, 0.13], "image_std": [0.113, 0.471, 0.837]}
    trained = {"semantic": load(Bare(), "semantic", settings), "instance": load(small, settings=OTHER_MEAN)}
    image = lively.pictures(1, CANVAS)
    outputs = run(trained, image)
    rgb = image.flip(-1)[0] / 255
    normalized = (rgb - torch.tensor(settings["image_mean"])) / torch.tensor(settings["image_std"])
    assert (outputs["semantic"][0] == normalized.argmax(-1)).float().mean() > 0.999
    model = trained["instance"].model
    (expected,) = lively.torchvision_detections(model, image)
    assert_same_detections(expected, lively.detections_of(outputs, 0))
    assert shared_normalization(trained)[0] == tuple(OTHER_MEAN["image_mean"])


# Through the command line.


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street_models.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 4, 1)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x)\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return Net().train()\n"
    )
    return tmp_path


def test_an_import_path_on_the_command_line(project, segopt_cli):
    (project / "model.json").write_text(json.dumps(OTHER_MEAN))
    (project / "names.json").write_text(json.dumps(["sky", "road", "car", "tree"]))
    options = ("--mode", "semantic", "--network", "street_models:build", "--size", "64x96", "--no-build")
    status, out, err = segopt_cli("export", *options, "--settings", "model.json", "--classes", "names.json")
    assert status == 0, err
    assert "taken for granted" not in out
    (file,) = (project / "engines").iterdir()
    assert file.name == "semantic-street_models_build-fp32.onnx"
    card = segopt.read_card(file)
    assert card.networks == {"semantic": "street_models:build"}
    assert card.mean == tuple(OTHER_MEAN["image_mean"])
    assert card.std == tuple(OTHER_MEAN["image_std"])
    assert card.settings == {"semantic": OTHER_MEAN}
    assert [category.name for category in card.categories["semantic"]] == ["sky", "road", "car", "tree"]
    import street_models

    picture = lively.pictures(1, (64, 96))[0]
    mean, std = (torch.tensor(value) for value in OTHER_MEAN.values())
    normalized = ((picture.flip(-1) / 255 - mean) / std).permute(2, 0, 1)[None]
    expected = street_models.build()(normalized).argmax(1)[0].numpy()
    with segopt.load(file) as segmenter:
        assert (segmenter(picture.numpy()).classes == expected).mean() > 0.999


def test_what_a_semantic_network_does_not_say_is_told(project, segopt_cli):
    options = ("--mode", "semantic", "--network", "street_models:build", "--size", "64x96", "--no-build")
    status, out, err = segopt_cli("export", *options)
    assert status == 0, err
    assert "taken for granted, since a network does not hold it: image_mean 0.485 0.456 0.406" in out
    assert segopt.read_card(next((project / "engines").iterdir())).settings["semantic"]["image_mean"][0] == 0.485
