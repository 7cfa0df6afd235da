"""Detectron2's files are taken whole or refused in one line, and never run code."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from segopt.errors import ExportError
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.array_pickle import read_array_pickle
from segopt_export.weights.detectron2 import detectron2_model, detectron2_name, from_detectron2, is_detectron2
from segopt_export.weights.download import download
from segopt_export.weights.loading import WeightsRequest, load_weights

DATA = Path(__file__).parents[1] / "data"
PANOPTIC = NETWORKS["panoptic_fpn_resnet50"]
RCNN = NETWORKS["maskrcnn_resnet50_fpn"]
FILE = Path("model_final.pkl")


def shapes_of(network):
    """Names and shapes as Detectron2 itself listed them."""
    content = np.load(DATA / f"detectron2_{network.name}.npz")
    return {name: tuple(shape) for name, shape in json.loads(str(content["meta"]))["shapes"].items()}


@pytest.fixture
def state():
    """A Panoptic FPN's state dict of Detectron2, without the memory: every value of a tensor is the same."""
    return {
        name: torch.tensor(0.001 * i).expand(shape) for i, (name, shape) in enumerate(shapes_of(PANOPTIC).items())
    }


@pytest.fixture(scope="module")
def wanted():
    with torch.device("meta"):
        return PANOPTIC.detectron2(81, 54).state_dict()


def assert_refused(error, *words):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1500
    for word in words:
        assert word in text, text


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def test_heads_of_other_widths_are_read_from_their_shapes():
    """``ROI_BOX_HEAD.FC_DIM`` and ``ROI_MASK_HEAD.CONV_DIM`` of a training of the user's own."""
    state = {name: torch.full(shape, 0.01) for name, shape in shapes_of(RCNN).items()}
    fully, masks = 512, 96
    for name, tensor in state.items():
        size = list(tensor.shape)
        if name.startswith("roi_heads.box_head.fc"):
            size[0] = fully
            size[1:] = [fully] if "fc2.weight" in name else size[1:]
        elif name.startswith("roi_heads.box_predictor") and name.endswith("weight"):
            size[1] = fully
        elif name.startswith("roi_heads.mask_head.mask_fcn") or "deconv" in name:
            size = [masks if side == 256 else side for side in size]
            if name == "roi_heads.mask_head.mask_fcn1.weight":
                size[1] = 256
        elif name == "roi_heads.mask_head.predictor.weight":
            size[1] = masks
        state[name] = torch.full(size, 0.01)
    model, counts = detectron2_model(RCNN, state, FILE)
    assert counts == (81,)
    heads = model.roi_heads
    assert heads.box_head.fc7.weight.shape == (fully, fully)
    assert [block[0].weight.shape[0] for block in heads.mask_head] == [masks] * 4
    assert heads.mask_predictor.mask_fcn_logits.weight.shape[:2] == (81, masks)
    assert all((tensor == 0.01).all() for tensor in heads.mask_head.state_dict().values())


def test_every_tensor_has_its_counterpart(state, wanted):
    assert {detectron2_name(name) for name in wanted} == set(state)
    translated = from_detectron2(state, wanted, FILE)
    assert {n: t.shape for n, t in translated.items()} == {n: t.shape for n, t in wanted.items()}


@pytest.mark.parametrize("name", ["panoptic_fpn_resnet101", "maskrcnn_resnet101_fpn"])
def test_the_deeper_network_has_names_of_the_same_making(name):
    network = NETWORKS[name]
    with torch.device("meta"):
        names = list(network.detectron2(*((81, 54) if network.branch == "panoptic" else (81,))).state_dict())
    theirs = [detectron2_name(n) for n in names]
    assert len(set(theirs)) == len(names)
    assert "backbone.bottom_up.res4.22.conv3.norm.running_var" in theirs
    assert all(n.startswith(("backbone.", "proposal_generator.", "roi_heads.", "sem_seg_head.")) for n in theirs)


