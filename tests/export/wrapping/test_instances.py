"""Instance networks of other makers: what a wrapped file finds is what their own post-processing finds.

The references here are written with torch and torchvision, as the networks' makers have them, and not with ours.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms, box_convert

import lively
import segopt
import segopt_export
from segopt.agreement import compare
from segopt.errors import SuppressionWarning
from segopt_export.wrapping.recorded import original_of
from stand_ins import CANVAS, DeepDetrLike, DetrLike, EndedYoloLike, MaskRcnnLike, YoloLike, exported

FRAME = (180, 333)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for count in range(2, 7):
        (tmp_path / f"{count}.json").write_text(json.dumps([f"class {i}" for i in range(count)]))
    torch.manual_seed(4)
    return tmp_path


def frame(size=FRAME, seed=5):
    return lively.pictures(1, size, seed=seed)[0].numpy()


def network_input(canvas, mean=MEAN, std=STD):
    """uint8 BGR [H, W, 3] -> float [1, 3, H, W], by torch."""
    rgb = torch.from_numpy(canvas[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    return (rgb - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def stretched(picture, size=CANVAS):
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)


def answer(module, given):
    with torch.no_grad():
        return module.eval()(given)


def best_pairs(logits, count):
    """As Deformable DETR and RF-DETR take detections: scores, queries and classes."""
    scores, pair = logits.sigmoid().flatten(1).topk(count)
    return scores[0], pair[0] // logits.shape[2], pair[0] % logits.shape[2]


def one_class_each(logits, count):
    """As DETR does."""
    scores, label = logits.softmax(-1)[0, :, :-1].max(-1)
    scores, query = scores.topk(count)
    return scores, query, label[query]


def detr_detections(outputs, size, take, count):
    boxes, logits, masks = outputs
    scores, query, label = take(logits, count)
    corners = box_convert(boxes[0, query], "cxcywh", "xyxy") * torch.tensor([size[1], size[0]] * 2)
    corners[:, 0::2].clamp_(0, size[1])
    corners[:, 1::2].clamp_(0, size[0])
    planes = functional.interpolate(masks[0, query][:, None], size=size, mode="bilinear", align_corners=False)
    return corners, scores, label, planes[:, 0] > 0


def assert_found(result, expected, *, iou=0.99, box=0.05):
    boxes, scores, labels, masks = (each.numpy() for each in expected)
    assert result.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(result.scores, scores, atol=1e-4)
    np.testing.assert_allclose(result.boxes, boxes, atol=box)
    seen = 0
    for ours, theirs in zip(result.masks, masks, strict=True):
        union = np.count_nonzero(ours | theirs)
        assert np.count_nonzero(ours & theirs) >= iou * union
        seen += 0 < union < ours.size
    assert seen >= 3


@pytest.mark.parametrize("size", [FRAME, (40, 50), CANVAS])
def test_queries_of_sigmoid_scores_are_rf_detrs_own(size):
    module = DetrLike()
    exported(module, "mine.onnx", DetrLike.OUTPUTS)
    made = segopt_export.wrap("mine.onnx", classes="5.json", family="rfdetr", max_detections=20, output="w.onnx")
    assert not [note for note in made.notes if not note.startswith("answer")]
    picture = frame(size)
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        result = segmenter(picture)
    outputs = answer(module, network_input(stretched(picture)))
    assert_found(result, detr_detections(outputs, size, best_pairs, 20))


def test_queries_of_softmax_scores_are_detrs_own():
    module = DetrLike()
    exported(module, "mine.onnx", DetrLike.OUTPUTS)
    segopt_export.wrap(
        "mine.onnx", classes="4.json", scores="softmax", resize="stretch", max_detections=50, output="w.onnx"
    )
    picture = frame()
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        result = segmenter(picture)
    outputs = answer(module, network_input(stretched(picture)))
    assert_found(result, detr_detections(outputs, FRAME, one_class_each, 14))


def test_a_batch_and_a_letterbox():
    module = DetrLike()
    exported(module, "mine.onnx", DetrLike.OUTPUTS, batch=2)
    segopt_export.wrap(
        "mine.onnx", classes="5.json", batch=2, resize="letterbox", max_detections=9, output="w.onnx"
    )
    pictures = [frame((CANVAS[0] // 2, CANVAS[1]), seed) for seed in (1, 2)]
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        results = segmenter(pictures)
    for picture, result in zip(pictures, results, strict=True):
        canvas = np.full((*CANVAS, 3), [round(255 * value) for value in MEAN[::-1]], np.uint8)
        canvas[: len(picture)] = picture
        boxes, scores, label, masks = detr_detections(answer(module, network_input(canvas)), CANVAS, best_pairs, 9)
        boxes[:, 1::2].clamp_(0, len(picture))
        on_frame = boxes[:, 1] < len(picture)
        expected = boxes[on_frame], scores[on_frame], label[on_frame], masks[on_frame, : len(picture)]
        assert_found(result, expected)


def test_classes_are_named_by_their_own_ids_and_what_is_none_is_left_out(place):
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    (place / "coco.json").write_text(json.dumps(categories))
    module = DetrLike()
    exported(module, "mine.onnx", DetrLike.OUTPUTS)
    segopt_export.wrap("mine.onnx", classes="coco.json", family="rfdetr", max_detections=10, output="w.onnx")
    picture = frame()
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        result = segmenter(picture)
        assert segmenter.names == {1: "person", 3: "car"}
    boxes, logits, masks = answer(module, network_input(stretched(picture)))
    logits[..., [0, 2, 4]] = -100
    assert_found(result, detr_detections((boxes, logits, masks), FRAME, best_pairs, 10))
    assert set(result.labels) == {1, 3}


def test_masks_in_boxes_are_torchvisions():
    module = MaskRcnnLike()
    exported(module, "mine.onnx", MaskRcnnLike.OUTPUTS)
    segopt_export.wrap("mine.onnx", classes="4.json", resize="letterbox", output="w.onnx")
    picture = frame(CANVAS)
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        result = segmenter(picture)
        assert segmenter.card.schema == 1
    boxes, labels, scores, masks = answer(module, network_input(picture))
    order = scores[:-2].argsort(descending=True)
    planes = paste_masks_in_image(masks[order], boxes[order], CANVAS)[:, 0] >= 0.5
    boxes[:, 0::2].clamp_(0, CANVAS[1])
    boxes[:, 1::2].clamp_(0, CANVAS[0])
    assert_found(result, (boxes[order], scores[order], labels[order], planes))


def yolo_masks(coefficients, prototypes, boxes, size):
    planes = torch.einsum("nk,khw->nhw", coefficients, prototypes)
    planes = functional.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    x0, y0, x1, y1 = boxes.T[:, :, None, None]
    return (planes > 0) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


@pytest.mark.parametrize("scale", [1, 3])
def test_suppressed_boxes_and_sums_of_prototypes_are_yolos(scale):
    module = YoloLike()
    exported(module, "mine.onnx", YoloLike.OUTPUTS)
    segopt_export.wrap("mine.onnx", classes="3.json", family="ultralytics", iou=0.4, output="w.onnx")
    size = tuple(side * scale for side in CANVAS)
    picture = frame(size)
    with segopt.load("w.onnx", score_threshold=0.25) as segmenter:
        result = segmenter(picture)
    rows, prototypes = answer(module, network_input(stretched(picture), (0, 0, 0), (1, 1, 1)))
    rows = rows[0].T
    boxes = box_convert(rows[:, :4], "cxcywh", "xyxy")
    scores, label = rows[:, 4:7].max(dim=1)
    sure = scores > 0.25
    boxes, scores, label, coefficients = boxes[sure], scores[sure], label[sure], rows[sure, 7:]
    kept = batched_nms(boxes, scores, label, 0.4)[:100]
    assert 5 < len(kept) < 0.7 * len(scores)
    boxes = boxes[kept] * scale
    boxes[:, 0::2].clamp_(0, size[1])
    boxes[:, 1::2].clamp_(0, size[0])
    masks = yolo_masks(coefficients[kept], prototypes[0], boxes, size)
    assert_found(result, (boxes, scores[kept], label[kept], masks), iou=0.98)


def test_what_is_suppressed_already_is_taken_as_it_is():
    module = EndedYoloLike()
    exported(module, "mine.onnx", YoloLike.OUTPUTS)
    made = segopt_export.wrap("mine.onnx", classes="3.json", family="ultralytics", output="w.onnx")
    assert made.card.max_detections == 20
    assert not any("suppression" in note for note in made.notes)
    picture = frame(CANVAS)
    with segopt.load("w.onnx", score_threshold=0.0) as segmenter:
        result = segmenter(picture)
    rows, prototypes = answer(module, network_input(picture, (0, 0, 0), (1, 1, 1)))
    boxes = rows[0, :, :4].clone()
    boxes[:, 0::2].clamp_(0, CANVAS[1])
    boxes[:, 1::2].clamp_(0, CANVAS[0])
    masks = yolo_masks(rows[0, :, 6:], prototypes[0], boxes, CANVAS)
    assert_found(result, (boxes, rows[0, :, 4], rows[0, :, 5].long(), masks), iou=0.98)


def test_too_few_steps_of_suppression_are_said():
    exported(YoloLike(), "mine.onnx", YoloLike.OUTPUTS)
    made = segopt_export.wrap(
        "mine.onnx", classes="3.json", family="ultralytics", iou=0.05, suppression_steps=1, output="w.onnx"
    )
    (figure,) = made.figures
    assert "did not converge" in figure.text
    with segopt.load("w.onnx") as segmenter, pytest.warns(SuppressionWarning):
        segmenter(frame())


@pytest.mark.parametrize(
    ("kind", "classes"), [(DetrLike, "5.json"), (MaskRcnnLike, "4.json"), (YoloLike, "3.json")]
)
def test_each_kind_is_recognized_drawn_saved_tracked_and_described(segopt_cli, kind, classes):
    exported(kind(), "mine.onnx", kind.OUTPUTS)
    status, out, err = segopt_cli("wrap", "mine.onnx", "--classes", classes, "--output", "w.onnx")
    assert status == 0, err
    assert "answer" in out
    assert "detections" in out
    cv2.imwrite("frame.png", frame())
    run = ["run", "--engine", "w.onnx", "frame.png", "--output", "out", "--score-threshold", "0.2", "--track"]
    status, _, err = segopt_cli(*run, "--save", "overlay,coco")
    assert status == 0, err
    (written,) = json.loads(next(Path("out").glob("*coco*.json")).read_text())[:1]
    assert written["segmentation"]["size"] == list(FRAME)
    status, out, err = segopt_cli("info", "w.onnx")
    assert status == 0, err


def test_outputs_that_could_be_either_are_listed_and_chosen():
    class Ambiguous(DetrLike):
        def forward(self, x):
            boxes, logits, masks = super().forward(x)
            return boxes, logits, masks, boxes * 0.5

    exported(Ambiguous(classes=4), "mine.onnx", ("a", "b", "masks", "c"))
    with pytest.raises(
        segopt.SegoptError, match=r"several outputs .* boxes=a logits=b masks=masks \(detr-masks\)"
    ):
        segopt_export.wrap("mine.onnx", classes="4.json", output="w.onnx")
    made = segopt_export.wrap("mine.onnx", classes="4.json", take="boxes=a,logits=b", output="w.onnx")
    assert "boxes=a logits=b masks=masks" in made.notes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "3.json"}, ["has 3 classes", "the network 5 class logits"]),
        ({"kind": "yolo-seg"}, ["has no predictions", "dets float [1, 14, 4]"]),
        ({"kind": "maskrcnn"}, ["has no boxes [N, 4], labels [N]"]),
        ({"take": "boxes=none"}, ["has no output 'none'"]),
        ({"take": "keys=dets"}, ["--take keys names no parts of one kind"]),
        ({"family": "detectron3"}, ["--family detectron3 is unknown; give one of rfdetr, ultralytics"]),
        ({"scores": "relu"}, ["--scores relu is unknown"]),
        ({"resize": "crop"}, ["--resize crop is unknown"]),
        ({"padding": "1,2"}, ["--padding 1,2: give three numbers"]),
        ({"padding": "1,2,999"}, ["padding 1,2,999"]),
        ({"padding": "1,2,0.5"}, ["whole numbers"]),
        ({"max_detections": 0}, ["max detections 0: give 1 to"]),
        ({"iou": 1.5}, ["iou 1.5"]),
        ({"candidates": 5000}, ["candidates 5000: give 1 to 3840"]),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(place, options, words):
    exported(DetrLike(), "mine.onnx", DetrLike.OUTPUTS)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    with pytest.raises(segopt.SegoptError) as error:
        segopt_export.wrap("mine.onnx", **{"classes": "5.json", "output": "w.onnx", **options})
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "classes"), [(DetrLike, "5.json"), (MaskRcnnLike, "4.json"), (YoloLike, "3.json")]
)
def test_it_becomes_a_plan(kind, classes):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    exported(kind(), "mine.onnx", kind.OUTPUTS)
    made = segopt_export.wrap("mine.onnx", classes=classes, target="tensorrt", candidates=100, output="w.onnx")
    assert not [note for note in made.notes if "TensorRT" in note]
    assert segopt.build(made.path, runtime="tensorrt-rtx").path.exists()


@pytest.mark.parametrize(
    ("kind", "classes"), [(DetrLike, "5.json"), (MaskRcnnLike, "4.json"), (YoloLike, "3.json")]
)
def test_half_precision_is_of_the_layers_and_keeps_what_is_found(place, kind, classes):
    exported(kind(), "mine.onnx", kind.OUTPUTS)
    for seed in range(2):
        cv2.imwrite(str(place / f"picture{seed}.png"), frame(seed=seed))
    made = segopt_export.wrap(
        "mine.onnx", classes=classes, precision="fp16", calibration=place, target="tensorrt", output="w.onnx"
    )
    assert (made.card.precision, made.card.half_share) == ("fp16", 1.0)
    assert "above 0.3 the same" in made.figures[0].text
    assert any(note.startswith("half precision was tried on 2 pictures") for note in made.notes)
    with segopt.load("w.onnx", score_threshold=0.3) as segmenter:
        assert len(segmenter(frame(seed=0))) > 2


def test_what_half_cannot_hold_stays_in_single():
    module = DetrLike()
    with torch.no_grad():
        module.masks[1].weight *= 3e5
    exported(module, "mine.onnx", DetrLike.OUTPUTS)
    made = segopt_export.wrap("mine.onnx", classes="5.json", precision="fp16", output="w.onnx")
    assert 0 < made.card.half_share < 1
    (name,) = made.card.float_layers
    assert any(f"out of half's range: {name}" in note for note in made.notes)


def test_a_comparison_of_empty_answers_says_that_it_proves_nothing():
    module = YoloLike()
    with torch.no_grad():
        module.grid.weight[4:7] *= 0
        module.grid.bias[4:7] = -9
    exported(module, "mine.onnx", YoloLike.OUTPUTS)
    made = segopt_export.wrap(
        "mine.onnx", classes="3.json", family="ultralytics", precision="fp16", output="w.onnx"
    )
    assert "proves nothing" in made.figures[0].text
    assert any(note.startswith("WARNING: ") and "--calibration PICTURES" in note for note in made.notes)


@pytest.fixture
def pictures(place):
    """A folder of four frames."""
    (place / "pictures").mkdir()
    for seed in range(4):
        cv2.imwrite(f"pictures/{seed}.png", frame(CANVAS, seed))
    return "pictures"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("loss", [None, 20.0])
def test_an_int8_file_finds_what_the_network_finds(pictures, target, loss):
    """Boxes come of the last layers, which stay as they are; masks of a layer in INT8."""
    exported(DeepDetrLike(), "mine.onnx", DetrLike.OUTPUTS)
    made = segopt_export.wrap(
        "mine.onnx",
        classes="5.json",
        family="rfdetr",
        precision="int8",
        calibration=pictures,
        int8_loss=loss,
        target=target,
        output="w.onnx",
    )
    assert made.card.precision == "int8"
    assert made.figures[0].good
    assert "proves nothing" not in made.figures[0].text
    assert (made.card.int8 is None) == (loss is None)
    graph = onnx.load("w.onnx").graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zeros = {types[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.UINT8 if target == "cpu" else onnx.TensorProto.INT8}
    with segopt.load("w.onnx") as segmenter:
        assert len(segmenter(frame())) > 2
    with pytest.raises(segopt.SegoptError, match="is a model of segopt already"):
        segopt_export.wrap("w.onnx", classes="5.json", precision="int8", calibration=pictures, output="x.onnx")


def test_half_of_half_and_pictures_that_are_none_are_refused(place):
    exported(DetrLike(), "mine.onnx", DetrLike.OUTPUTS)
    for options, words in (
        ({"precision": "int4"}, "--precision int4 is unknown; give one of fp32, fp16, int8"),
        ({"precision": "int8"}, "INT8 takes its scales from pictures: give --calibration PICTURES"),
        ({"precision": "int8", "calibration": place / "none"}, "none"),
        ({"precision": "int8", "int8_loss": 0}, "--int8-loss 0: give points"),
        ({"int8_loss": 1.0}, "--int8-loss is for --precision int8"),
        ({"precision": "fp16", "calibration": place / "none"}, "none"),
    ):
        with pytest.raises(segopt.SegoptError) as error:
            segopt_export.wrap("mine.onnx", **{"classes": "5.json", "output": "w.onnx", **options})
        assert words in str(error.value)
        assert not (place / "w.onnx").exists()


@pytest.mark.parametrize(
    ("kind", "classes"), [(DetrLike, "5.json"), (MaskRcnnLike, "4.json"), (YoloLike, "3.json")]
)
def test_what_the_card_records_reads_the_original_file_again(kind, classes):
    exported(kind(), "mine.onnx", kind.OUTPUTS)
    made = segopt_export.wrap("mine.onnx", classes=classes, output="w.onnx")
    original = original_of(made.card, made.path.with_name("mine.onnx"))
    with segopt.load("w.onnx") as segmenter:
        prepared = segmenter.prepare([frame()])
        ours, theirs = segmenter.infer(prepared), original(prepared.image)
    assert all(figure.good for figure in compare(theirs, ours))


@pytest.mark.slow
def test_the_original_file_is_timed_beside_it(segopt_cli):
    exported(DetrLike(), "mine.onnx", DetrLike.OUTPUTS)
    segopt_export.wrap("mine.onnx", classes="5.json", output="w.onnx")
    bench = ["bench", "--engine", "w.onnx", "--rounds", "1", "--warmup", "0", "--pictures", "1", "--device", "cpu"]
    status, out, err = segopt_cli(*bench, "--weights", "mine.onnx")
    assert status == 0, err
    assert "missing" not in out
    status, out, _ = segopt_cli(*bench)
    assert "give it with --weights: the mine.onnx that the model was made of" in " ".join(out.split())
    exported(DetrLike(), "mine.onnx", DetrLike.OUTPUTS)
    status, out, _ = segopt_cli(*bench, "--weights", "mine.onnx")
    assert "is not the file that the model was made of" in " ".join(out.split())
