"""EoMT's weights: a folder of Hugging Face's, a file of the authors' own, and all that is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lively_eomt import CANVAS, NAMES, TINY, lively, pixels, write_folder
from segopt.errors import ExportError
from segopt_export.networks.eomt import EoMT, EomtShape
from segopt_export.networks.table import find_network
from segopt_export.weights.eomt import load_eomt
from segopt_export.weights.loading import WeightsRequest
from segopt_export.weights.random_eomt import enliven_eomt

EOMT = find_network("eomt", "panoptic")


def load(path, *, network=EOMT, classes=True):
    return load_eomt(network, WeightsRequest(str(path), path.parent / "classes.json" if classes else None))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    return write_folder(tmp_path / "weights")


def same_answer(one, other):
    images = pixels(CANVAS)
    with torch.no_grad():
        return all(torch.equal(a, b) for a, b in zip(one(images), other(images), strict=True))


def test_a_folder_is_the_network_that_it_was_made_of(folder):
    trained = load(folder)
    assert same_answer(trained.model, lively())
    assert [entry.name for entry in trained.classes] == [entry["name"] for entry in NAMES]
    assert trained.origin.name == "weights"
    assert len(trained.origin.sha256) == 64
    assert trained.network.settings["image_mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("values", "masked"),
    [([1, 1], (True, True)), ([0, 0], (False, False)), ([-1, -1], (False, False)), ([0, 1], (False, True))],
)
def test_how_far_masks_were_annealed_is_part_of_the_weights(folder, values, masked):
    change(folder, attn_mask_probs=torch.tensor(values, dtype=torch.float32))
    assert load(folder).model.masked == masked


def test_a_file_that_does_not_say_it_attends_inside_of_masks(folder):
    change(folder, attn_mask_probs=None)
    assert load(folder).model.masked == (True, True)


def change(folder, **tensors):
    path = folder / "model.safetensors"
    state = load_file(path) | tensors
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)


def change_config(folder, name="config.json", **values):
    path = folder / name
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value != "gone"}))


DAMAGES = {
    "no config": (lambda f: (f / "config.json").unlink(), r"weights: has no config\.json, nor pytorch_model\.bin"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), r"weights: has no model\.safetensors or"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: is no JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), r"config\.json: is no JSON object"),
    "another architecture": (lambda f: change_config(f, model_type="mask2former"), "is of a 'mask2former'"),
    "DINOv3": (
        lambda f: change_config(f, model_type="eomt_dinov3"),
        "does not fit its configuration: .*position_embeddings",
    ),
    "SwiGLU": (lambda f: change_config(f, use_swiglu_ffn=True), "use_swiglu_ffn is True"),
    "another activation": (lambda f: change_config(f, hidden_act="relu"), "hidden_act is relu"),
    "no size": (lambda f: change_config(f, hidden_size="gone"), "hidden_size is None"),
    "a size that is a text": (lambda f: change_config(f, num_queries="200"), "num_queries is 200, and must be"),
    "an endless size": (lambda f: change_config(f, hidden_size=10**9), "hidden_size is 1000000000"),
    "heads that do not divide": (lambda f: change_config(f, num_attention_heads=3), "no multiple of 3 attention"),
    "patches of 14": (lambda f: change_config(f, patch_size=14), "patch_size is 14"),
    "another width": (lambda f: change_config(f, hidden_size=64), r"does not fit its configuration: .* is \["),
    "more layers": (lambda f: change_config(f, num_hidden_layers=4), r"layers\.3\..* is missing"),
    "no classes": (lambda f: change_config(f, id2label="gone"), "id2label does not name the classes"),
    "a class too many": (
        lambda f: change_config(f, id2label={str(i): "x" for i in range(13)}),
        "has 12 classes and the weights have 13|does not fit",
    ),
    "semantic": (
        lambda f: change_config(f, "preprocessor_config.json", do_split_image=True),
        r"weights: this is a semantic EoMT, .*--mode semantic",
    ),
    "a mean that is none": (
        lambda f: change_config(f, "preprocessor_config.json", image_mean=[0.5]),
        r"preprocessor_config\.json: image_mean is \[0\.5\]",
    ),
    "annealing": (lambda f: change(f, attn_mask_probs=torch.tensor([1.0, 0.4])), r"attn_mask_probs has 0\.4"),
    "annealing that is no number": (
        lambda f: change(f, attn_mask_probs=torch.tensor([1.0, float("nan")])),
        "attn_mask_probs has nan",
    ),
    "too many blocks annealed": (lambda f: change(f, attn_mask_probs=torch.ones(3)), "is for 3 blocks"),
    "NaN": (lambda f: change(f, **{"query.weight": torch.full((100, 32), torch.nan)}), r"NaN in query\.weight"),
    "no positions": (
        lambda f: change(f, **{"embeddings.position_embeddings.weight": None}),
        "has no position embeddings of an EoMT on DINOv2",
    ),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:1000]),
        r"model\.safetensors: ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_not_whole_or_not_ours_is_refused_in_one_line(folder, damage):
    make, message = DAMAGES[damage]
    make(folder)
    with pytest.raises(ExportError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_classes_of_which_nobody_says_what_is_a_thing_are_not_known(folder):
    trained = load(folder, classes=False)
    assert not trained.named
    assert [entry.name for entry in trained.classes] == [f"class {i}" for i in range(12)]


def test_a_class_file_must_say_what_is_a_thing(folder):
    (folder.parent / "classes.json").write_text(json.dumps([entry["name"] for entry in NAMES]))
    with pytest.raises(ExportError, match=r"classes\.json: does not say whether 'class 0' is a thing"):
        load(folder)


def test_a_class_file_of_another_length_is_refused(folder):
    (folder.parent / "classes.json").write_text(json.dumps(NAMES[:-1]))
    with pytest.raises(ExportError, match=r"classes\.json: has 11 classes and the weights have 12"):
        load(folder)


def test_133_classes_with_coco_names_are_cocos(tmp_path):
    shape = replace(TINY, classes=133, queries=4)
    names = {str(i): f"LABEL_{i}" for i in range(133)}
    trained = load(write_folder(tmp_path / "weights", EoMT(shape).eval(), id2label=names), classes=False)
    assert [trained.classes[i].name for i in (0, 79, 80, 132)] == ["person", "toothbrush", "banner", "rug-merged"]
    assert sum(bool(entry.is_thing) for entry in trained.classes) == 80


def test_133_other_classes_are_not_taken_for_cocos(tmp_path):
    shape = replace(TINY, classes=133, queries=4)
    names = {str(i): f"part {i}" for i in range(133)}
    assert not load(write_folder(tmp_path / "weights", EoMT(shape).eval(), id2label=names), classes=False).named


def test_weights_of_another_size_name_the_network_that_they_are_of(folder):
    small = find_network("eomt_small", "panoptic")
    with pytest.raises(ExportError, match=r"has 3 layers of 32 channels, .* give --network eomt"):
        load(folder, network=small)


@pytest.mark.parametrize("branch", ["semantic", "instance"])
def test_every_mode_has_query_networks(branch):
    network = find_network("eomt_small", branch)
    assert network.branch == branch
    assert network.queries == find_network("eomt_small", "panoptic").queries


def test_the_same_seed_gives_the_same_random_weights_and_another_seed_others():
    states = []
    for seed in (0, 0, 1):
        model = EoMT(TINY)
        enliven_eomt(model, seed=seed)
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert not torch.equal(states[0]["query.weight"], states[2]["query.weight"])


@pytest.mark.parametrize(
    ("network", "spec", "message"),
    [
        ("eomt", "random", "for random ones give --network eomt_small"),
        ("eomt_small", "default", "there are no default weights of it; give --weights FOLDER"),
        ("eomt_small", "demo", "there are no demo weights of it"),
        ("eomt_small", "runs/nothing.bin", r"runs/nothing\.bin: no such weights file"),
    ],
)
def test_weights_that_there_are_none_of_say_which_there_are(network, spec, message):
    with pytest.raises(ExportError, match=message) as caught:
        load_eomt(find_network(network, "panoptic"), WeightsRequest(spec))
    assert "\n" not in str(caught.value)


# The authors' own form.


def original(model):
    """The same weights as the authors' training code saves them."""
    renamed = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in (
            ("embeddings.cls_token", "encoder.backbone.cls_token"),
            ("embeddings.register_tokens", "encoder.backbone.reg_token"),
            ("embeddings.patch_embeddings.projection.", "encoder.backbone.patch_embed.proj."),
            ("layernorm.", "encoder.backbone.norm."),
            ("layers.", "encoder.backbone.blocks."),
            ("query.weight", "q.weight"),
            ("class_predictor.", "class_head."),
            ("mask_head.fc1.", "mask_head.0."),
            ("mask_head.fc2.", "mask_head.2."),
            ("mask_head.fc3.", "mask_head.4."),
            ("upscale_block.block.", "upscale."),
        ):
            if name.startswith(ours):
                renamed[theirs + name.removeprefix(ours)] = tensor
    renamed = {
        name.replace("attention.out_proj", "attn.proj")
        .replace("layer_scale1.lambda1", "ls1.gamma")
        .replace("layer_scale2.lambda1", "ls2.gamma")
        .replace("layernorm2d", "norm"): tensor
        for name, tensor in renamed.items()
    }
    for i in range(model.shape.layers):
        block = f"encoder.backbone.blocks.{i}."
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"{block}attention.{part}_proj.{kind}") for part in "qkv"]
            renamed[f"{block}attn.qkv.{kind}"] = torch.cat(parts)
    positions = model.state_dict()["embeddings.position_embeddings.weight"]
    renamed["encoder.backbone.pos_embed"] = positions[None]
    renamed["attn_mask_probs"] = torch.tensor(model.masked, dtype=torch.float32)
    renamed["encoder.pixel_mean"] = torch.zeros(1, 3, 1, 1)
    return {f"network.{name}": tensor for name, tensor in renamed.items()} | {
        "criterion.empty_weight": torch.ones(13)
    }


