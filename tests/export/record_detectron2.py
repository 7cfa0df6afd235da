"""Records what Detectron2 itself answers, for ``test_panoptic_fpn.py``.

    PYTHONPATH=tests:export:runtime python tests/export/record_detectron2.py --output tests/export/data

Needs Detectron2 (https://github.com/facebookresearch/detectron2, built from source; recorded at commit 02b5c4e)
beside this project's development environment. A few minutes on two cores.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

import lively
from detectron2_weights import along_outputs, lively_state, write_zoo_file

CONFIGURATIONS = {
    "panoptic_fpn_resnet50": "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml",
    "maskrcnn_resnet50_fpn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
}
SIZE = (160, 224)
SPREADS = {
    "proposal_generator.rpn_head.objectness_logits": 1.0,
    "proposal_generator.rpn_head.anchor_deltas": 0.2,
    "roi_heads.box_predictor.cls_score": 2.2,
    "roi_heads.box_predictor.bbox_pred": 0.5,
    "roi_heads.mask_head.predictor": 2.0,
    "sem_seg_head.predictor": 2.0,
}
"""Standard deviation of the last layers' outputs; that of every other layer is 1."""
BACKGROUND = 3.0
"""Added to the background's score, so that not every proposal is an object."""
STUFF = 2.5
"""Deviation of the stuff classes' biases: some are common enough to make segments."""
STUFF_AREA = 256
"""Of the merger, in pixels: the picture is small."""


def main() -> None:
    """Record every configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--network", choices=CONFIGURATIONS, nargs="*", default=list(CONFIGURATIONS))
    options = parser.parse_args()
    picture = lively.pictures(1, SIZE, seed=21)[0].numpy()
    for name in options.network:
        model = build(CONFIGURATIONS[name])
        shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        recorded = measure(model, shapes)
        load(model, lively_state(shapes, recorded))
        answers = run(model, picture)
        file = options.output / f"detectron2_{name}.npz"
        meta = json.dumps({"shapes": shapes, "stuff_area": STUFF_AREA, "segments": answers.pop("segments", None)})
        values = {f"recorded/{key}": value for key, value in recorded.items()}
        np.savez_compressed(file, meta=meta, picture=picture, **values, **answers)
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


def build(configuration: str, **options):
    """A model of the zoo, on the CPU, in eval mode."""
    cfg = model_zoo.get_config(configuration)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.merge_from_list([part for pair in options.items() for part in pair])
    return build_model(cfg).eval()


def load(model, state) -> None:
    """Load a state dict through a file and Detectron2's own reader, which must know every name."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_zoo_file(Path(folder) / "model.pkl", state)
        DetectionCheckpointer(model).load(str(path))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.from_numpy(state[name])), name


def measure(model, shapes, *, size=(320, 448)) -> dict[str, np.ndarray]:
    """What makes a model with fresh weights lively: by name float16, see :func:`lively_state`."""
    load(model, lively_state(shapes, {}))
    recorded: dict[str, np.ndarray] = {}
    hooks = []
    for name, module in model.named_modules():
        if hasattr(module, "running_var"):
            hooks.append(module.register_forward_pre_hook(_statistics(name, recorded)))
        elif getattr(module, "bias", None) is not None and module.weight.ndim > 1:
            hooks.append(module.register_forward_pre_hook(_scale(name, recorded)))
    with torch.no_grad():
        model.inference([{"image": tensor_of(lively.pictures(1, size, seed=5)[0].numpy())}])
    for hook in hooks:
        hook.remove()
    return recorded


def _statistics(name: str, recorded: dict[str, np.ndarray]):
    def hook(norm, inputs) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        recorded[f"{name}.running_mean"] = values.mean(dim=1).half().numpy()
        recorded[f"{name}.running_var"] = (values.var(dim=1) + 1e-3).half().numpy()
        for key in ("running_mean", "running_var"):
            getattr(norm, key).copy_(torch.from_numpy(recorded[f"{name}.{key}"]))

    return hook


def _scale(name: str, recorded: dict[str, np.ndarray]):
    def hook(layer, inputs) -> None:
        if f"{name}.weight" in recorded:
            return  # The heads that the pyramid's levels share: the first one decides.
        forward = {"Linear": torch.nn.functional.linear, "ConvTranspose2d": torch.nn.functional.conv_transpose2d}
        function = forward.get(type(layer).__name__, torch.nn.functional.conv2d)
        options = {"stride": layer.stride, "padding": layer.padding} if layer.weight.ndim == 4 else {}
        raw = function(inputs[0], layer.weight, **options).transpose(0, 1).flatten(1)
        factor = SPREADS.get(name, 1.0) / raw.std(dim=1).clamp(min=1e-6)
        factor = factor.half().float()
        bias = -raw.mean(dim=1) * factor
        if name.endswith("cls_score"):
            bias[-1] += BACKGROUND
        if name.endswith("sem_seg_head.predictor"):
            bias += STUFF * torch.from_numpy(np.random.RandomState(1).standard_normal(len(bias))).float()
        recorded[f"{name}.weight"] = factor.half().numpy()
        recorded[f"{name}.bias"] = bias.half().numpy()
        layer.weight.mul_(along_outputs(f"{name}.weight", factor, layer.weight.ndim))
        layer.bias.copy_(bias.half())

    return hook


def tensor_of(picture: np.ndarray) -> torch.Tensor:
    """uint8 BGR [H, W, 3] -> what Detectron2's models take."""
    return torch.as_tensor(picture.astype("float32").transpose(2, 0, 1))


def run(model, picture: np.ndarray) -> dict:
    """Detectron2's answers for one picture, at the picture's size."""
    kept = {}
    hooks = [
        model.proposal_generator.register_forward_hook(lambda *call: kept.update(proposals=call[2][0][0])),
    ]
    if hasattr(model, "sem_seg_head"):
        model.combine_stuff_area_thresh = STUFF_AREA
        predictor = model.sem_seg_head.predictor
        hooks.append(predictor.register_forward_hook(lambda *call: kept.update(logits=call[2][0])))
    with torch.no_grad():
        raw = model.inference([{"image": tensor_of(picture)}], do_postprocess=False)
        (answer,) = model.inference([{"image": tensor_of(picture)}])
    for hook in hooks:
        hook.remove()
    # Panoptic FPN gives instances and logits, Mask R-CNN instances alone.
    found = (raw[0] if isinstance(raw, tuple) else raw)[0]
    answers = {
        "proposals": kept["proposals"].proposal_boxes.tensor.numpy(),
        "objectness": kept["proposals"].objectness_logits.numpy(),
        "boxes": found.pred_boxes.tensor.numpy(),
        "scores": found.scores.numpy(),
        "classes": found.pred_classes.numpy().astype(np.uint8),
        "masks": found.pred_masks[:, 0].numpy().astype(np.float16),
    }
    if "logits" in kept:
        panoptic, segments = answer["panoptic_seg"]
        # Every fourth cell of the map at stride 4.
        answers["logits"] = kept["logits"][:, ::4, ::4].numpy()
        answers["panoptic"] = panoptic.numpy().astype(np.uint8)
        keys = ("id", "isthing", "category_id")
        answers["segments"] = [{key: int(segment[key]) for key in keys} for segment in segments]
    return answers


if __name__ == "__main__":
    main()
