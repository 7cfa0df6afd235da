"""A YOLO segmentation network, wrapped, against the `ultralytics` package's own pipeline on the same ONNX file.

In an environment of its own, with `pip install ultralytics onnx onnxruntime` and segopt:

    python tests/manual/wrap_ultralytics.py yolo11n-seg FOLDER

Random weights that give lively answers; the package's own ONNX export; a square picture, on whose canvas both
letterboxes are the same.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path

os.environ["YOLO_AUTOINSTALL"] = "false"

import cv2
import numpy as np
import torch
from ultralytics import YOLO

import segopt
import segopt_export

FRAME = (1080, 1080)
ROUNDS = 5
SCORE, IOU, MOST = 0.3, 0.7, 100


def export(name, folder):
    """The package's own export of a network with random weights whose scores and masks differ."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    torch.manual_seed(0)
    model = YOLO(f"{name}.yaml", task="segment")
    head = model.model.model[-1]
    with torch.no_grad():
        # Norms as training leaves them, so that what goes through is neither nothing nor too much.
        model.model.train()
        for part in model.model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None
        given = cv2.resize(picture(), (640, 640))[..., ::-1].copy()
        model.model(torch.from_numpy(given).permute(2, 0, 1)[None] / 255)
        model.model.eval()
        scores = [*head.cv3, *getattr(head, "one2one_cv3", [])]
        for level in scores:
            level[-1].weight.normal_(0, 0.4)
            level[-1].bias.fill_(-4.0)
        for level in [*head.cv4, *getattr(head, "one2one_cv4", [])]:
            level[-1].weight.normal_(0, 0.5)
    model.export(format="onnx", imgsz=640, simplify=False, dynamic=False, opset=17, verbose=False)
    made = next(Path().rglob(f"{name}.onnx"))
    made.rename(path)
    return path


def picture():
    """uint8 BGR [1080, 1080, 3] with blobs and edges."""
    random = np.random.default_rng(5)
    frame = cv2.resize(random.integers(0, 256, (12, 12, 3), np.uint8), FRAME[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        corner = random.integers(0, FRAME[::-1], 2)
        cv2.circle(frame, corner.tolist(), int(random.integers(20, 150)), random.integers(0, 256, 3).tolist(), -1)
    return frame


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    path = export(options.network, options.folder)
    classes = options.folder / "classes.json"
    classes.write_text(json.dumps([f"class {i}" for i in range(80)]))
    wrapped = options.folder / f"wrapped-{options.network}.onnx"
    made = segopt_export.wrap(
        path, classes=classes, family="ultralytics", iou=IOU, max_detections=MOST, candidates=3000, output=wrapped
    )
    for figure in made.figures:
        print(f"{figure.name}: {figure.text}")
    frame = picture()
    theirs = YOLO(str(path), task="segment")

    def predict():
        (found,) = theirs.predict(
            frame, retina_masks=True, conf=SCORE, iou=IOU, max_det=MOST, device="cpu", verbose=False, imgsz=640
        )
        return found

    expected = predict()
    segmenter = segopt.load(wrapped, device="cpu", score_threshold=SCORE)
    found = segmenter(frame)
    labels = expected.boxes.cls.int().tolist()
    print(
        f"detections: {len(found)} and {len(labels)}, labels in order: {found.labels.tolist() == labels}, "
        f"converged: {found.converged}"
    )
    print(f"scores within {np.abs(found.scores - expected.boxes.conf.numpy()).max():.1e}")
    print(f"boxes within {np.abs(found.boxes - expected.boxes.xyxy.numpy()).max():.4f} px")
    ious, sizes = [], []
    for ours, mask in zip(found.masks, expected.masks.data.numpy() > 0.5, strict=True):
        union = np.count_nonzero(ours | mask)
        if union:
            ious.append(np.count_nonzero(ours & mask) / union)
            sizes.append(union)
    print(
        f"masks: IoU {min(ious):.4f} or more, {statistics.mean(ious):.5f} on average, of {min(sizes)} to "
        f"{max(sizes)} pixels"
    )
    times = {"theirs": [], "ours": []}
    for _ in range(ROUNDS + 1):
        for name, run in {"theirs": predict, "ours": lambda: segmenter(frame)}.items():
            began = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - began))
    for name, each in times.items():
        print(f"{name}: {statistics.median(each[1:]):.0f} ms (median of {ROUNDS} in turn)")


if __name__ == "__main__":
    main()
