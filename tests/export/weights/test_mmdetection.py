"""mmdetection's files are taken whole or refused in one line; what tensors do not hold is read from their text."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdetection_weights import write_checkpoint
from segopt.errors import ExportError
from segopt_export.classes import coco_class_lists
from segopt_export.networks.box_rules import ClassAgnosticRoIHeads
from segopt_export.networks.families import MMDETECTION_STYLES, rules_of
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.key_map import from_pixels
from segopt_export.weights.loading import WeightsRequest, load_weights
from segopt_export.weights.mmdetection import (
    MAP,
    fits_mmdetection,
    is_mmdetection,
    mmdetection_model,
    mmdetection_names,
)

DATA = Path(__file__).parents[1] / "data"
PANOPTIC = NETWORKS["panoptic_fpn_resnet50"]
RCNN = NETWORKS["maskrcnn_resnet50_fpn"]
FILE = Path("epoch_12.pth")
CAFFE = "model = dict(backbone=dict(style='caffe'))"
COCO_THINGS = [entry.name for entry in coco_class_lists("instance")[0][1:]]


def recorded_meta(name):
    return json.loads(str(np.load(DATA / f"mmdetection_{name}.npz")["meta"]))


def state_of(name="maskrcnn_resnet50_fpn"):
    """A state dict with the names and shapes that mmdetection itself listed, of one value for each tensor."""
    shapes = recorded_meta(name)["shapes"]
    return {key: torch.tensor(0.001 * i).expand(tuple(shape)) for i, (key, shape) in enumerate(shapes.items())}


@pytest.fixture(scope="module")
def config():
    """The configuration of Mask R-CNN as mmdetection 3 writes it into checkpoints."""
    return recorded_meta("maskrcnn_resnet50_fpn")["config"]


def load(state, *, network=RCNN, style=None, **meta):
    return mmdetection_model(network, state, {"meta": meta, "state_dict": state}, FILE, style=style)


def refusal(state, *words, **options):
    with pytest.raises(ExportError) as error:
        load(state, **options)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1500
    for word in ("epoch_12.pth", *words):
        assert word in text, text


@pytest.mark.parametrize(
    ("network", "counts"), [("maskrcnn_resnet50_fpn", (81,)), ("panoptic_fpn_resnet50", (81, 54))]
)
def test_every_tensor_has_its_counterpart(network, counts):
    state, entry = state_of(network), NETWORKS[network]
    with torch.device("meta"):
        wanted = entry.mmdetection(*counts, rules=MMDETECTION_STYLES["pytorch"]).state_dict()
    assert {MAP.name(name) for name in wanted} == {n for n in state if not n.endswith("num_batches_tracked")}
    translated = MAP.translate(state, wanted, FILE)
    assert {n: t.shape for n, t in translated.items()} == {n: t.shape for n, t in wanted.items()}
    assert fits_mmdetection(entry, state)
    assert mmdetection_names() >= MAP.weights_in(state)


@pytest.mark.slow
def test_background_and_things_come_first():
    state = state_of("panoptic_fpn_resnet50")
    state["roi_head.bbox_head.fc_cls.bias"] = torch.arange(81.0)
    state["roi_head.bbox_head.fc_reg.bias"] = torch.arange(320.0)
    state["roi_head.mask_head.conv_logits.bias"] = torch.arange(80.0)
    state["semantic_head.conv_logits.bias"] = torch.arange(54.0)
    ours = load(state, network=PANOPTIC).model.state_dict()
    assert ours["roi_heads.box_predictor.cls_score.bias"].tolist() == [80, *range(80)]
    assert ours["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [0, 0, 0, 0, *range(320)]
    assert ours["roi_heads.mask_predictor.mask_fcn_logits.bias"].tolist() == [0, *range(80)]
    assert ours["semantic_head.predictor.bias"].tolist() == [53, *range(53)]


@pytest.mark.slow
def test_the_style_is_read_from_the_configuration(config):
    caffe = recorded_meta("maskrcnn_resnet50_fpn_caffe")["config"]
    state = state_of()
    stem = torch.zeros(64, 3, 7, 7)
    stem[:, 0] = 1  # The first channel: red of style pytorch, blue of style caffe.
    state["backbone.conv1.weight"] = stem
    found = {key: load(state, **{key: text}) for key, text in (("cfg", config), ("config", caffe))}
    first = {key: f.model.state_dict()["backbone.body.conv1.weight"][0, :, 0, 0] for key, f in found.items()}
    assert first["cfg"].tolist() == [1, 0, 0]
    assert first["config"].tolist() == [0, 0, pytest.approx(255 * 0.225)]
    assert rules_of(found["cfg"].model) == MMDETECTION_STYLES["pytorch"]
    assert rules_of(found["config"].model) == MMDETECTION_STYLES["caffe"]
    assert found["config"].model.backbone.body.layer2[0].conv1.stride == (2, 2)
    assert "style caffe" in found["config"].note


@pytest.mark.slow
def test_without_a_configuration_the_style_is_said_or_what_was_assumed_is_told():
    assumed, said = load(state_of()), load(state_of(), style="caffe")
    assert "style pytorch, which was taken for granted" in assumed.note
    assert "--weights-style caffe" in assumed.note
    assert "style caffe, as you said" in said.note
    assert rules_of(said.model) == MMDETECTION_STYLES["caffe"]


def test_a_style_that_the_configuration_contradicts_is_refused(config):
    refusal(state_of(), "style pytorch, not caffe", "leave --weights-style out", style="caffe", cfg=config)


def test_pixels_of_version_2_are_read_from_its_dataset():
    text = "model = dict(backbone=dict(style='pytorch'))\n"
    norm = "img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], to_rgb=False)\n"
    state = state_of()
    state["backbone.conv1.weight"] = torch.rand(64, 3, 7, 7)
    ours = load(state, config=text + norm).model.state_dict()["backbone.body.conv1.weight"]
    torch.testing.assert_close(ours, state["backbone.conv1.weight"].flip(1))


def test_a_first_convolution_sees_the_same_picture():
    pixels = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)).double()
    mean, std = (torch.tensor(v).double().reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    theirs = (pixels - 255 * mean).flip(1)
    weight = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    ours = from_pixels((1.0, 2.0, 3.0), bgr=True)(weight, weight).double()
    scaled = theirs / torch.tensor([1.0, 2.0, 3.0]).double().reshape(3, 1, 1)
    expected = torch.nn.functional.conv2d(scaled, weight.double())
    found = torch.nn.functional.conv2d((pixels / 255 - mean) / std, ours)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


def test_thresholds_and_counts_are_the_configurations(config):
    changed = config.replace("score_thr=0.05", "score_thr=0.25").replace("max_per_img=100)", "max_per_img=40)")
    changed = changed.replace("iou_threshold=0.5", "class_agnostic=True, iou_threshold=0.45")
    head, test_cfg = changed.split("test_cfg=", 1)
    changed = head + "test_cfg=" + test_cfg.replace("nms_pre=1000", "nms_pre=600")
    changed = changed.replace("max_per_img=100,", "max_per_img=40,")
    model = load(state_of(), cfg=changed).model
    heads = model.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.25, 0.45, 40)
    assert isinstance(heads, ClassAgnosticRoIHeads)
    assert (model.rpn.pre_nms_top_n(), model.rpn.post_nms_top_n(), model.rpn.nms_thresh) == (600, 1000, 0.7)


def test_thresholds_of_the_zoo_hold_where_nothing_is_said():
    heads = load(state_of("panoptic_fpn_resnet50"), network=PANOPTIC).model.roi_heads
    assert (heads.score_thresh, heads.nms_thresh) == (0.6, 0.5)
    assert isinstance(heads, ClassAgnosticRoIHeads)
    heads = load(state_of()).model.roi_heads
    assert (heads.score_thresh, heads.nms_thresh) == (0.05, 0.5)
    assert not isinstance(heads, ClassAgnosticRoIHeads)


def test_names_of_older_configurations_are_known():
    text = (
        "model = dict(backbone=dict(style='caffe'), rpn_head=dict(anchor_scales=[8], target_stds=[1, 1, 1, 1]))\n"
        "test_cfg = dict(rpn=dict(nms_pre=500, max_num=300, nms_thr=0.6), rcnn=dict(nms=dict(iou_thr=0.4)))\n"
    )
    model = load(state_of(), config=text).model
    assert (model.rpn.pre_nms_top_n(), model.rpn.post_nms_top_n(), model.rpn.nms_thresh) == (500, 300, 0.6)
    assert model.roi_heads.nms_thresh == 0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("scales=[\n                8,", "scales=[\n                4,", ["anchor_generator.scales = [4]", "[8]"]),
        ("sampling_ratio=0", "sampling_ratio=2", ["roi_layer.sampling_ratio = 2", "with 0"]),
        (
            "0.1,\n                    0.1,",
            "0.2,\n                    0.1,",
            ["target_stds = [0.2, 0.1", "0.1, 0.1"],
        ),
        ("type='nms'", "type='soft_nms'", ["nms.type = 'soft_nms'"]),
        ("num_outs=5", "num_outs=6", ["neck.num_outs = 6"]),
        ("123.675", "100.0", ["pixel mean [100.0", "ImageNet's"]),
        ("style='pytorch'", "style='tf'", ["style 'tf'"]),
        ("score_thr=0.05", "score_thr=5", ["rcnn.score_thr = 5", "share"]),
        ("score_thr=0.05", "score_thr=print(1)", ["rcnn.score_thr = something computed"]),
    ],
)
def test_a_network_of_other_rules_is_refused(config, old, new, words):
    assert old in config
    refusal(state_of(), *words, cfg=config.replace(old, new))


def test_a_configuration_is_not_run(config, tmp_path):
    target = tmp_path / "ran"
    text = f"import os\nos.system('touch {target}')\nx = open('{target}', 'w')\n" + config
    assert "its configuration's" in load(state_of(), cfg=text).note
    assert not target.exists()


@pytest.mark.slow
def test_classes_are_those_that_the_checkpoint_names():
    state = state_of()
    (coco,) = load(state, CLASSES=tuple(COCO_THINGS)).classes
    assert coco == coco_class_lists("instance")[0]
    (own,) = load(state, dataset_meta={"classes": [f"part {i}" for i in range(80)]}).classes
    assert [entry.name for entry in own[:3]] == ["background", "part 0", "part 1"]
    assert load(state, CLASSES=("too", "few")).classes is None
    both = [f"thing {i}" for i in range(80)] + [f"stuff {i}" for i in range(53)]
    things, stuff = load(state_of("panoptic_fpn_resnet50"), network=PANOPTIC, CLASSES=both).classes
    assert (things[80].name, stuff[0].name, stuff[1].name) == ("thing 79", "things", "stuff 0")
    assert (things[1].is_thing, stuff[1].is_thing) == (True, False)


def test_missing_extra_and_misshapen_tensors_are_listed():
    state = state_of()
    del state["neck.fpn_convs.2.conv.weight"]
    state["rpn_head.extra.weight"] = torch.zeros(1)
    state["roi_head.mask_head.upsample.bias"] = torch.zeros(255)
    refusal(
        state,
        "3 of this mmdetection checkpoint's tensors misfit",
        "neck.fpn_convs.2.conv.weight is missing",
        "rpn_head.extra.weight is not of this network",
        "roi_head.mask_head.upsample.bias is [255], which makes no [256]",
    )


def test_checkpoints_of_another_network_are_named():
    refusal(state_of(), "Mask R-CNN", "--mode instance", network=PANOPTIC)
    refusal(state_of("panoptic_fpn_resnet50"), "Panoptic FPN", "--mode panoptic")
    refusal(
        state_of(),
        "weights of maskrcnn_resnet50_fpn, not of maskrcnn_resnet101_fpn",
        network=NETWORKS["maskrcnn_resnet101_fpn"],
    )
    refusal(state_of(), "fits maskrcnn_resnet50_fpn", network=NETWORKS["maskrcnn_resnet50_fpn_v2"])
    refusal(
        {"neck.a.weight": torch.zeros(1), "bbox_head.fc.weight": torch.zeros(1)}, "another architecture", "neck.a"
    )


@pytest.mark.slow
def test_a_file_is_known_by_its_names(tmp_path):
    path = write_checkpoint(tmp_path / "mm.pth", state_of(), mmdet_version="2.28.0", CLASSES=COCO_THINGS)
    trained = load_weights(RCNN, WeightsRequest(str(path)))
    assert trained.named
    assert trained.classes == coco_class_lists("instance")[0]
    assert any("taken for granted" in note for note in trained.notes)
    assert not is_mmdetection(RCNN.build(3).state_dict())


class HistoryBuffer:
    """As mmengine's: an array, and its own methods by name."""

    def __init__(self):
        self.history, self.methods = np.arange(3.0), {"mean": HistoryBuffer.mean, "max": max}

    def mean(self):
        raise AssertionError("nothing of it is called")


