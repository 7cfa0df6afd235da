"""Weights of any origin are loaded whole or refused in one line, and never run code."""

import argparse
import functools
import hashlib
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet50
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.mask_rcnn import MaskRCNN
from torchvision.ops.misc import FrozenBatchNorm2d

from segopt.errors import ExportError
from segopt_export.classes import ClassEntry, categories_of, panoptic_categories, read_classes
from segopt_export.networks.table import NETWORKS, find_network
from segopt_export.weights.checkpoint import read_groups
from segopt_export.weights.download import MIRROR_VARIABLE, default_url, download
from segopt_export.weights.loading import WeightsRequest, load_weights

LRASPP = NETWORKS["lraspp_mobilenet_v3_large"]
FCN = NETWORKS["fcn_resnet50"]
RCNN = NETWORKS["maskrcnn_resnet50_fpn"]


@pytest.fixture(scope="module")
def state():
    """Weights of an LR-ASPP that was fine-tuned to five classes."""
    torch.manual_seed(0)
    return LRASPP.build(5).state_dict()


def load(network, path, **options):
    return load_weights(network, WeightsRequest(str(path), **options))


def assert_one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def same_weights(model, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_a_state_dict_is_loaded_with_its_own_number_of_classes(state, tmp_path):
    for name in ("model.pth", "model.pt"):
        torch.save(state, tmp_path / name)
        trained = load(LRASPP, tmp_path / name)
        assert same_weights(trained.model, state)
        assert len(trained.classes) == 5
        assert trained.origin.name == name
        assert trained.origin.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_safetensors_are_loaded(state, tmp_path):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    assert same_weights(load(LRASPP, tmp_path / "model.safetensors").model, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s, "optimizer": {}, "epoch": 3, "args": argparse.Namespace(lr=0.02, name="x")},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "pytorch-lightning_version": "2"},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
    ],
    ids=["torchvision reference script", "Lightning", "DataParallel", "compiled"],
)
def test_checkpoints_of_common_trainers_are_understood(state, tmp_path, wrap):
    torch.save(wrap(state), tmp_path / "checkpoint.pth")
    assert same_weights(load(LRASPP, tmp_path / "checkpoint.pth").model, state)


@pytest.mark.slow
@pytest.mark.parametrize("auxiliary", [True, False])
def test_the_auxiliary_head_may_be_there_or_not(tmp_path, auxiliary):
    torch.save(FCN.build(3, auxiliary=auxiliary).state_dict(), tmp_path / "fcn.pth")
    trained = load(FCN, tmp_path / "fcn.pth")
    assert len(trained.classes) == 3
    assert "aux" not in trained.model(torch.zeros(1, 3, 64, 64))


def frozen_detector(eps):
    """A Mask R-CNN as torchvision builds it for fine-tuning: frozen batch norms with little variance."""
    torch.manual_seed(1)
    body = resnet50(weights=None, norm_layer=functools.partial(FrozenBatchNorm2d, eps=eps))
    model = MaskRCNN(_resnet_fpn_extractor(body, 3), num_classes=4).eval()
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            norm.running_var.fill_(1e-3)
            norm.weight.fill_(0.03)
    return model


@pytest.mark.slow
def test_frozen_batch_norms_keep_the_epsilon_that_they_were_trained_with(tmp_path):
    picture = torch.rand(1, 3, 64, 64)
    for eps, option in ((0.0, None), (1e-5, 1e-5)):
        model = frozen_detector(eps)
        torch.save(model.state_dict(), tmp_path / "tuned.pth")
        loaded = load(RCNN, tmp_path / "tuned.pth", frozen_norm_eps=option).model
        with torch.no_grad():
            expected, found = model.backbone(picture)["0"], loaded.backbone(picture)["0"]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # The epsilon matters: with the other one, the features differ.
    other = load(RCNN, tmp_path / "tuned.pth").model
    with torch.no_grad():
        assert (other.backbone(picture)["0"] - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.slow
def test_batch_norms_trained_from_scratch_keep_theirs(tmp_path):
    torch.save(RCNN.build(3).state_dict(), tmp_path / "scratch.pth")
    model = load(RCNN, tmp_path / "scratch.pth").model
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


@pytest.mark.slow
def test_weights_of_another_network_are_named(state, tmp_path):
    torch.save(state, tmp_path / "lraspp.pth")
    for network in (FCN, RCNN):
        with pytest.raises(ExportError) as error:
            load(network, tmp_path / "lraspp.pth")
        assert_one_line(error, "lraspp.pth", "weights of lraspp_mobilenet_v3_large", network.name)


def test_tensors_that_do_not_fit_are_listed(state, tmp_path):
    broken = dict(state)
    del broken["classifier.cbr.0.weight"]
    broken["classifier.extra"] = torch.zeros(1)
    broken["backbone.0.0.weight"] = torch.zeros(16, 3, 5, 5)
    torch.save(broken, tmp_path / "broken.pth")
    with pytest.raises(ExportError) as error:
        load(LRASPP, tmp_path / "broken.pth")
    assert_one_line(error, "classifier.cbr.0.weight is missing", "classifier.extra is not", "[16, 3, 5, 5]")


@pytest.mark.parametrize("classes", [1, 257])
def test_an_impossible_number_of_classes_is_refused(state, tmp_path, classes):
    wrong = dict(state)
    for name in ("classifier.low_classifier", "classifier.high_classifier"):
        channels = state[f"{name}.weight"].shape[1]
        wrong[f"{name}.weight"] = torch.zeros(classes, channels, 1, 1)
        wrong[f"{name}.bias"] = torch.zeros(classes)
    torch.save(wrong, tmp_path / "w.pth")
    with pytest.raises(ExportError) as error:
        load(LRASPP, tmp_path / "w.pth")
    assert_one_line(error, str(classes), "2 to 256")


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    "save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))], ids=["torch", "pickle"]
)
def test_a_malicious_pickle_is_refused_and_not_run(state, tmp_path, save):
    marker = tmp_path / "ran"
    save({"model": state if save is torch.save else {}, "x": Evil(marker)}, tmp_path / "evil.pth")
    with pytest.raises(ExportError) as error:
        read_groups(tmp_path / "evil.pth")
    assert_one_line(error, "evil.pth", "torch.save(model.state_dict()")
    assert not marker.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(LRASPP.build(3), tmp_path / "module.pth")
    with pytest.raises(ExportError) as error:
        read_groups(tmp_path / "module.pth")
    assert_one_line(error, "module.pth", "state_dict()")


