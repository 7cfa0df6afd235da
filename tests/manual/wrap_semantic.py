"""SegFormer-B0 of transformers and a plainly exported DeepLabV3, wrapped, against their own answers.

    PYTHONPATH=tests python tests/manual/wrap_semantic.py FOLDER

Random weights that give lively label maps; pictures of the canvas's size.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn

import lively
import segopt
import segopt_export
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.random import enliven

PICTURES = 4


class Plain(nn.Module):
    """A network that answers with several things, of which one is taken."""

    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x):
        return self.model(x)[self.name]


def exported(model, name, path, size):
    torch.onnx.export(
        Plain(model, name).eval(), (torch.zeros(1, 3, *size),), path, dynamo=False, input_names=["x"],
        output_names=["logits"],
    )  # fmt: skip
    return path


def say(name, found, expected):
    share = np.mean(np.array(found) == np.array(expected))
    print(f"{name}: {100 * share:.4f}% of pixels equal, {len(np.unique(found))} classes on {len(found)} pictures")


def segformer(folder):
    size = (512, 512)
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=19)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() > 1:
                values.mul_(4 if "decode_head" in name else 1.5)
    (folder / "19.json").write_text(json.dumps([f"class {i}" for i in range(19)]))
    path = exported(model, "logits", folder / "segformer-b0.onnx", size)
    made = segopt_export.wrap(path, classes=folder / "19.json", resize="stretch", output=folder / "stuff.onnx")
    frames = lively.pictures(PICTURES, size, seed=2).numpy()
    processor = transformers.SegformerImageProcessor(do_resize=False)
    with segopt.load(made.path, device="cpu") as segmenter, torch.no_grad():
        found = [segmenter(frame).classes for frame in frames]
        given = processor([frame[..., ::-1].copy() for frame in frames], return_tensors="pt")
        answer = model(given["pixel_values"])
        expected = processor.post_process_semantic_segmentation(answer, target_sizes=[size] * len(frames))
    say("SegFormer-B0 against transformers' post-processing", found, np.stack([each.numpy() for each in expected]))


def deeplab(folder):
    size = (256, 448)
    torch.manual_seed(0)
    model = NETWORKS["deeplabv3_resnet50"].build(21).eval()
    enliven(model, size=size)
    torch.save(model.state_dict(), folder / "deeplab.pth")
    (folder / "21.json").write_text(json.dumps([f"class {i}" for i in range(21)]))
    path = exported(model, "out", folder / "deeplab.onnx", size)
    own = segopt_export.export(
        "semantic", network="deeplabv3_resnet50", weights=folder / "deeplab.pth", classes=folder / "21.json",
        size=size, output=folder / "deeplab-own.onnx",
    )  # fmt: skip
    wrapped = segopt_export.wrap(path, classes=folder / "21.json", output=folder / "deeplab-wrapped.onnx")
    frames = lively.pictures(PICTURES, size, seed=5).numpy()
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (wrapped.card.mean, wrapped.card.std))
    with segopt.load(own.path, device="cpu") as first, segopt.load(wrapped.path, device="cpu") as second:
        maps = [[each(frame).classes for frame in frames] for each in (first, second)]
    with torch.no_grad():
        rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
        eager = model((rgb - mean) / std)["out"].argmax(1).numpy()
    say("DeepLabV3-R50 against torchvision", maps[1], eager)
    say("DeepLabV3-R50 against our export", maps[1], maps[0])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    segformer(folder)
    deeplab(folder)
