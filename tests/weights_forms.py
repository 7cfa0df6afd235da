"""Forms that a checkpoint comes in, and what becomes of each: the table of docs/weights.md."""

import argparse
import gzip
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from segopt_export.networks.table import NETWORKS, Network

LRASPP = NETWORKS["lraspp_mobilenet_v3_large"]
FCN = NETWORKS["fcn_resnet50"]
RCNN = NETWORKS["maskrcnn_resnet50_fpn"]


def flat(state):
    """The same names and shapes without the memory: every value of a tensor is the same."""
    return {
        name: torch.tensor(0.001 * i).to(tensor.dtype).expand(tensor.shape)
        for i, (name, tensor) in enumerate(state.items())
    }


@dataclass(frozen=True)
class Form:
    """One form, made from a model with three classes."""

    name: str
    save: Callable[[nn.Module, Path], Path]
    """Writes it into a folder; the path of the file."""
    refused: str | None = None
    """Words of the line; None where it is accepted."""
    note: str | None = None
    """Words of a note on the export."""
    key: str | None = None
    network: Network = LRASPP
    change: Callable[[nn.Module], None] | None = None
    """Of the model, before it is saved."""


def content(make, name="model.pth", **options):
    """A file that torch.save writes of what ``make`` makes of a state dict."""

    def save(model, folder):
        torch.save(make(dict(model.state_dict())), folder / name, **options)
        return folder / name

    return save


def of_bytes(data, name="model.pth"):
    def save(model, folder):  # noqa: ARG001
        (folder / name).write_bytes(data)
        return folder / name

    return save


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def under(prefix, **beside):
    return content(lambda s: {**prefixed(prefix, s), **beside})


def to(dtype):
    return content(lambda s: {k: v.to(dtype) if v.is_floating_point() else v for k, v in s.items()})


def with_value(value, dtype=torch.float32):
    def make(state):
        name = "classifier.high_classifier.bias"
        sick = state[name].to(dtype).clone()
        sick[1] = value
        return {**state, name: sick}

    return content(make)


def safetensors(name):
    def save(model, folder):
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / name)
        return folder / name

    return save


def reference_script(state):
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.grad = torch.ones(3)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=0.02, data_path="coco"),
    }


def averaged(model, folder):
    torch.save(AveragedModel(model).state_dict(), folder / "swa.pth")
    return folder / "swa.pth"


def other(state):
    """Weights of the same shapes and other values."""
    return {name: tensor + 1 for name, tensor in state.items()}


def in_parts(state):
    parts = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return parts


def numpy_pickle(model, folder):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    (folder / "model.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol=2))
    return folder / "model.pkl"


def old_names(state):
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for i in range(4):
            name = name.replace(f"inner_blocks.{i}.0.", f"inner_blocks.{i}.")
            name = name.replace(f"layer_blocks.{i}.0.", f"layer_blocks.{i}.")
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        renamed[name] = tensor
    return renamed


def auxiliary(classes):
    return lambda s: {**flat(s), "aux_classifier.4.weight": torch.zeros(classes, 256, 1, 1)}


def hidden(width):
    def change(model):
        model.roi_heads.mask_predictor = MaskRCNNPredictor(256, width, 3)

    return change


def narrow_mask_head(model):
    model.roi_heads.mask_head = MaskRCNNHeads(256, [128, 64], 1)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(64, 32, 3)


def narrow_box_head(model):
    model.roi_heads.box_head = TwoMLPHead(256 * 49, 96)
    model.roi_heads.box_predictor = FastRCNNPredictor(96, 3)


def whole_module(model, folder):
    torch.save(model, folder / "model.pth")
    return folder / "model.pth"


def torchscript(model, folder):  # noqa: ARG001
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), folder / "model.pt")
    return folder / "model.pt"


def repacked(model, folder):
    """As a tool that compresses everything leaves it."""
    torch.save(dict(model.state_dict()), folder / "stored.pth")
    with zipfile.ZipFile(folder / "stored.pth") as stored, zipfile.ZipFile(folder / "model.pth", "w") as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    return folder / "model.pth"


