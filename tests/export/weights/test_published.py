"""Files in the form in which they are published load: names of any torchvision, through the real download."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from detectron2_weights import write_zoo_file
from segopt_export.networks.detectron2_zoo import ZOO
from segopt_export.networks.table import NETWORKS
from segopt_export.weights import loading as weights_module
from segopt_export.weights.detectron2 import detectron2_name
from segopt_export.weights.loading import WeightsRequest, current_names, load_weights

pytestmark = pytest.mark.slow

TORCHVISIONS = [network for network in NETWORKS.values() if network.default_weights is not None]
MASK_RCNNS = [NETWORKS[f"maskrcnn_resnet{name}"] for name in ("50_fpn", "50_fpn_v2", "101_fpn")]


def flat(state):
    """The same names and shapes without the memory: every value of a tensor is the same."""
    return {
        name: torch.tensor(0.001 * i).to(tensor.dtype).expand(tensor.shape)
        for i, (name, tensor) in enumerate(state.items())
    }


def names_of_2021(state):
    """The names that torchvision 0.12 and before gave to the tensors of a detector."""
    changes = (
        (r"(inner_blocks|layer_blocks)\.(\d)\.0\.(weight|bias)", r"\1.\2.\3"),
        (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
        (r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}."),
    )
    renamed = {}
    for name, tensor in state.items():
        for pattern, change in changes:
            name = re.sub(pattern, change, name)
        renamed[name] = tensor
    return renamed


def same(model, expected):
    given = model.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    return all(torch.equal(given[name], expected[name]) for name in expected.keys() - counters)


@pytest.mark.parametrize("network", MASK_RCNNS, ids=lambda network: network.name)
def test_names_of_earlier_torchvisions_load_as_torchvision_loads_them(network, tmp_path):
    state = flat(network.build(3).state_dict())
    old = names_of_2021(state)
    assert len(old.keys() - state.keys()) > 10
    torch.save(old, tmp_path / "old.pth")
    reference = network.build(3)
    reference.load_state_dict(old)
    model = load_weights(network, WeightsRequest(str(tmp_path / "old.pth"))).model
    assert same(model, reference.state_dict())
    assert current_names(reference, old).keys() >= state.keys()


@pytest.mark.parametrize("network", TORCHVISIONS, ids=lambda network: network.name)
def test_the_default_weights_of_torchvision_are_fetched_and_loaded(network, tmp_path, weights_server, monkeypatch):
    folder, _ = weights_server
    published = network.default_weights
    classes = len(published.meta["categories"])
    auxiliary = {"aux_loss": True} if network.auxiliary else {}
    model = get_model(network.name, weights=None, weights_backbone=None, num_classes=classes, **auxiliary)
    state = flat(model.state_dict())
    if network is NETWORKS["maskrcnn_resnet50_fpn"]:
        # Published in 2019: the names of its time, frozen batch norms, which count no batches, and no zip archive.
        state = {name: tensor for name, tensor in names_of_2021(state).items() if "num_batches" not in name}
        torch.save(state, folder / "weights.pth", _use_new_zipfile_serialization=False)
    else:
        torch.save(state, folder / "weights.pth")
    digits = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    name = re.sub(r"-[0-9a-f]{8}\.pth$", f"-{digits}.pth", Path(published.url).name)
    (folder / "weights.pth").rename(folder / name)
    # Only the hash in the name is another: ours is not the published file.
    mirror = weights_module.default_url(published).rpartition("/")[0]
    monkeypatch.setattr(weights_module, "default_url", lambda _: f"{mirror}/{name}")

    trained = load_weights(network, WeightsRequest())
    model.load_state_dict(state)
    expected = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("aux_")}
    assert same(trained.model, expected)
    assert trained.origin.name == published.name
    assert [entry.name for entry in trained.classes][-1] == published.meta["categories"][-1]
    assert (tmp_path / "hub" / "hub" / "checkpoints" / name).exists()


def shapes_in_detectron2(network):
    """Names and shapes of a zoo file of this network, COCO's classes; background has neither box nor mask."""
    counts = (81, 54) if network.branch == "panoptic" else (81,)
    with torch.device("meta"):
        ours = network.detectron2(*counts).state_dict()
    fewer = {"roi_heads.box_predictor.bbox_pred": 4, "roi_heads.mask_head.predictor": 1}
    return {
        name: (tensor.shape[0] - fewer.get(name.rpartition(".")[0], 0), *tensor.shape[1:])
        for name, tensor in ((detectron2_name(own), tensor) for own, tensor in ours.items())
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("name", ZOO)
def test_the_default_weights_of_detectron2_are_fetched_and_loaded(name, weights_server, monkeypatch):
    folder, _ = weights_server
    network = NETWORKS[name]
    file = folder / Path(ZOO[name].url).name
    shapes = shapes_in_detectron2(network)
    write_zoo_file(file, {key: np.full(shape, 0.5, np.float32) for key, shape in shapes.items()})
    monkeypatch.setitem(ZOO, name, replace(ZOO[name], sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    trained = load_weights(network, WeightsRequest())
    assert trained.origin.name == ZOO[name].name
    assert trained.named
    assert trained.notes == ()
    assert (trained.model.state_dict()["rpn.head.cls_logits.bias"] == 0.5).all()


def test_a_zoo_file_that_nobody_published_a_hash_of_is_warned_of(weights_server):
    folder, _ = weights_server
    network = NETWORKS["maskrcnn_resnet101_fpn"]
    zoo_file = ZOO[network.name]
    assert zoo_file.sha256 is None
    arrays = {key: np.full(shape, 0.5, np.float32) for key, shape in shapes_in_detectron2(network).items()}
    file = write_zoo_file(folder / Path(zoo_file.url).name, arrays)
    (note,) = load_weights(network, WeightsRequest()).notes
    assert note.startswith("WARNING: ")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in note