def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), tmp_path / "script.pt")
    with pytest.raises(ExportError) as error:
        read_groups(tmp_path / "script.pt")
    assert_one_line(error, "script.pt", "state_dict()")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(state, tmp_path, suffix):
    good = tmp_path / f"good{suffix}"
    torch.save(state, good) if suffix == ".pth" else save_file(state, good)
    data = good.read_bytes()
    path = tmp_path / f"bad{suffix}"
    contents = [b"", b"\x00", b"hello world", os.urandom(5000), b"PK\x03\x04" + os.urandom(100)]
    contents += [data[: len(data) * i // 7] for i in range(1, 7)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ExportError) as error:
            read_groups(path)
        assert_one_line(error, path.name)


def test_files_that_are_not_there_or_hold_nothing_are_refused(tmp_path):
    torch.save({"epoch": 3, "loss": [1.0]}, tmp_path / "no_weights.pth")
    for path in (tmp_path / "missing.pth", tmp_path, tmp_path / "no_weights.pth"):
        with pytest.raises(ExportError) as error:
            read_groups(path)
        assert_one_line(error, path.name)


@pytest.mark.parametrize(
    ("name", "branch", "hint"),
    [
        ("deeplab_resnet50", "semantic", "deeplabv3_resnet50"),
        ("yolo", "semantic", "fcn_resnet50"),
        ("fcn_resnet50", "instance", "is for semantic segmentation"),
        ("maskrcnn", "instance", "maskrcnn_resnet50_fpn"),
    ],
)
def test_an_unknown_network_gets_a_hint(name, branch, hint):
    with pytest.raises(ExportError) as error:
        find_network(name, branch)
    assert_one_line(error, name, hint)


def test_random_weights_are_the_same_each_time():
    one, two = (load_weights(LRASPP, WeightsRequest("random")) for _ in range(2))
    assert one.origin == two.origin
    assert one.origin.name == "random (seed 0)"
    assert load_weights(LRASPP, WeightsRequest("random", seed=1)).origin.sha256 != one.origin.sha256


# Downloads, from a server on this machine.


def test_a_download_is_checked_and_kept(state, weights_server):
    folder, url = weights_server
    torch.save(state, folder / "w.pth")
    digits = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()[:8]
    (folder / "w.pth").rename(folder / f"lraspp-{digits}.pth")
    path = download(f"{url}/lraspp-{digits}.pth")
    assert read_groups(path)[""].keys() == state.keys()
    # The second time nothing is fetched.
    (folder / f"lraspp-{digits}.pth").unlink()
    assert download(f"{url}/lraspp-{digits}.pth") == path


def test_a_file_with_another_hash_is_not_kept(weights_server, tmp_path):
    folder, url = weights_server
    (folder / "lraspp-0123abcd.pth").write_bytes(b"not the weights")
    with pytest.raises(ExportError) as error:
        download(f"{url}/lraspp-0123abcd.pth")
    assert_one_line(error, "lraspp-0123abcd.pth", "hash", "--weights")
    assert not any(path.is_file() for path in (tmp_path / "hub").rglob("*"))


def test_a_missing_file_and_a_missing_server_are_told(weights_server):
    _, url = weights_server
    with pytest.raises(ExportError) as error:
        download(f"{url}/lraspp-0123abcd.pth")
    assert_one_line(error, "404")
    with pytest.raises(ExportError) as error:
        download("http://127.0.0.1:9/lraspp-0123abcd.pth")
    assert_one_line(error, "cannot be downloaded", "--weights random")


def test_default_weights_come_from_torchvision_or_a_mirror(monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    assert (
        default_url(LRASPP.default_weights)
        == "https://download.pytorch.org/models/lraspp_mobilenet_v3_large-d234d4ea.pth"
    )
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.local/weights/")
    assert (
        default_url(LRASPP.default_weights) == "http://mirror.local/weights/lraspp_mobilenet_v3_large-d234d4ea.pth"
    )


# Classes.


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_class_names_come_as_a_list_or_as_coco_categories(tmp_path):
    names = read_classes(write(tmp_path / "a.json", ["void", "road", "car"]), 3, "semantic")
    assert [entry.name for entry in names] == ["void", "road", "car"]
    coco = {"categories": [{"id": 7, "name": "road", "isthing": 0, "color": [1, 2, 3]}, {"id": 9, "name": "car"}]}
    road, car = read_classes(write(tmp_path / "b.json", coco), 2, "semantic")
    assert road == ClassEntry("road", is_thing=False, color=(1, 2, 3), id=7)
    assert car == ClassEntry("car", id=9)


def test_a_detectors_list_may_leave_its_background_out(tmp_path):
    path = write(tmp_path / "a.json", ["car", "bus"])
    entries = read_classes(path, 3, "instance")
    assert [(c.id, c.name, c.is_thing) for c in categories_of(entries, "instance")] == [
        (1, "car", True),
        (2, "bus", True),
    ]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[", "json"),
        ("[]", "list"),
        ("{}", "list"),
        ("[1]", "name"),
        ('["a"]', "1 classes"),
        ('[{"id": 1}]', "name"),
    ],
)
def test_bad_class_files_are_refused(tmp_path, content, word):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ExportError) as error:
        read_classes(tmp_path / "a.json", 3, "semantic")
    assert_one_line(error, "a.json", word)


def test_stuff_is_what_is_no_thing_and_no_background():
    things = categories_of([ClassEntry("background"), ClassEntry("car"), ClassEntry("traffic light")], "instance")
    semantic = [ClassEntry(name) for name in ("background", "road", "Car", "traffic_light", "sky")]
    categories, stuff = panoptic_categories(semantic, things, "a.json")
    assert [(c.id, c.name, c.is_thing) for c in categories] == [
        (1, "car", True),
        (2, "traffic light", True),
        (3, "road", False),
        (4, "sky", False),
    ]
    assert stuff == {1: 3, 4: 4}


def test_a_file_decides_for_itself_what_is_stuff_and_which_id_it_has():
    things = categories_of([ClassEntry("background"), ClassEntry("car")], "instance")
    semantic = [ClassEntry("car", is_thing=False, id=40), ClassEntry("road", is_thing=True)]
    categories, stuff = panoptic_categories(semantic, things, "a.json")
    assert stuff == {0: 40}
    assert categories[-1].name == "car"
    with pytest.raises(ExportError, match="id 1"):
        panoptic_categories([ClassEntry("road", is_thing=False, id=1)], things, "a.json")


def test_torchvisions_own_semantic_weights_have_no_stuff():
    from segopt_export.classes import default_classes

    things = categories_of(default_classes(RCNN), "instance")
    _, stuff = panoptic_categories(default_classes(LRASPP), things, "default")
    assert stuff == {}
    assert len(things) == 80


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"name": "a", "color": [1, 2, 300]}, ["color of 'a'", "0 to 255"]),
        ({"name": "a", "color": [1.5, 2, 3]}, ["color of 'a'"]),
        ({"name": "a", "color": ["x", 2, 3]}, ["color of 'a'"]),
        ({"name": "a", "color": [True, 2, 3]}, ["color of 'a'"]),
        ({"name": "a", "id": -1}, ["id of 'a' is -1"]),
        ({"name": "a", "id": 2**31}, ["id of 'a'", "whole number"]),
        ({"name": "a", "id": "7"}, ["id of 'a'"]),
        ({"name": "a", "id": float("nan")}, ["id of 'a'"]),
        ({"name": "a", "isthing": "no"}, ["isthing of 'a'", "0 or 1"]),
        ({"name": "\ud800"}, ["class name", "can be written"]),
        ("\ud800", ["class name"]),
    ],
)
def test_classes_that_no_card_can_hold_are_refused(tmp_path, item, words):
    path = write(tmp_path / "a.json", [item, "b", "c"])
    with pytest.raises(ExportError) as error:
        read_classes(path, 3, "semantic")
    assert_one_line(error, "a.json", *words)


def test_class_files_of_windows_are_read_and_other_texts_named(tmp_path):
    (tmp_path / "bom.json").write_text('["a", "b"]', encoding="utf-8-sig")
    assert [entry.name for entry in read_classes(tmp_path / "bom.json", 2, "semantic")] == ["a", "b"]
    for name, data in (("utf16.json", '["a"]'.encode("utf-16")), ("deep.json", b"[" * 100_000)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ExportError) as error:
            read_classes(tmp_path / name, 2, "semantic")
        assert_one_line(error, name, "json")


def test_a_key_is_for_files_alone():
    for spec in ("default", "demo", "random"):
        with pytest.raises(ExportError, match=f"'ema' is for a weights file, not for {spec}"):
            load_weights(LRASPP, WeightsRequest(spec, key="ema"))
