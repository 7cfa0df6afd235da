"""Networks from the user's own code: found, copied, and refused by the part that no static graph can carry."""

import re
import sys

import pytest
import torch
from torch import nn
from torchvision.models.detection import (
    FasterRCNN,
    KeypointRCNN,
    MaskRCNN,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.segmentation import fcn_resnet50
from torchvision.ops import MultiScaleRoIAlign

from segopt.errors import ExportError
from segopt_export.networks.live import import_module_of, live_network
from segopt_export.networks.parts import check_detector, count_detector_classes, count_semantic_classes

CANVAS = (64, 96)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a package ``mine`` in which the command runs; what it imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "models.py").write_text(
        "import torch\n"
        "def build():\n    return torch.nn.Linear(2, 3)\n"
        "def broken():\n    raise KeyError('lr')\n"
        "def needs(depth):\n    return None\n"
        "def number():\n    return 7\n"
        "ready = torch.nn.Linear(4, 5)\n"
        "size = 3\n"
        "class zoo:\n    build = staticmethod(build)\n"
    )
    (tmp_path / "mine" / "faulty.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "mine" / "wrong.py").write_text("1 / 0\n")
    yield tmp_path
    for name in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[name]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("name", "features"), [("build", 3), ("zoo.build", 3), ("ready", 5)])
def test_an_import_path_names_a_function_or_a_module(name, features):
    assert import_module_of(f"mine.models:{name}").out_features == features


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mine.models:", "is no import path"),
        (":build", "is no import path"),
        ("yours.models:build", "there is no module yours; run segopt in the folder that holds it"),
        ("mine.nets:build", "there is no module mine.nets; run segopt in the folder that holds it"),
        ("mine.faulty:build", "there is no module nowhere_to_be_found; install it"),
        ("mine.wrong:build", "importing mine.wrong raised ZeroDivisionError"),
        ("mine.models:biuld", "mine.models has no biuld"),
        ("mine.models:broken", "calling it without arguments raised KeyError: 'lr'"),
        ("mine.models:needs", "calling it without arguments raised TypeError"),
        ("mine.models:number", "returned a int, not a torch.nn.Module"),
        ("mine.models:size", "is a int; name a function"),
    ],
)
def test_what_an_import_path_does_not_give_is_told(path, words):
    with pytest.raises(ExportError) as error:
        import_module_of(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_users_module_is_left_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).half().train()
    copy = live_network(module, "mine", "semantic", {}).module
    assert module.training
    assert module[0].weight.dtype == torch.float16
    assert not copy.training
    assert copy[0].weight.dtype == torch.float32


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda module: torch.compile(module, backend="eager")])
def test_wrappers_are_taken_off(wrap):
    module = nn.Sequential(nn.Conv2d(3, 2, 1))
    assert type(live_network(wrap(module), "mine", "semantic", {}).module) is nn.Sequential


class Pyramid(nn.Module):
    """A backbone of the smallest kind: levels of given strides, with 8 channels."""

    out_channels = 8

    def __init__(self, strides=(4, 8, 16, 32)):
        super().__init__()
        self.strides = strides
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        maps = {str(i): self.conv(x[..., ::stride, ::stride]) for i, stride in enumerate(self.strides)}
        return maps if len(maps) > 1 else maps["0"]


def detector(*, strides=(4, 8, 16, 32), base=MaskRCNN, **options):
    anchors = AnchorGenerator(((16,),) * len(strides), ((0.5, 1.0, 2.0),) * len(strides))
    with torch.device("meta"):
        return base(Pyramid(strides), 5, rpn_anchor_generator=anchors, **options).eval()


def with_part(path, part, **options):
    model = detector(**options)
    *steps, name = path.split(".")
    owner = model
    for step in steps:
        owner = getattr(owner, step)
    setattr(owner, name, part)
    return model


def of_class(path, new):
    """The same detector, one part of which is of a class derived from its own."""
    model = detector()
    part = model
    for step in path.split("."):
        part = getattr(part, step)
    part.__class__ = new
    return model


class OwnForward(MaskRCNN):
    def forward(self, images, targets=None):
        return super().forward(images, targets)


class SoftSuppression(RoIHeads):
    def postprocess_detections(self, *inputs):
        return super().postprocess_detections(*inputs)


class CascadeHeads(nn.Module):
    keypoint_predictor = None
    mask_predictor = True


class OwnProposals(RegionProposalNetwork):
    def filter_proposals(self, *inputs):
        return super().filter_proposals(*inputs)


class ByteTransform(GeneralizedRCNNTransform):
    def normalize(self, image):
        return image / 255


class OwnPool(MultiScaleRoIAlign):
    def forward(self, *inputs):
        return super().forward(*inputs)


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = detector()


class OtherMasks(nn.Sequential):
    def __init__(self, classes, scale):
        super().__init__(nn.Conv2d(256, classes, 1), nn.Upsample(scale_factor=scale))


