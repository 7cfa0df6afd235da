"""Records what mmdetection itself answers, for ``test_mmdetection.py``.

    PYTHONPATH=tests:export:runtime python tests/export/record_mmdetection.py --output tests/export/data

Needs mmdet 3.3, mmengine and mmcv-lite 2.1 beside this project's development environment; torchvision's operators
stand in for the two of mmcv's compiled ones that these networks use. A few minutes on two cores.
"""

import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torchvision

import lively
from detectron2_weights import along_outputs
from mmdetection_weights import alike, lively_state

CONFIGURATIONS = {
    "maskrcnn_resnet50_fpn": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "maskrcnn_resnet50_fpn_caffe": "mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py",
    "maskrcnn_resnet101_fpn": "mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py",
    "panoptic_fpn_resnet50": "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
    "panoptic_fpn_resnet101": "panoptic_fpn/panoptic-fpn_r101_fpn_1x_coco.py",
}
RECORDED = ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_caffe", "panoptic_fpn_resnet50")
SIZE = (160, 224)
SPREADS = {
    "rpn_head.rpn_cls": 1.0,
    "rpn_head.rpn_reg": 0.2,
    "roi_head.bbox_head.fc_cls": 2.2,
    "roi_head.bbox_head.fc_reg": 0.5,
    "roi_head.mask_head.conv_logits": 2.0,
    "semantic_head.conv_logits": 2.0,
}
"""Standard deviation of the last layers' outputs; that of every other layer is 1."""
BACKGROUND = 3.0
"""Added to the background's score, so that not every proposal is an object."""
SURE_BACKGROUND = 12.0
"""Likewise of Panoptic FPN, so that fewer detections reach its score of 0.6 than there is room for."""
STUFF = 2.5
"""Deviation of the stuff classes' biases: some are common enough to make segments."""
STUFF_AREA = 256
"""Of the merger, in pixels: the picture is small."""