def cut(model, folder):
    torch.save(dict(model.state_dict()), folder / "whole.pth")
    data = (folder / "whole.pth").read_bytes()
    (folder / "model.pth").write_bytes(data[: len(data) // 2])
    return folder / "model.pth"


def archive(kind):
    def save(model, folder):  # noqa: ARG001
        path = folder / "model.pth"
        if kind == "tar":
            (folder / "a").write_text("a")
            with tarfile.open(path, "w") as file:
                file.add(folder / "a", "a")
        elif kind == "npz":
            with path.open("wb") as file:
                np.savez(file, a=np.zeros(2))
        else:
            path.write_bytes(gzip.compress(b"weights"))
        return path

    return save


def changed(**tensors):
    return content(lambda s: {name: t for name, t in {**s, **tensors}.items() if t is not None})


def with_classes(count):
    def make(state):
        layers = ("classifier.low_classifier", "classifier.high_classifier")
        return {
            name: tensor[:1].expand(count, *tensor.shape[1:]) if name.startswith(layers) else tensor
            for name, tensor in state.items()
        }

    return content(make)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
BOTH = "2 times"
RNG = {"rng": torch.get_rng_state()}

FORMS = [
    Form("state dict, `.pth`", content(dict)),
    Form("state dict, `.pt`", content(dict, "model.pt")),
    Form("state dict, no ending in its name", content(dict, "model")),
    Form("state dict, Hugging Face's `.bin`", content(dict, "pytorch_model.bin")),
    Form("before PyTorch 1.6 (no zip archive)", content(dict, _use_new_zipfile_serialization=False)),
    Form("safetensors", safetensors("model.safetensors")),
    Form("float16", to(torch.float16)),
    Form("bfloat16", to(torch.bfloat16)),
    Form("float64", to(torch.float64)),
    Form("`nn.Parameter` values", content(lambda s: {k: nn.Parameter(v, False) for k, v in s.items()})),
    Form("no `num_batches_tracked`", content(lambda s: {k: v for k, v in s.items() if "num_batches" not in k})),
    Form("torchvision's reference scripts", content(reference_script)),
    Form("the same, before PyTorch 1.6", content(reference_script, _use_new_zipfile_serialization=False)),
    Form("`module.`: DataParallel, DDP", under("module.")),
    Form("`_orig_mod.`: `torch.compile`", under("_orig_mod.")),
    Form("`module._orig_mod.`", under("module._orig_mod.")),
    Form("`_orig_mod.module.`", under("_orig_mod.module.")),
    Form(
        "Lightning: `state_dict`, `model.`", content(lambda s: {"state_dict": prefixed("model.", s), "epoch": 1})
    ),
    Form("Lightning with `criterion.weight`", under("model.", **{"criterion.weight": torch.ones(3)})),
    Form("`net.`", under("net.")),
    Form("`network.`", under("network.")),
    Form("`student.`", under("student.")),
    Form("`ema.`", under("ema.")),
    Form("`segmenter.wrapped.net.`", under("segmenter.wrapped.net.")),
    Form("`AveragedModel` with `n_averaged`", averaged),
    *(
        Form(f"under `{key}`", content(lambda s, key=key: {key: s, "epoch": 3}))
        for key in (
            "net",
            "network",
            "weights",
            "params",
            "ema",
            "model_ema",
            "model_state_dict",
            "state_dict_ema",
        )
    ),
    Form("under `checkpoint`, `model`", content(lambda s: {"checkpoint": {"model": s}})),
    Form("in a list", content(lambda s: {"models": [s]})),
    Form("`model` and `model_ema`, equal", content(lambda s: {"model": s, "model_ema": dict(s)})),
    Form("`model` and another `model_ema`", content(lambda s: {"model_ema": other(s), "model": s}), note=BOTH),
    Form(
        "with `--weights-key model_ema`", content(lambda s: {"model": other(s), "model_ema": s}), key="model_ema"
    ),
    Form(
        "`student.` and `teacher.` in one",
        content(lambda s: {**prefixed("teacher.", other(s)), **prefixed("student.", s)}),
        note=BOTH,
    ),
    Form(
        "with `--weights-key net`", content(lambda s: {"old": other(s), "net": prefixed("module.", s)}), key="net"
    ),
    Form("backbone and classifier apart", content(in_parts)),
    Form("NumPy's numbers beside", content(lambda s: {"model": s, "best": np.float64(0.7), "n": np.int64(3)})),
    Form("state of the random numbers beside", content(lambda s: {"model": s, **RNG})),
    Form("safetensors named `.pth`", safetensors("model.pth"), note="safetensors file"),
    Form("torch.save's named `.pkl`", content(dict, "model.pkl"), note="file of torch.save"),
    Form("NumPy arrays in a `.pkl`", numpy_pickle),
    Form("FCN without its auxiliary head", content(flat), network=FCN),
    Form("FCN, auxiliary head of as many classes", content(auxiliary(3)), network=FCN),
    Form("FCN, auxiliary head of 21 classes", content(auxiliary(21)), network=FCN),
    Form("Mask R-CNN", content(flat), network=RCNN),
    Form("Mask R-CNN, names of torchvision 0.12", content(lambda s: old_names(flat(s))), network=RCNN),
    Form("the same behind `model.`", content(lambda s: prefixed("model.", old_names(flat(s)))), network=RCNN),
    Form("Mask R-CNN, `hidden_layer=128`", content(flat), network=RCNN, change=hidden(128)),
    Form("Mask R-CNN, two mask layers of 128 and 64", content(flat), network=RCNN, change=narrow_mask_head),
    Form("Mask R-CNN, box head of 96", content(flat), network=RCNN, change=narrow_box_head),
    # Refused.
    Form("torch.save's named `.safetensors`", content(dict, "model.safetensors"), "rename it to model.pth"),
    Form("NaN in a tensor", with_value(float("nan")), "holds NaN in classifier.high_classifier.bias (1 of 3"),
    Form("infinity in a tensor", with_value(float("inf")), "holds infinity in classifier.high_classifier.bias"),
    Form("float64 beyond float32", with_value(1e300, torch.float64), "holds infinity"),
    Form("weights of another network", content(flat), "these are weights of fcn_resnet50", network=FCN),
    Form(
        "a tensor is missing", changed(**{"classifier.cbr.0.weight": None}), "classifier.cbr.0.weight is missing"
    ),
    Form("a tensor too many", changed(**{"criterion.weight": torch.ones(3)}), "criterion.weight is not of this"),
    Form(
        "a tensor of another shape", changed(**{"backbone.0.0.weight": torch.zeros(16, 3, 5, 5)}), "[16, 3, 5, 5]"
    ),
    Form("one class", with_classes(1), "has 1 classes"),
    Form("257 classes", with_classes(257), "has 257 classes"),
    Form("a key that is not there", content(lambda s: {"model": s}), "under 'ema'; it has model", key="ema"),
    Form("a pickled module", whole_module, "holds more than tensors (torchvision.models"),
    Form("a TorchScript archive", torchscript, "is a TorchScript archive"),
    Form("pickle protocol 4", content(dict, pickle_protocol=4), "another pickle protocol"),
    Form("objects beside", content(lambda s: {"model": s, "args": Path("a")}), "holds more than tensors (pathlib"),
    Form("NumPy arrays beside", content(lambda s: {"model": s, "a": np.zeros(3)}), "numpy._core.multiarray"),
    Form("sparse tensors", content(lambda s: {**s, "a": torch.eye(2).to_sparse()}), "holds sparse tensors"),
    Form("tensors without numbers", content(lambda s: {"a": torch.empty(2, device="meta")}), "without numbers"),  # noqa: ARG005
    Form("one tensor", content(lambda s: torch.zeros(2)), "holds one tensor"),  # noqa: ARG005
    Form("no tensors", content(lambda s: {"epoch": 3}), "holds no weights (only epoch)"),  # noqa: ARG005
    Form("compressed inside", repacked, "is compressed inside"),
    Form("cut short", cut, "is damaged or was cut short"),
    Form("an empty file", of_bytes(b""), "is empty"),
    Form("zeros", of_bytes(bytes(5000)), "nothing but zeros"),
    Form("random bytes", of_bytes(bytes(range(7, 250)) * 9), "is damaged or no weights file"),
    Form("a Git LFS pointer", of_bytes(LFS), "`git lfs pull`"),
    Form("a web page", of_bytes(b"\n<!DOCTYPE html><html></html>"), "is a web page"),
    Form("JSON", of_bytes(json.dumps(["a"]).encode(), "model.safetensors"), "is JSON text"),
    Form("JSON with a byte-order mark", of_bytes(b"\xef\xbb\xbf{}"), "is JSON text"),
    Form("a gzip file", archive("gzip"), "unpack it first"),
    Form("a tar archive", archive("tar"), "unpack it first"),
    Form("NumPy's `.npz`", archive("npz"), "is a zip archive of NumPy arrays"),
    Form("NumPy's `.npy`", of_bytes(b"\x93NUMPY\x01\0"), "is one NumPy array"),
    Form("an HDF5 file of Keras", of_bytes(b"\x89HDF\r\n\x1a\n"), "is an HDF5 file"),
    Form("a picture", of_bytes(b"\x89PNG\r\n\x1a\n"), "is a picture"),
    Form("a TensorRT plan", of_bytes(b"ftrt\0\0\0\0"), "is a TensorRT plan"),
]


def table() -> str:
    """The rows for the docs."""
    rows = ["| form | what becomes of it |", "|---|---|"]
    for form in FORMS:
        outcome = "accepted" if form.note is None else f"accepted; a note says `{form.note}`"
        if form.refused is not None:
            outcome = f'refused: "{form.refused}"'
        rows.append(f"| {form.name} | {outcome} |")
    return "\n".join(rows) + "\n"
