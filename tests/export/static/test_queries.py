"""A query network's file gives the segments that transformers' own network and post-processing give."""

import numpy as np
import onnx
import pytest
import torch

import segopt
import segopt_export
from lively_eomt import (
    CANVAS,
    NAMES,
    equal_pixels,
    lively,
    post_process,
    transformers_network,
    write_folder,
)
from segopt.errors import ExportError, UsageError
from segopt.letterbox import letterbox_frames
from segopt_bench.pytorch.making import eager_segmenter
from segopt_bench.pytorch.network import load_trained, torch_segmenter
from segopt_export.weights.random import random_picture

pytestmark = pytest.mark.slow

SIDE = CANVAS[0]
SHAPES = [(SIDE, SIDE), (SIDE * 9 // 16, SIDE), (SIDE, SIDE * 3 // 4), (SIDE // 2, SIDE)]
STUFF = [i for i, entry in enumerate(NAMES) if not entry["isthing"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("eomt"))


@pytest.fixture(scope="module")
def exported(folder):
    return export(folder)


def export(folder, name="model", **options):
    return segopt_export.export(
        "panoptic",
        network="eomt",
        weights=folder,
        classes=folder / "classes.json",
        output=folder / f"{name}.onnx",
        **options,
    )


def frames(shape, count, seed=11):
    generator = torch.Generator().manual_seed(seed)
    pictures = [random_picture(shape, generator=generator) for _ in range(count)]
    return [(p.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()[..., ::-1].copy() for p in pictures]


def as_transformers_sees_it(frame, card):
    """The letterboxed frame, black beside it, float32 [1, 3, H, W] normalized."""
    image = letterbox_frames([frame], card).image
    rgb = torch.from_numpy(image).flip(-1).permute(0, 3, 1, 2) / 255
    return (rgb - torch.tensor(card.mean).reshape(3, 1, 1)) / torch.tensor(card.std).reshape(3, 1, 1)


def shares_of_equal_pixels(segmenter, theirs, shapes, stuff, per_shape):
    index_of = {category.id: i for i, category in enumerate(segmenter.card.categories["panoptic"])}
    shares, counts = [], []
    for shape in shapes:
        for frame in frames(shape, per_shape):
            with torch.no_grad():
                outputs = theirs(as_transformers_sees_it(frame, segmenter.card))
            expected, segments = post_process(
                outputs.masks_queries_logits,
                outputs.class_queries_logits,
                shape,
                segmenter.card.canvas,
                stuff,
            )
            shares.append(equal_pixels(segmenter(frame), expected, segments, index_of))
            counts.append(len(segments))
    return shares, counts


def test_segments_are_those_of_transformers(exported):
    shares, counts = shares_of_equal_pixels(
        segopt.load(exported.path), transformers_network(lively()), SHAPES, STUFF, per_shape=6
    )
    assert len(shares) == 24
    assert np.mean(counts) >= 5, "a merge of nothing proves nothing"
    assert np.mean(shares) >= 0.9999


@pytest.fixture(scope="module")
def other_canvas(folder):
    """With masked attention, two frames at once, a map of twice the sides, in half precision."""
    masked = write_folder(folder / "masked", lively(masked=(True, True)))
    options = {"size": (96, 128), "batch": 2, "map_scale": 2, "precision": "fp16", "target": "tensorrt"}
    return export(masked, **options)


def test_a_file_in_half_precision_answers_as_pytorch_in_single(other_canvas):
    figures = {figure.name: figure for figure in other_canvas.figures}
    assert set(figures) == {"queries", "segments"}
    assert all(figure.good for figure in figures.values())
    assert other_canvas.card.half_share == 1.0
    assert other_canvas.card.float_layers == ()
    assert not [note for note in other_canvas.notes if "TensorRT 10.3" in note]


def test_a_map_of_twice_the_canvas_is_cut_and_laid_on_the_frame(other_canvas):
    segmenter = segopt.load(other_canvas.path)
    assert segmenter.backend.outputs["segments"].shape == (2, 192, 256)
    tall, wide = frames((300, 120), 1)[0], frames((192, 256), 1)[0]
    one, two = segmenter([tall, wide])
    assert one.size == (300, 120)
    assert len(two) > 0
    # A frame of the map's own size is not resized: the segments are the graph's.
    prepared = segmenter.prepare([tall, wide])
    codes = segmenter.infer(prepared)["segments"][1]
    (owners,) = (np.unique(codes[two.segment_map == s.id]) for s in two.segments[:1])
    assert len(owners) == 1


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_in_int8_products_by_weights_are_integers_and_the_rest_is_as_it_was(folder, target):
    made = export(
        folder,
        f"int8-{target}",
        precision="int8",
        calibration=frames(SHAPES[0], 4),
        int8_loss=1.5,
        target=target,
    )
    assert made.card.precision == "int8"
    (queries,) = [figure for figure in made.figures if figure.name == "queries"]
    assert queries.good
    graph = onnx.load(made.path).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    quantized = [
        node for node in graph.node if all(makers.get(name) == "DequantizeLinear" for name in node.input[:2])
    ]
    assert {node.op_type for node in quantized} >= {"MatMul"}
    weights = {
        makers.get(node.input[0]) for node in graph.node if node.op_type in ("Softmax", "LayerNormalization")
    }
    assert "DequantizeLinear" not in weights
    with segopt.load(made.path) as segmenter:
        assert len(segmenter(frames(SHAPES[1], 1)[0]).segments) > 2
    if target == "tensorrt":
        pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
        assert segopt.build(made.path, runtime="tensorrt-rtx").path.stat().st_size > 1e5


@pytest.mark.parametrize("mode", ["semantic", "instance"])
def test_other_views_agree_with_the_panoptic_one(exported, mode):
    (frame,) = frames(SHAPES[1], 1)
    whole = segopt.load(exported.path)(frame)
    result = segopt.load(exported.path, mode=mode)(frame)
    if mode == "instance":
        things = [s for s in whole.segments if s.is_thing]
        assert [(int(label), float(score)) for label, score in zip(result.labels, result.scores, strict=True)] == [
            (s.category_id, pytest.approx(s.score)) for s in things
        ]
        assert all((result.mask(i) == whole.mask(s.id)).all() for i, s in enumerate(things))
    else:
        names = {s.id: s.name for s in whole.segments} | {0: "void"}
        for identity in np.unique(whole.segment_map):
            (index,) = np.unique(result.classes[whole.segment_map == identity])
            assert result.names[int(index)] == names[int(identity)]


def test_the_card_says_how_segments_are_made(exported):
    card = segopt.read_card(exported.path)
    assert (card.merge, card.schema, card.padding, card.canvas) == ("queries", 2, (0, 0, 0), CANVAS)
    assert card.max_detections == 100
    assert card.views == ("panoptic", "semantic", "instance")
    assert len(card.categories["semantic"]) == len(NAMES) + 1


def test_a_run_time_threshold_names_the_setting_that_an_export_takes(exported):
    with pytest.raises(UsageError, match=r'--settings FILE\.json that holds \{"query_score": 0\.5\}'):
        segopt.load(exported.path, score_threshold=0.5)


def test_pytorch_behind_the_same_steps_gives_the_same_segments(exported, folder):
    segmenter = segopt.load(exported.path)
    torch_side = torch_segmenter(segmenter.card, segmenter.thresholds, {"panoptic": folder})
    for frame in frames(SHAPES[0], 2):
        ours, theirs = segmenter(frame), torch_side(frame)
        assert [s.category_id for s in ours.segments] == [s.category_id for s in theirs.segments]
        assert (ours.segment_map == theirs.segment_map).mean() > 0.999


def test_the_eager_side_of_the_benchmarks_gives_nearly_the_same_segments(exported, folder):
    segmenter = segopt.load(exported.path)
    networks = {b: t.model for b, t in load_trained(segmenter.card, {"panoptic": folder}).items()}
    eager = eager_segmenter(segmenter.card, segmenter.thresholds, networks)
    (frame,) = frames((SIDE // 2, SIDE), 1)
    prepared = eager.prepare([frame])
    (theirs,) = eager.finish(prepared, eager.infer(prepared))
    ours = segmenter(frame)
    assert [s.category_id for s in ours.segments] == [s.category_id for s in theirs.segments]
    assert (ours.segment_map == theirs.segment_map).mean() > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_detections": 129}, "max detections is 129, and a query network keeps at most 128"),
        ({"map_scale": 3}, "map scale is 3, and must be 1 or 2"),
        ({"settings": {"query_scores": 0.5}}, "unknown key 'query_scores'; query networks have"),
        ({"settings": {"query_score": 2}}, "query_score is 2, and must be a number from 0 to 1"),
        ({"size": (100, 128)}, "height 100 is not a multiple of 32"),
        ({"weights_key": "ema"}, "weights key, style and frozen norms are not for query networks"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(folder, options, message):
    with pytest.raises(ExportError, match=message) as caught:
        export(folder, "refused", **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "refused.onnx").exists()


def test_a_plan_is_built_whose_matrix_products_are_in_half(other_canvas):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    built = segopt.build(other_canvas.path, runtime="tensorrt-rtx")
    assert built.sidecar.plan.half_share >= 0.95
    assert built.sidecar.card == segopt.read_card(built.path)
    assert built.sidecar.card.merge == "queries"


def test_info_says_how_segments_are_made(exported, segopt_cli):
    status, out, _ = segopt_cli("info", exported.path)
    words = " ".join(out.split())
    assert status == 0
    assert "at most 100 kept, of a probability above 0.8" in words
    assert "padding red 0, green 0, blue 0" in words
    assert "overlap threshold" not in words