REFUSED = {
    "keypoints": (
        lambda: with_part("roi_heads.keypoint_predictor", nn.Linear(1, 1)),
        "roi_heads.keypoint_predictor finds keypoints",
    ),
    "no masks": (lambda: detector(base=FasterRCNN), "roi_heads.mask_predictor is missing"),
    "no detector": (lambda: nn.Linear(2, 2), "is a Linear, no MaskRCNN"),
    "a wrapper": (Wrapper, "is a Wrapper, no MaskRCNN of torchvision; give its part net"),
    "another detector": (
        lambda: retinanet_resnet50_fpn(weights=None, weights_backbone=None),
        "is a RetinaNet, no MaskRCNN",
    ),
    "its own forward": (lambda: detector(base=OwnForward), "forward is that of OwnForward"),
    "custom RoI heads": (lambda: with_part("roi_heads", CascadeHeads()), "roi_heads is a CascadeHeads"),
    "its own suppression": (
        lambda: of_class("roi_heads", SoftSuppression),
        "roi_heads is a SoftSuppression, with its own postprocess_detections",
    ),
    "its own proposals": (lambda: of_class("rpn", OwnProposals), "rpn is a OwnProposals, with its own filter_"),
    "its own transform": (
        lambda: of_class("transform", ByteTransform),
        "transform is a ByteTransform, with its own normalize",
    ),
    "its own pooling": (
        lambda: of_class("roi_heads.box_roi_pool", OwnPool),
        "roi_heads.box_roi_pool is a OwnPool, with its own forward",
    ),
    "adaptive samples": (
        lambda: detector(box_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 0)),
        "roi_heads.box_roi_pool has a sampling_ratio of 0",
    ),
    "no square": (
        lambda: detector(box_roi_pool=MultiScaleRoIAlign(["0", "1"], (7, 5), 2)),
        "roi_heads.box_roi_pool has an output of (7, 5)",
    ),
    "unknown levels": (
        lambda: detector(box_roi_pool=MultiScaleRoIAlign(["p2", "p3"], 7, 2)),
        "roi_heads.box_roi_pool pools levels ['p2', 'p3'], and the backbone has ['0', '1', '2', '3']",
    ),
    "a level left out": (
        lambda: detector(box_roi_pool=MultiScaleRoIAlign(["0", "2"], 7, 2)),
        "roi_heads.box_roi_pool pools levels of strides 4, 16",
    ),
    "large masks": (
        lambda: detector(mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 28, 2)),
        "roi_heads.mask_predictor answers masks of 56x56",
    ),
    "masks of other classes": (
        lambda: with_part("roi_heads.mask_predictor", OtherMasks(3, 2)),
        "answers 5 classes, 20 box offsets and 3 masks",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_part_that_no_static_graph_carries_is_named(what):
    make, words = REFUSED[what]
    with torch.device("meta"):
        model = make()
    with pytest.raises(ExportError, match=re.escape(words)) as error:
        checked(model)
    assert str(error.value).startswith("mine: ")
    assert "\n" not in str(error.value)


def checked(model):
    model = model.to_empty(device="cpu")
    check_detector(model, "mine", CANVAS)
    return count_detector_classes(model, "mine", CANVAS)


def test_a_keypoint_network_is_refused():
    with pytest.raises(ExportError, match="keypoints"):
        checked(detector(base=KeypointRCNN))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        detector,
        lambda: detector(strides=(16,), box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2)),
        lambda: with_part("roi_heads.mask_predictor", OtherMasks(5, 2)),
        lambda: maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5),
    ],
    ids=["a pyramid", "one level", "another mask head", "torchvision's own"],
)
def test_networks_of_torchvisions_parts_are_taken(make):
    with torch.device("meta"):
        model = make()
    assert checked(model) == 5


class Logits(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 1)
        self.answer = answer

    def forward(self, x):
        return self.answer(self.conv(x))


@pytest.mark.parametrize("answer", [lambda y: y, lambda y: {"out": y}, lambda y: {"out": y, "aux": y[:1]}])
def test_semantic_networks_answer_logits_or_out(answer):
    assert count_semantic_classes(Logits(answer), "mine", CANVAS) == 7


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda y: y[..., ::4, ::4], "answers [1, 7, 16, 24] for a picture [1, 3, 64, 96]"),
        (lambda y: y.argmax(1), "answers [1, 64, 96] for a picture"),
        (lambda y: {"logits": y}, "answers a dict without `out`"),
        (lambda y: (y, y), "answers a tuple; a semantic network answers logits"),
        (lambda y: y + torch.ones(5), "fails on a picture, float32 [1, 3, 64, 96]"),
    ],
)
def test_other_answers_are_refused(answer, words):
    with pytest.raises(ExportError, match=re.escape(words)):
        count_semantic_classes(Logits(answer), "mine", CANVAS)


def test_torchvisions_semantic_networks_are_taken():
    with torch.device("meta"):
        model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=6, aux_loss=True)
    assert count_semantic_classes(model.to_empty(device="cpu").eval(), "mine", CANVAS) == 6
