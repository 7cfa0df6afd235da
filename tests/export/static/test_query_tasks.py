"""Query networks for semantic and for instance segmentation say what transformers' post-processing says."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import segopt
import segopt_export
from lively_eomt import CANVAS, NAMES, TINY, lively, pixels, transformers_network, write_folder
from segopt.errors import ExportError
from segopt.letterbox import letterbox_frames
from segopt_bench.pytorch.making import eager_segmenter
from segopt_export.networks.table import find_network
from segopt_export.static.query_semantic import StaticQuerySemantic, window_starts
from segopt_export.weights.eomt import load_eomt
from segopt_export.weights.loading import WeightsRequest
from segopt_export.weights.random import random_picture

pytestmark = pytest.mark.slow

SIDE = CANVAS[0]
WIDE = (SIDE, 2 * SIDE - 32)
"""Two windows overlap by 32 pixels."""
THINGS = [{**entry, "isthing": 1} for entry in NAMES]


def frames(shape, count=1, seed=11):
    generator = torch.Generator().manual_seed(seed)
    pictures = [random_picture(shape, generator=generator) for _ in range(count)]
    return [(p.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()[..., ::-1].copy() for p in pictures]


def folder_of(folder, model=None, *, windowed=None):
    write_folder(folder, model)
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    said = {} if windowed is None else {"do_split_image": windowed}
    (folder / "preprocessor_config.json").write_text(json.dumps({**preprocessor, **said}))
    (folder / "things.json").write_text(json.dumps(THINGS))
    return folder


def normalized(frame, card):
    image = letterbox_frames([frame], card).image
    rgb = torch.from_numpy(image).flip(-1).permute(0, 3, 1, 2) / 255
    return (rgb - torch.tensor(card.mean).reshape(3, 1, 1)) / torch.tensor(card.std).reshape(3, 1, 1)


def their_label_map(outputs, offsets, frame):
    from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

    outputs.patch_offsets = offsets
    size = {"shortest_edge": SIDE, "longest_edge": None}
    (answer,) = EomtImageProcessor().post_process_semantic_segmentation(outputs, [frame], size=size)
    return answer.numpy()


@pytest.fixture(scope="module")
def semantic(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("semantic"), windowed=True)
    options = {"network": "eomt", "weights": folder, "classes": folder / "classes.json", "size": WIDE}
    return segopt_export.export("semantic", **options, output=folder / "model.onnx")


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
def test_windows_along_the_longer_side_are_averaged_as_transformers_does(tall):
    from transformers.image_utils import SizeDict
    from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

    canvas = WIDE[::-1] if tall else WIDE
    model = lively()
    image = pixels(canvas, seed=5)
    windows, offsets = EomtImageProcessor()._split_image(image, SizeDict(shortest_edge=SIDE), [0])
    assert len(windows) == 2
    with torch.no_grad():
        theirs = transformers_network(model)(torch.stack(windows))
        expected = their_label_map(theirs, offsets, canvas)
        (found,) = StaticQuerySemantic(model, canvas, windowed=True)(image)
    assert len(np.unique(expected)) >= 4, "the network is not lively"
    assert (found[0].numpy() == expected).mean() >= 0.9999


@pytest.mark.parametrize(("length", "side"), [(512, 512), (928, 512), (1024, 512), (1056, 512), (2048, 1024)])
def test_windows_begin_where_those_of_transformers_do(length, side):
    from transformers.image_utils import SizeDict
    from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

    _, offsets = EomtImageProcessor()._split_image(torch.zeros(1, 1, 1, length), SizeDict(shortest_edge=side), [0])
    assert window_starts(length, side) == [start for _, start, _ in offsets]


def test_a_semantic_file_answers_as_pytorch_does_on_frames_of_any_shape(semantic):
    card = semantic.card
    assert (card.mode, card.canvas, card.padding) == ("semantic", WIDE, (0, 0, 0))
    assert [category.id for category in card.categories["semantic"]] == list(range(TINY.classes))
    with segopt.load(semantic.path) as engine:
        eager = eager_segmenter(card, engine.thresholds, {"semantic": lively(replace(TINY, windowed=True))})
        for shape in (WIDE, (90, 160), (200, 120)):
            (frame,) = frames(shape)
            (theirs,) = eager.finish(prepared := eager.prepare([frame]), eager.infer(prepared))
            ours = engine(frame)
            assert ours.classes.shape == shape
            assert len(np.unique(theirs.classes)) >= 3, "the network is not lively"
            # The map is enlarged by its nearest pixels, where PyTorch enlarges the classes' sums.
            assert (ours.classes == theirs.classes).mean() >= (0.9999 if shape == WIDE else 0.95)


def test_a_semantic_file_in_half_precision_answers_as_pytorch_in_single(semantic):
    folder = semantic.path.parent
    options = {"network": "eomt", "weights": folder, "classes": folder / "classes.json", "size": WIDE}
    made = segopt_export.export(
        "semantic", **options, precision="fp16", target="tensorrt", output=folder / "half.onnx"
    )
    assert all(figure.good for figure in made.figures)
    assert made.card.half_share >= 0.95
    assert_built(made)


def load(folder):
    return load_eomt(find_network("eomt", "semantic"), WeightsRequest(str(folder)))


def assert_built(made):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    from segopt.builder.build import build
    from segopt.builder.options import BuildOptions

    assert build(made.path, BuildOptions(runtime="tensorrt-rtx")).sidecar.plan.half_share >= 0.95


def test_where_the_folder_does_not_ask_for_windows_the_whole_canvas_is_looked_at(tmp_path):
    folder = folder_of(tmp_path, windowed=False)
    assert load(folder).model.shape.windowed is False
    unsaid = load(folder_of(tmp_path / "unsaid"))
    assert unsaid.model.shape.windowed is True
    assert any("square windows are looked at" in note for note in unsaid.notes)


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("instance"))
    options = {"network": "eomt", "weights": folder, "classes": folder / "things.json"}
    return segopt_export.export("instance", **options, output=folder / "model.onnx")


@pytest.mark.parametrize("shape", [CANVAS, (72, 128), (128, 80)], ids=str)
def test_objects_are_those_of_transformers(instance, shape):
    """On frames that the canvas holds as they are, beside which there is padding."""
    from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

    card = instance.card
    threshold = 0.3
    network = transformers_network(lively())
    (frame,) = frames(shape)
    with torch.no_grad():
        outputs = network(normalized(frame, card))
    processor = EomtImageProcessor()
    whole = torch.nn.functional.interpolate(outputs.masks_queries_logits, size=CANVAS, mode="bilinear")
    cut = SimpleNamespace(
        masks_queries_logits=whole[..., : shape[0], : shape[1]], class_queries_logits=outputs.class_queries_logits
    )
    # Its own unpadding rounds a frame's sides otherwise: it is given the frame's part alone.
    processor.unpad_image = lambda masks, *_: masks
    size = {"shortest_edge": shape[0], "longest_edge": shape[1]}
    answer = processor.post_process_instance_segmentation(cut, [shape], threshold=threshold, size=size)[0]
    result = segopt.load(instance.path, score_threshold=threshold)(frame)
    expected = sorted((round(s["score"], 3), s["label_id"]) for s in answer["segments_info"])
    index_of = {category.id: i for i, category in enumerate(card.categories["instance"])}
    found = sorted(
        (round(float(score), 3), index_of[int(label)])
        for score, label in zip(result.scores, result.labels, strict=True)
    )
    assert len(found) >= 5, "the network is not lively"
    assert [label for _, label in found] == [label for _, label in expected]
    assert np.allclose([score for score, _ in found], [score for score, _ in expected], atol=2e-3)


def test_masks_and_boxes_are_those_of_pytorch_on_frames_of_other_sizes(instance):
    with segopt.load(instance.path, score_threshold=0.3) as engine:
        eager = eager_segmenter(instance.card, engine.thresholds, {"instance": lively()})
        for shape in (CANVAS, (288, 512), (400, 250)):
            (frame,) = frames(shape)
            (theirs,) = eager.finish(prepared := eager.prepare([frame]), eager.infer(prepared))
            ours = engine(frame)
            unmatched = 0
            for i in range(len(theirs)):
                alike = [
                    j
                    for j in range(len(ours))
                    if ours.labels[j] == theirs.labels[i] and abs(ours.scores[j] - theirs.scores[i]) < 0.02
                ]
                best = max((iou(ours.mask(j), theirs.mask(i)) for j in alike), default=0)
                unmatched += best < 0.9
            assert len(theirs) >= 5, "the network is not lively"
            assert unmatched <= len(theirs) // 10
            for j in range(len(ours)):
                columns = np.flatnonzero(ours.mask(j).any(axis=0))
                limit = 1 + 2 * max(shape) / max(CANVAS)
                assert abs(ours.boxes[j, 0] - columns[0]) <= limit
                assert abs(ours.boxes[j, 2] - columns[-1] - 1) <= limit


def iou(a, b):
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def test_an_instance_file_in_half_precision_answers_as_pytorch_in_single(instance):
    folder = instance.path.parent
    options = {"network": "eomt", "weights": folder, "classes": folder / "things.json"}
    made = segopt_export.export(
        "instance", **options, precision="fp16", target="tensorrt", output=folder / "half.onnx"
    )
    assert all(figure.good for figure in made.figures), made.figures
    assert made.card.half_share >= 0.95
    assert_built(made)


def refusal(folder, mode, classes="classes.json", **options):
    with pytest.raises(ExportError) as caught:
        segopt_export.export(
            mode, network="eomt", weights=folder, classes=folder / classes, output=folder / "no.onnx", **options
        )
    assert not (folder / "no.onnx").exists()
    return str(caught.value)


def test_a_file_of_another_task_is_refused_with_the_mode_that_takes_it(tmp_path):
    folder = folder_of(tmp_path, windowed=True)
    for mode in ("panoptic", "instance"):
        assert "export it with --mode semantic" in refusal(folder, mode)
    plain = folder_of(tmp_path / "plain")
    assert "class 8 is stuff" in (said := refusal(plain, "instance"))
    assert "--mode panoptic" in said
    assert "map scale is 2, and is for panoptic exports alone" in refusal(plain, "semantic", map_scale=2)