def test_background_goes_first_and_colors_turn_around(state, wanted):
    scores = torch.arange(81.0)
    state["roi_heads.box_predictor.cls_score.bias"] = scores
    state["roi_heads.box_predictor.bbox_pred.bias"] = torch.arange(320.0)
    state["roi_heads.mask_head.predictor.bias"] = torch.arange(80.0)
    stem = torch.zeros(64, 3, 7, 7)
    stem[:, 0] = 1  # blue
    state["backbone.bottom_up.stem.conv1.weight"] = stem
    ours = from_detectron2(state, wanted, FILE)
    assert ours["roi_heads.box_predictor.cls_score.bias"].tolist() == [80, *range(80)]
    assert ours["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [0, 0, 0, 0, *range(320)]
    assert ours["roi_heads.mask_predictor.mask_fcn_logits.bias"].tolist() == [0, *range(80)]
    assert ours["backbone.body.conv1.weight"][0, :, 0, 0].tolist() == [0, 0, pytest.approx(255 * 0.225)]


def test_class_agnostic_boxes_and_masks_are_those_of_every_class(state, wanted):
    state["roi_heads.box_predictor.bbox_pred.weight"] = torch.rand(4, 1024)
    state["roi_heads.box_predictor.bbox_pred.bias"] = torch.rand(4)
    state["roi_heads.mask_head.predictor.weight"] = torch.rand(1, 256, 1, 1)
    state["roi_heads.mask_head.predictor.bias"] = torch.rand(1)
    ours = from_detectron2(state, wanted, FILE)
    for name in ("weight", "bias"):
        boxes = ours[f"roi_heads.box_predictor.bbox_pred.{name}"].reshape(81, 4, -1)
        given = state[f"roi_heads.box_predictor.bbox_pred.{name}"].reshape(4, -1)
        assert all(torch.equal(boxes[i], given) for i in range(1, 81))
        assert not boxes[0].any()
        masks = ours[f"roi_heads.mask_predictor.mask_fcn_logits.{name}"]
        assert (masks[1:] == state[f"roi_heads.mask_head.predictor.{name}"]).all()


def test_a_checkpoint_of_the_other_depth_is_named():
    with torch.device("meta"):
        deeper = NETWORKS["panoptic_fpn_resnet101"].detectron2(81, 54).state_dict()
    state = {detectron2_name(name): tensor for name, tensor in deeper.items()}
    state["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(81, 1024)
    with pytest.raises(ExportError) as error:
        detectron2_model(PANOPTIC, state, FILE)
    assert_refused(error, "weights of panoptic_fpn_resnet101, not of panoptic_fpn_resnet50")


def test_tensors_of_no_shape_are_listed_like_others(state, wanted):
    for name in ("roi_heads.box_predictor.cls_score.bias", "roi_heads.mask_head.predictor.bias"):
        state[name] = torch.tensor(1.0)
    with pytest.raises(ExportError) as error:
        from_detectron2(state, wanted, FILE)
    assert_refused(error, "2 of", "cls_score.bias is [], which makes no [81]")


def test_constants_of_older_files_are_no_weights(state, wanted):
    state["pixel_mean"] = torch.tensor([103.53, 116.28, 123.675]).reshape(3, 1, 1)
    state["pixel_std"] = torch.ones(3, 1, 1)
    for i in range(5):
        state[f"proposal_generator.anchor_generator.cell_anchors.{i}"] = torch.zeros(3, 4)
    assert from_detectron2(state, wanted, FILE).keys() == wanted.keys()


def test_pictures_that_were_normalized_otherwise_are_refused(state, wanted):
    state["pixel_std"] = torch.tensor([57.375, 57.12, 58.395]).reshape(3, 1, 1)
    with pytest.raises(ExportError) as error:
        from_detectron2(state, wanted, FILE)
    assert_refused(error, "model_final.pkl", "pixel_std", "57.375", "MSRA")


def test_missing_extra_and_misshapen_tensors_are_listed(state, wanted):
    del state["sem_seg_head.p2.0.weight"]
    state["sem_seg_head.p6.0.weight"] = torch.zeros(1)
    state["backbone.fpn_lateral4.bias"] = torch.zeros(255)
    with pytest.raises(ExportError) as error:
        from_detectron2(state, wanted, FILE)
    assert_refused(
        error,
        "model_final.pkl: 3 of",
        "sem_seg_head.p2.0.weight is missing",
        "sem_seg_head.p6.0.weight is not of this network",
        "backbone.fpn_lateral4.bias is [255], which makes no [256]",
    )


def test_a_long_list_is_cut(state, wanted):
    few = {name: tensor for name, tensor in state.items() if not name.startswith("backbone.bottom_up.")}
    with pytest.raises(ExportError) as error:
        from_detectron2(few, wanted, FILE)
    assert_refused(error, "backbone.bottom_up.stem.conv1.weight is missing", "and 257 more")


def file_of(path, names, **more):
    """A zoo file with these tensors, each of one value."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in names.items()}
    return write(path, {"model": {**arrays, **more}, "__author__": "Detectron2 Model Zoo"})


LAST_LAYERS = {
    "proposal_generator.rpn_head.conv.bias": (256,),
    "roi_heads.box_predictor.cls_score.weight": (3, 8),
    "roi_heads.mask_head.predictor.weight": (2, 4, 1, 1),
}


@pytest.mark.parametrize(
    ("network", "names", "words"),
    [
        (
            PANOPTIC,
            {"proposal_generator.rpn_head.conv.bias": (256,)},
            ["another architecture", "proposal_generator.rpn"],
        ),
        (PANOPTIC, LAST_LAYERS, ["Mask R-CNN", "--mode instance"]),
        (
            RCNN,
            {**LAST_LAYERS, "sem_seg_head.predictor.weight": (5, 128, 1, 1)},
            ["Panoptic FPN", "--mode panoptic"],
        ),
        (RCNN, LAST_LAYERS, ["backbone.bottom_up.stem.conv1.weight is missing", "more"]),
        (NETWORKS["fcn_resnet50"], LAST_LAYERS, ["Detectron2", "panoptic_fpn_resnet50", "fcn_resnet50 is none"]),
        (RCNN, {"head.cls_subnet.0.weight": (1,)}, ["do not fit maskrcnn_resnet50_fpn"]),
    ],
)
def test_checkpoints_of_another_network_are_refused(tmp_path, network, names, words):
    path = file_of(tmp_path / "model.pkl", names)
    with pytest.raises(ExportError) as error:
        load_weights(network, WeightsRequest(str(path)))
    assert_refused(error, "model.pkl", *words)


def test_a_checkpoint_of_its_trainer_is_known_by_its_names(tmp_path):
    torch.save({"model": {name: torch.zeros(shape) for name, shape in LAST_LAYERS.items()}}, tmp_path / "m.pth")
    with pytest.raises(ExportError) as error:
        load_weights(PANOPTIC, WeightsRequest(str(tmp_path / "m.pth")))
    assert_refused(error, "m.pth", "--mode instance")
    assert not is_detectron2(RCNN.build(3).state_dict())


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_come_back_as_they_were(tmp_path, protocol):
    content = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5), "c": [1, "two", None]}
    found = read_array_pickle(write(tmp_path / "a.pkl", content, protocol))
    np.testing.assert_array_equal(found["a"].values, content["a"])
    assert (found["b"], found["c"]) == (content["b"], content["c"])


def test_names_of_older_numpy_are_known(tmp_path):
    data = pickle.dumps({"a": np.zeros(3)}, protocol=2).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "old.pkl").write_bytes(data)
    assert read_array_pickle(tmp_path / "old.pkl")["a"].values.tolist() == [0, 0, 0]


class Hostile:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("call", "arguments", "word"),
    [
        (os.system, ("touch ran",), "system"),
        (eval, ("open('ran', 'w')",), "eval"),
        (np.load, ("ran",), "numpy"),
        (torch.tensor, (1,), "torch"),
    ],
)
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, protocol, call, arguments, word):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "model.pkl", {"model": {"w": Hostile(call, *arguments)}}, protocol)
    with pytest.raises(ExportError) as error:
        load_weights(PANOPTIC, WeightsRequest(str(path)))
    assert_refused(error, "model.pkl", "holds more than arrays", word)
    assert not (tmp_path / "ran").exists()


def test_codecs_and_references_are_refused(tmp_path):
    import codecs

    write(tmp_path / "codec.pkl", Hostile(codecs.encode, "x", "rot13"))
    (tmp_path / "reference.pkl").write_bytes(b"Pelsewhere\n.")
    for name in ("codec.pkl", "reference.pkl"):
        with pytest.raises(ExportError, match="holds more than arrays"):
            read_array_pickle(tmp_path / name)


def test_every_truncation_is_told(tmp_path):
    whole = write(tmp_path / "model.pkl", {"model": {"w": np.arange(40.0)}, "__author__": "x"}).read_bytes()
    for length in range(1, len(whole)):
        (tmp_path / "cut.pkl").write_bytes(whole[:length])
        with pytest.raises(ExportError) as error:
            read_array_pickle(tmp_path / "cut.pkl")
        assert_refused(error, "cut.pkl", "damaged", "get it again")


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {"model": {}}, {"blobs": {"conv1_w": np.zeros(2)}}])
def test_pickles_without_a_state_dict_are_refused(tmp_path, content):
    path = write(tmp_path / "model.pkl", content)
    with pytest.raises(ExportError) as error:
        load_weights(PANOPTIC, WeightsRequest(str(path)))
    assert_refused(error, "model.pkl")


def test_a_published_hash_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "model_final_cafdb1.pkl"
    cached.parent.mkdir(parents=True)
    write(cached, {"model": {}})
    zoo = NETWORKS["panoptic_fpn_resnet101"].zoo_file
    assert len(zoo.sha256) == 64
    with pytest.raises(ExportError) as error:
        download(zoo.url, sha256=zoo.sha256)
    assert_refused(error, "model_final_cafdb1.pkl", "hash")
    # Nobody published the other one's: its tensors are all that can be checked.
    assert download(zoo.url, sha256="") == cached


def test_the_default_weights_that_cannot_be_had_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGOPT_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ExportError) as error:
        load_weights(PANOPTIC, WeightsRequest())
    assert_refused(error, "model_final_c10459.pkl", "cannot be downloaded")