@pytest.mark.parametrize("place", ["file", "folder", "lightning"])
def test_the_authors_own_checkpoint_is_the_same_network(tmp_path, place):
    model = EoMT(
        EomtShape(hidden=64, layers=3, heads=1, blocks=2, classes=12, queries=20, side=128), masked=(0, 0)
    )
    enliven_eomt(model)
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "pytorch_model.bin"
    state = original(model)
    torch.save({"state_dict": state, "epoch": 1} if place == "lightning" else state, path)
    found = load_eomt(
        EOMT,
        WeightsRequest(str(path if place == "file" else path.parent), tmp_path / "classes.json"),
    ).model
    assert found.masked == (False, False)
    assert same_answer(found, model)


def test_weights_that_are_differences_to_dinov3_are_refused(tmp_path):
    state = {name: t for name, t in original(lively()).items() if not name.endswith("pos_embed")}
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ExportError, match="hold differences to DINOv3's"):
        load_eomt(EOMT, WeightsRequest(str(tmp_path)))


@pytest.mark.parametrize(
    ("count", "named", "things"),
    [
        (
            150,
            {0: "wall", 2: "sky", 7: "bed ", 12: "person", 20: "car", 76: "boat", 127: "bicycle", 149: "flag"},
            100,
        ),
        (19, {0: "road", 2: "building", 10: "sky", 11: "person", 13: "car", 18: "bicycle"}, 8),
    ],
)
def test_things_of_known_data_sets_are_known(tmp_path, count, named, things):
    shape = replace(TINY, classes=count, queries=4)
    names = {str(i): named.get(i, f"part {i}") for i in range(count)}
    weights = load(write_folder(tmp_path / "weights", EoMT(shape).eval(), id2label=names), classes=False)
    assert weights.named
    assert sum(bool(entry.is_thing) for entry in weights.classes) == things
    by_name = {entry.name.strip(): entry.is_thing for entry in weights.classes}
    assert by_name["person"]
    assert by_name["car"]
    assert not by_name["sky"]
    moved = {str(i): names[str(count - 1 - i)] for i in range(count)}
    other = write_folder(tmp_path / "other", EoMT(shape).eval(), id2label=moved)
    assert not load(other, classes=False).named


def write_categories(folder, categories):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "categories": categories}))


def test_a_configuration_may_say_which_classes_are_things(folder):
    write_categories(folder, [{**entry, "id": 7 + i} for i, entry in enumerate(NAMES)])
    trained = load(folder, classes=False)
    assert trained.named
    assert [(e.name, e.is_thing, e.id) for e in trained.classes] == [
        (entry["name"], bool(entry["isthing"]), 7 + i) for i, entry in enumerate(NAMES)
    ]
    assert any("config.json lists as categories" in note for note in trained.notes)
    # A class file that was given comes first.
    assert [entry.id for entry in load(folder).classes] == [None] * len(NAMES)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (NAMES[:-1], r"config\.json: has 11 classes and the weights have 12"),
        ([{"name": entry["name"]} for entry in NAMES], r"config\.json: does not say whether 'class 0' is a thing"),
        ({"car": 1}, r"config\.json: must be a list of class names"),
        ([], r"config\.json: must be a list of class names"),
    ],
)
def test_categories_that_do_not_fit_are_refused(folder, categories, message):
    write_categories(folder, categories)
    with pytest.raises(ExportError, match=message) as caught:
        load(folder, classes=False)
    assert "\n" not in str(caught.value)
