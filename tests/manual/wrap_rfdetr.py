"""RF-DETR-Seg, wrapped, against the `rfdetr` package's own post-processing; and how long both take.

In an environment of its own, with `pip install rfdetr onnx onnxruntime` and segopt:

    python tests/manual/wrap_rfdetr.py nano FOLDER

Random weights that give lively answers; the package's own ONNX export; a picture of 1080p.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import rfdetr
import torch
from rfdetr.models.postprocess import PostProcess
from torchvision.transforms import functional

import segopt
import segopt_export

FRAME = (1080, 1920)
ROUNDS = 5
NETWORKS = {"nano": rfdetr.RFDETRSegNano, "medium": rfdetr.RFDETRSegMedium}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def export(name, folder):
    """The package's own export of a network with random weights whose scores and boxes differ."""
    path = folder / f"rfdetr-seg-{name}.onnx"
    if not path.exists():
        torch.manual_seed(0)
        model = NETWORKS[name](pretrain_weights=None, device="cpu")
        random = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for key, values in model.model.model.named_parameters():
                if "class_embed" in key:
                    values.normal_(0, 0.1, generator=random) if values.dim() > 1 else values.fill_(-2.0)
                if "query_feat" in key or "refpoint_embed" in key:
                    # Proposals go to slots by their rank, and those of random weights are near ties: where the
                    # slots are alike, two that change places in half precision change nothing else.
                    values.copy_(values[:1].expand_as(values))
                if "bbox_embed" in key and "layers.2" in key:
                    values.normal_(0, 0.05, generator=random)
        model.export(output_dir=str(folder), verbose=False)
    return path


def picture():
    """uint8 BGR [1080, 1920, 3] with blobs and edges."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (12, 20, 3), np.uint8)
    frame = cv2.resize(coarse, FRAME[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        corner = random.integers(0, FRAME[::-1], 2)
        color = random.integers(0, 256, 3).tolist()
        cv2.circle(frame, corner.tolist(), int(random.integers(20, 150)), color, -1)
    return frame


def theirs(session, after, frame, side):
    """As `RFDETR.predict` does it, with the ONNX file in the network's place."""
    rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    given = functional.normalize(
        functional.resize(functional.to_tensor(rgb), [side, side], antialias=False), MEAN, STD
    )
    return after_network(session, after, given[None].numpy())


def after_network(session, after, given):
    boxes, logits, masks = session.run(["dets", "labels", "masks"], {"input": given})
    outputs = {"pred_logits": logits, "pred_boxes": boxes, "pred_masks": masks}
    return after({key: torch.from_numpy(each) for key, each in outputs.items()}, torch.tensor([FRAME]))[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    path = export(options.network, options.folder)
    classes = options.folder / "classes.json"
    classes.write_text(json.dumps([f"class {i}" for i in range(91)]))
    wrapped = options.folder / f"wrapped-{options.network}.onnx"
    made = segopt_export.wrap(path, classes=classes, family="rfdetr", output=wrapped)
    side = made.card.canvas[0]
    frame = picture()
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])
    after = PostProcess(num_select=100)
    segmenter = segopt.load(wrapped, device="cpu", score_threshold=0.0)

    # The same picture on both sides: a canvas is of bytes, where the package resizes floats.
    canvas = torch.from_numpy(segmenter.prepare([frame]).image[0, ..., ::-1].copy()).permute(2, 0, 1)[None]
    expected = after_network(session, after, functional.normalize(canvas / 255, MEAN, STD).numpy())
    found = segmenter(frame)
    same = found.labels.tolist() == expected["labels"].tolist()
    ious, sizes = [], []
    for ours, mask in zip(found.masks, expected["masks"][:, 0].numpy(), strict=True):
        union = np.count_nonzero(ours | mask)
        ious.append(np.count_nonzero(ours & mask) / union if union else 1.0)
        sizes.append(union / ours.size)
    print(f"detections: {len(found)}, labels in the same order: {same}")
    print(
        f"scores: {float(found.scores[-1]):.3f} to {float(found.scores[0]):.3f}, "
        f"within {np.abs(found.scores - expected['scores'].numpy()).max():.1e}"
    )
    print(f"boxes within {np.abs(found.boxes - expected['boxes'].numpy()).max():.4f} px")
    print(
        f"masks: IoU {min(ious):.5f} or more; of the frame {min(sizes):.3f} to {max(sizes):.3f}, "
        f"{statistics.mean(sizes):.3f} on average"
    )
    times = {"theirs": [], "ours": [], "their network": [], "our network": []}
    prepared = segmenter.prepare([frame])
    given = functional.normalize(canvas / 255, MEAN, STD).numpy()
    runs = {
        "theirs": lambda: theirs(session, after, frame, side),
        "ours": lambda: segmenter(frame),
        "their network": lambda: session.run(None, {"input": given}),
        "our network": lambda: segmenter.infer(prepared),
    }
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - began))
    for name, each in times.items():
        print(f"{name}: {statistics.median(each[1:]):.0f} ms (median of {ROUNDS} in turn)")


if __name__ == "__main__":
    main()