def main() -> None:
    """Record every configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--network", choices=CONFIGURATIONS, nargs="*", default=list(RECORDED))
    options = parser.parse_args()
    stand_in_for_compiled_operators()
    picture = lively.pictures(1, SIZE, seed=21)[0].numpy()
    for name in options.network:
        model, text = build(CONFIGURATIONS[name])
        shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        recorded = measure(model, shapes)
        model.load_state_dict(lively_state(shapes, recorded))
        answers = run(model, picture)
        file = options.output / f"mmdetection_{name}.npz"
        meta = json.dumps({"shapes": shapes, "config": text, "stuff_area": STUFF_AREA})
        values = {f"recorded/{key}": value for key, value in recorded.items()}
        np.savez_compressed(file, meta=meta, picture=picture, **values, **answers)
        found = f"{len(answers['scores'])} detections, {len(np.unique(answers['classes']))} classes"
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB; {found}")


def stand_in_for_compiled_operators() -> None:
    """Put torchvision's suppression and RoIAlign where mmcv's Python looks for its compiled module."""

    def nms(boxes, scores, iou_threshold, offset):
        assert offset == 0
        return torchvision.ops.nms(boxes, scores, iou_threshold)

    def roi_align_forward(features, rois, output, *_, spatial_scale, sampling_ratio, pool_mode, aligned, **sides):
        assert pool_mode == 1
        size = (sides["aligned_height"], sides["aligned_width"])
        output.copy_(torchvision.ops.roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned))

    class Compiled(types.ModuleType):
        def __getattr__(self, name):
            # Every other operator is only looked up, by networks that are not built.
            if name.startswith("__"):
                raise AttributeError(name)

    module = Compiled("mmcv._ext")
    module.nms, module.roi_align_forward = nms, roi_align_forward
    sys.modules["mmcv._ext"] = module


def build(configuration: str):
    """A model of the zoo, on the CPU, in eval mode, and its configuration as a checkpoint holds it."""
    import mmdet
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    cfg = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / configuration)
    text = cfg.pretty_text
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model).eval(), text


def measure(model, shapes, *, size=(320, 448)) -> dict[str, np.ndarray]:
    """What makes a model with fresh weights lively: by name float16, see :func:`lively_state`."""
    model.load_state_dict(lively_state(shapes, {}))
    recorded: dict[str, np.ndarray] = {}
    background = SURE_BACKGROUND if hasattr(model, "panoptic_fusion_head") else BACKGROUND
    hooks = []
    for name, module in model.named_modules():
        if hasattr(module, "running_var"):
            hooks.append(module.register_forward_pre_hook(_statistics(name, recorded)))
        elif getattr(module, "bias", None) is not None and module.weight.ndim > 1:
            hooks.append(module.register_forward_pre_hook(_scale(name, recorded, background)))
    predict(model, lively.pictures(1, size, seed=5)[0].numpy())
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


def _scale(name: str, recorded: dict[str, np.ndarray], background: float):
    def hook(layer, inputs) -> None:
        if f"{name}.weight" in recorded:
            return  # The heads that the pyramid's levels share: the first one decides.
        forward = {"Linear": torch.nn.functional.linear, "ConvTranspose2d": torch.nn.functional.conv_transpose2d}
        function = forward.get(type(layer).__name__, torch.nn.functional.conv2d)
        options = {"stride": layer.stride, "padding": layer.padding} if layer.weight.ndim == 4 else {}
        raw = function(inputs[0], layer.weight, **options).transpose(0, 1).flatten(1)
        factor = (SPREADS.get(name, 1.0) / raw.std(dim=1).clamp(min=1e-6)).half().float()
        bias = -raw.mean(dim=1) * factor
        if name.endswith("fc_cls"):
            bias[-1] += background
        if name == "semantic_head.conv_logits":
            bias += STUFF * torch.from_numpy(np.random.RandomState(1).standard_normal(len(bias))).float()
        recorded[f"{name}.weight"] = factor.half().numpy()
        recorded[f"{name}.bias"] = bias.half().numpy()
        layer.weight.mul_(along_outputs(alike(f"{name}.weight"), factor, layer.weight.ndim))
        layer.bias.copy_(bias.half())

    return hook


@torch.no_grad()
def predict(model, picture: np.ndarray):
    """mmdetection's whole answer for uint8 BGR [H, W, 3]."""
    from mmdet.structures import DetDataSample

    size = picture.shape[:2]
    sample = DetDataSample(metainfo={"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
    image = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
    return model.test_step({"inputs": [image], "data_samples": [sample]})[0]


def run(model, picture: np.ndarray) -> dict[str, np.ndarray]:
    """mmdetection's answers for one picture, at the picture's size."""
    kept = {}

    def keep(owner, method, take):
        original = getattr(owner, method)

        def wrapped(*args, **kwargs):
            answer = original(*args, **kwargs)
            kept.update(take(answer, args, kwargs))
            return answer

        setattr(owner, method, wrapped)

    panoptic = hasattr(model, "panoptic_fusion_head")
    if panoptic:
        model.panoptic_fusion_head.test_cfg.stuff_area_limit = STUFF_AREA
        model.semantic_head.conv_logits.register_forward_hook(lambda *call: kept.update(logits=call[2][0]))
    keep(model.rpn_head, "predict", lambda answer, *_: {"proposals": answer[0].bboxes.clone()})
    mask_head = model.roi_head.mask_head
    keep(mask_head, "forward", lambda answer, *_: {"masks": answer})
    keep(model.roi_head, "predict", lambda answer, *_: {"found": answer[0]})
    answer = predict(model, picture)
    found = kept["found"]
    order = torch.arange(len(found.labels))
    answers = {
        "proposals": kept["proposals"].numpy(),
        "boxes": found.bboxes.numpy(),
        "scores": found.scores.numpy(),
        "classes": found.labels.numpy().astype(np.uint8),
        "masks": kept["masks"][order, found.labels].sigmoid().numpy().astype(np.float16),
        "areas": found.masks.sum(dim=(1, 2)).numpy(),
    }
    if panoptic:
        # Every fourth cell of the map at stride 4.
        answers["logits"] = kept["logits"][:, ::4, ::4].numpy()
        answers["panoptic"] = answer.pred_panoptic_seg.sem_seg[0].numpy().astype(np.int32)
    return answers


if __name__ == "__main__":
    main()