def save_with_log(path, monkeypatch, log):
    """A checkpoint as mmengine saves it while it trains."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setattr(HistoryBuffer, "__module__", module.__name__)
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"message_hub": {"log_scalars": log}, "state_dict": state_of(), "meta": {"cfg": CAFFE}}, path)
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    return path


def test_the_log_of_a_training_is_left_alone(tmp_path, monkeypatch):
    buffer = HistoryBuffer()
    del buffer.methods["max"]
    path = save_with_log(tmp_path / "epoch_3.pth", monkeypatch, {"loss": buffer})
    trained = load_weights(RCNN, WeightsRequest(str(path)))
    assert "style caffe" in trained.notes[0]


def test_code_beside_the_log_is_refused(tmp_path, monkeypatch):
    path = save_with_log(tmp_path / "epoch_3.pth", monkeypatch, {"loss": HistoryBuffer()})
    with pytest.raises(ExportError, match=r"max\) and was not opened"):
        load_weights(RCNN, WeightsRequest(str(path)))


@pytest.mark.parametrize("spec", ["random", "default"])
def test_a_style_is_for_files_alone(spec):
    with pytest.raises(ExportError, match="style"):
        load_weights(RCNN, WeightsRequest(spec, style="caffe"))


def test_a_style_is_for_mmdetections_files_alone(tmp_path):
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(ExportError, match=r"a\.pth: is no checkpoint of mmdetection"):
        load_weights(RCNN, WeightsRequest(str(tmp_path / "a.pth"), style="caffe"))
