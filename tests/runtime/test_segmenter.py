"""A loaded engine turns frames of any size into results; what cannot be is refused in one line."""

import dataclasses
import os
import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import clips
import segopt
import tiny
from segopt.backends import Backend
from segopt.errors import CardError, EngineError, SegoptError, SlotsWarning, SuppressionWarning, UsageError
from segopt.model.card import METADATA_KEY, MODES

BRIGHT = np.full((*tiny.CANVAS, 3), 200, np.uint8)
DARK = np.zeros((*tiny.CANVAS, 3), np.uint8)


@pytest.fixture
def instance_engine(tmp_path):
    return tiny.instance_engine(tmp_path / "instance.onnx")


def edited(path, edit):
    """The engine after ``edit`` of its protobuf."""
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def with_card(path, **changes):
    """The engine with another card."""
    card = dataclasses.replace(segopt.read_card(path), **changes)
    return edited(path, lambda model: helper.set_model_props(model, {METADATA_KEY: card.to_json()}))


def set_constant(model, name, change):
    """Change the values that an output of the engine always gives."""
    (node,) = (node for node in model.graph.node if name in node.output)
    values = change(numpy_helper.to_array(node.attribute[0].t).copy())
    node.attribute[0].t.CopyFrom(numpy_helper.from_array(values, f"{name}_value"))


# Frames in, results out.


def test_one_frame_gives_one_result_and_a_list_gives_a_list(semantic_engine):
    segmenter = segopt.load(semantic_engine)
    image = clips.frame(3)
    alone, (listed,) = segmenter(image), segmenter([image])
    assert isinstance(alone, segopt.SemanticResult)
    np.testing.assert_array_equal(alone.classes, listed.classes)
    assert segmenter([]) == []
    assert len(segmenter((image, image))) == 2


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_frames_goes_through_any_batch_in_order(tmp_path, batch, count):
    engine = tiny.semantic_engine(tmp_path / "semantic.onnx", batch=batch)
    frames = [BRIGHT if i % 2 else DARK for i in range(count)]
    results = segopt.load(engine)(frames)
    assert [bool(result.classes.all()) for result in results] == [bool(i % 2) for i in range(count)]


def test_frames_of_a_batch_may_differ_in_size(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "panoptic.onnx", batch=2)
    sizes = [(48, 64), (480, 640), (30, 200), (1, 1), (700, 20)]
    frames = [np.full((*size, 3), 200, np.uint8) for size in sizes]
    results = segopt.load(engine)(frames)
    assert [result.segment_map.shape for result in results] == sizes
    for result in results:
        counts = np.bincount(result.segment_map.ravel(), minlength=len(result.segments) + 1)
        assert [segment.area for segment in result.segments] == counts[1:].tolist()


def test_what_is_bright_is_found_at_the_frames_own_resolution(semantic_engine):
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[100:300, 200:500] = 255
    classes = segopt.load(semantic_engine)(frame).classes
    assert classes.shape == (480, 640)
    np.testing.assert_array_equal(classes, frame[..., 0] > 127)


def test_a_frame_that_is_a_view_is_read_as_its_copy(semantic_engine):
    segmenter = segopt.load(semantic_engine)
    view = clips.frame(5)[:, ::-1]
    np.testing.assert_array_equal(segmenter(view).classes, segmenter(view.copy()).classes)


def test_objects_are_scaled_with_the_frame(instance_engine):
    result = segopt.load(instance_engine)(np.zeros((480, 640, 3), np.uint8))
    assert result.labels.tolist() == [1, 3]
    np.testing.assert_allclose(result.boxes, [[80, 80, 240, 400], [320, 160, 560, 320]])
    assert result.mask(0)[90:390, 90:230].all()
    assert result.mask(0).shape == result.size == (480, 640)


def test_boxes_are_cut_at_the_frame(tmp_path):
    found = (((-9, -9, 90, 90), 0.9, 1), ((50, 4, 60, 20), 0.8, 3))
    engine = tiny.instance_engine(tmp_path / "instance.onnx", detections=found)
    # A frame of 48 x 32 fills the left half of the canvas: the second object lies in the padding.
    result = segopt.load(engine)(np.zeros((48, 32, 3), np.uint8))
    assert result.boxes.tolist() == [[0, 0, 32, 48]]
    assert result.mask(0).all()


def test_without_detections_there_is_the_ground_alone(tmp_path):
    instance = tiny.instance_engine(tmp_path / "instance.onnx", detections=())
    panoptic = tiny.panoptic_engine(tmp_path / "panoptic.onnx", detections=())
    result = segopt.load(instance)(BRIGHT)
    assert len(result) == 0
    assert result.boxes.shape == (0, 4)
    assert [segment.category_id for segment in segopt.load(panoptic)(BRIGHT).segments] == [tiny.SKY.id]
    assert segopt.load(panoptic)(DARK).segments == ()


def test_the_three_steps_give_what_the_call_gives(panoptic_engine):
    segmenter = segopt.load(panoptic_engine)
    prepared = segmenter.prepare([clips.frame(7)])
    (stepwise,) = segmenter.finish(prepared, segmenter.infer(prepared))
    called = segmenter(clips.frame(7))
    np.testing.assert_array_equal(stepwise.segment_map, called.segment_map)
    assert stepwise.segments == called.segments


def test_unused_slots_of_a_batch_are_padding(tmp_path):
    segmenter = segopt.load(tiny.semantic_engine(tmp_path / "semantic.onnx", batch=3))
    prepared = segmenter.prepare([BRIGHT])
    assert prepared.image.shape == (3, *tiny.CANVAS, 3)
    mean_bgr = [round(255 * value) for value in reversed(segmenter.card.mean)]
    assert (prepared.image[1:] == mean_bgr).all()


# Views and thresholds.


def test_a_panoptic_engine_has_three_views(panoptic_engine):
    kinds = {None: segopt.PanopticResult, "panoptic": segopt.PanopticResult}
    kinds |= {"semantic": segopt.SemanticResult, "instance": segopt.InstanceResult}
    for mode, kind in kinds.items():
        result = segopt.load(panoptic_engine, mode=mode)(BRIGHT)
        assert type(result) is kind
    assert segopt.load(panoptic_engine, mode="instance")(BRIGHT).labels.tolist() == [1, 3]
    semantic = segopt.load(panoptic_engine, mode="semantic")(BRIGHT)
    assert semantic.classes.all()
    assert semantic.categories == tiny.SEMANTIC_CATEGORIES


@pytest.mark.parametrize(("threshold", "labels"), [(None, [1, 3]), (0, [1, 3, 1]), (0.85, [1]), (1, [])])
def test_the_score_threshold_may_be_chosen(panoptic_engine, threshold, labels):
    assert segopt.load(panoptic_engine, mode="instance", score_threshold=threshold)(DARK).labels.tolist() == labels
    things = segopt.load(panoptic_engine, score_threshold=threshold)(DARK).segments
    assert [segment.category_id for segment in things] == labels


def test_what_was_decoded_is_merged_whatever_its_score(panoptic_engine):
    low, high = segopt.load(panoptic_engine, score_threshold=0), segopt.load(panoptic_engine, score_threshold=1)
    prepared = low.prepare([DARK])
    (found,) = low.decode(prepared, low.infer(prepared))
    assert [segment.category_id for segment in high.assemble(found).segments] == [1, 3, 1]


def test_a_frame_that_fills_all_slots_is_said_once(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "panoptic.onnx", slots=3)
    with segopt.load(engine, score_threshold=0.2) as segmenter:
        with pytest.warns(SlotsWarning, match=r"all 3 slots .* from 0.2 on.*; .*--max-detections"):
            segmenter(DARK)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            segmenter(DARK)


@pytest.mark.parametrize(("slots", "threshold", "mode"), [(4, 0.2, None), (3, 0.5, None), (3, 0.2, "semantic")])
def test_free_slots_are_not_mentioned(tmp_path, slots, threshold, mode):
    engine = tiny.panoptic_engine(tmp_path / "panoptic.onnx", slots=slots)
    with warnings.catch_warnings(), segopt.load(engine, score_threshold=threshold, mode=mode) as one:
        warnings.simplefilter("error")
        one(DARK)


def test_the_cards_thresholds_are_the_defaults(tmp_path):
    engine = with_card(tiny.panoptic_engine(tmp_path / "panoptic.onnx"), score_threshold=0.85, stuff_area=48 * 64)
    assert [segment.category_id for segment in segopt.load(engine)(BRIGHT).segments] == [1]
    lowered = segopt.load(engine, score_threshold=0.5, stuff_area=1)(BRIGHT)
    assert [segment.category_id for segment in lowered.segments] == [1, 3, tiny.SKY.id]


def test_every_kind_of_result_says_that_it_converged(panoptic_engine):
    assert all(segopt.load(panoptic_engine, mode=mode)(BRIGHT).converged is True for mode in MODES)


def test_the_overlap_threshold_may_be_chosen(tmp_path):
    # 3/4 of the second object lie under the first.
    found = (((0, 0, 30, 40), 0.9, 1), ((0, 0, 40, 40), 0.8, 3))
    engine = tiny.panoptic_engine(tmp_path / "panoptic.onnx", detections=found)
    assert [s.category_id for s in segopt.load(engine)(DARK).segments] == [1]
    assert [s.category_id for s in segopt.load(engine, overlap_threshold=0.9)(DARK).segments] == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold is 1.5, and must be from 0 to 1"),
        ({"score_threshold": -0.1}, "score_threshold"),
        ({"score_threshold": float("nan")}, "score_threshold"),
        ({"overlap_threshold": 2}, "overlap_threshold"),
        ({"stuff_area": -1}, "stuff_area is -1"),
        ({"mode": "depth"}, "mode 'depth' is unknown"),
        ({"mode": "panoptic"}, "for semantic segmentation has no panoptic view"),
        ({"device": "tpu"}, "device 'tpu' is unknown; it is one of auto, cpu, cuda, tensorrt"),
    ],
)
def test_options_that_cannot_be_are_refused(semantic_engine, options, message):
    with pytest.raises(UsageError, match=message):
        segopt.load(semantic_engine, **options)


# Suppression that did not converge.


@pytest.mark.parametrize("make", [tiny.instance_engine, tiny.panoptic_engine])
def test_suppression_that_did_not_converge_is_a_warning_and_stands_in_the_result(tmp_path, make):
    segmenter = segopt.load(make(tmp_path / "engine.onnx", converged=False))
    with pytest.warns(SuppressionWarning, match="--suppression-steps") as caught:
        result = segmenter(DARK)
    assert not result.converged
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(SuppressionWarning):
        segmenter([DARK, DARK])


def test_suppression_that_converged_is_silent(instance_engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert segopt.load(instance_engine)(DARK).converged


def test_the_semantic_view_has_nothing_to_converge(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "panoptic.onnx", converged=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segopt.load(engine, mode="semantic")(DARK)


# What is refused.


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((48, 64, 3), np.float32), r"this is float32 \(48, 64, 3\)"),
        (np.zeros((48, 64), np.uint8), r"this is uint8 \(48, 64\)"),
        (np.zeros((48, 64, 4), np.uint8), r"this is uint8 \(48, 64, 4\)"),
        (np.zeros((0, 64, 3), np.uint8), "at least one pixel"),
        ([None], "this is NoneType"),
        ([np.zeros((1, 48, 64, 3), np.uint8)], r"this is uint8 \(1, 48, 64, 3\)"),
    ],
)
def test_what_is_no_frame_is_refused(semantic_engine, frame, message):
    with pytest.raises(ValueError, match=message):
        segopt.load(semantic_engine)(frame)


def test_more_frames_than_the_batch_are_refused_by_prepare(semantic_engine):
    segmenter = segopt.load(semantic_engine)
    for frames in ([], [DARK, DARK]):
        with pytest.raises(ValueError, match="takes 1 to 1 at once"):
            segmenter.prepare(frames)


@pytest.mark.parametrize("name", ["boxes", "scores", "masks"])
def test_numbers_that_are_not_finite_are_an_error(instance_engine, name):
    edited(instance_engine, lambda model: set_constant(model, name, lambda values: values * np.float32(np.nan)))
    with pytest.raises(EngineError, match="not finite"):
        segopt.load(instance_engine)(DARK)


@pytest.mark.parametrize(
    "changes",
    [{"canvas": (64, 64)}, {"batch": 2}, {"max_detections": 5}],
    ids=["canvas", "batch", "detections"],
)
def test_a_card_that_is_not_the_graphs_is_an_error(panoptic_engine, changes):
    with pytest.raises(EngineError, match=r"panoptic\.onnx: its card promises .* export the model again"):
        segopt.load(with_card(panoptic_engine, **changes))


@pytest.mark.parametrize("name", ["semantic", "boxes", "scores", "labels", "masks", "converged"])
def test_an_output_that_the_card_promises_and_the_graph_lacks_is_an_error(panoptic_engine, name):
    def remove(model):
        (output,) = (output for output in model.graph.output if output.name == name)
        model.graph.output.remove(output)

    with pytest.raises(EngineError, match=f"promises {name} as .* the graph has none"):
        segopt.load(edited(panoptic_engine, remove))


@pytest.mark.parametrize("side", [7, 14, 28, 56])
@pytest.mark.parametrize("engine", [tiny.instance_engine, tiny.panoptic_engine])
def test_masks_of_any_side_are_pasted_as_torchvision_does(tmp_path, engine, side):
    torch, roi_heads = (pytest.importorskip(name) for name in ("torch", "torchvision.models.detection.roi_heads"))
    path = engine(tmp_path / f"{side}.onnx", mask_shape=(side, side))
    found = segopt.load(path, mode="instance")(BRIGHT)
    boxes = torch.tensor([box for box, _, _ in tiny.DETECTIONS[:2]])
    expected = roi_heads.paste_masks_in_image(torch.ones(2, 1, side, side), boxes, tiny.CANVAS)[:, 0] >= 0.5
    np.testing.assert_array_equal([found.mask(i) for i in range(len(found))], expected.numpy())


@pytest.mark.parametrize("shape", [(14, 28), (28, 14)])
def test_masks_that_are_no_squares_are_an_error(tmp_path, shape):
    engine = tiny.instance_engine(tmp_path / "instance.onnx", mask_shape=shape)
    with pytest.raises(EngineError, match=r"promises masks as float32 .* the graph has float32"):
        segopt.load(engine)


def test_further_outputs_are_let_be(panoptic_engine):
    more = onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [1, *tiny.CANVAS])
    assert segopt.load(edited(panoptic_engine, lambda model: model.graph.output.append(more)))(BRIGHT).segments


def test_a_graph_without_fixed_shapes_is_an_error(semantic_engine):
    def loosen(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"

    with pytest.raises(EngineError, match="needs fixed shapes"):
        segopt.load(edited(semantic_engine, loosen))


def test_a_graph_that_the_runtime_does_not_take_is_an_error_of_one_line(semantic_engine):
    def break_graph(model):
        model.graph.node[0].op_type = "NoSuchOperation"

    with pytest.raises(EngineError, match=r"semantic\.onnx: ONNX Runtime .* cannot load it") as caught:
        segopt.load(edited(semantic_engine, break_graph))
    assert "\n" not in str(caught.value)


def test_a_plan_needs_its_sidecar_and_a_gpu(tmp_path, semantic_engine):
    plan = tmp_path / "semantic.plan"
    plan.write_bytes(b"plan")
    with pytest.raises(CardError, match=r"semantic\.plan\.json is missing"):
        segopt.load(plan)
    (tmp_path / "semantic.plan.json").write_text(segopt.read_card(semantic_engine).to_json(), encoding="utf-8")
    with pytest.raises(UsageError, match=r"semantic\.plan: a TensorRT plan runs on a GPU alone, .* ONNX file"):
        segopt.load(plan, device="cpu")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_a_gpu_that_is_not_there_is_an_error_with_the_fix(semantic_engine):
    with pytest.raises(EngineError, match=r"segopt\[gpu\].*--device cpu"):
        segopt.load(semantic_engine, device="cuda")
    assert "CPU" in segopt.load(semantic_engine, device="auto").backend.name


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SegoptError, match=r"nowhere\.onnx: no such file"):
        segopt.load(tmp_path / "nowhere.onnx")


def test_a_closed_model_says_so_and_may_be_closed_again(semantic_engine):
    with segopt.load(str(semantic_engine)) as segmenter:
        segmenter(DARK)
        segmenter.close()
    with pytest.raises(EngineError, match="was closed"):
        segmenter(DARK)


# Threads, and networks that others run.


def test_the_number_of_threads_changes_no_answer(panoptic_engine):
    frame = clips.frame(3)
    maps = [segopt.load(panoptic_engine, threads=threads)(frame).segment_map for threads in (None, 1, 3)]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_network_computes_with_as_many_threads_as_it_was_given(panoptic_engine, threads):
    code = """
import os, sys, onnxruntime, segopt.backends.onnxruntime, segopt
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
segmenter = segopt.load(sys.argv[1], device="cpu", threads=int(sys.argv[2]))
print(count() - before)
"""
    command = [sys.executable, "-c", code, str(panoptic_engine), str(threads)]
    # Libraries start threads of their own when they are loaded.
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=60, check=True)
    # The calling thread is one of them.
    assert int(done.stdout) == threads - 1


@pytest.mark.parametrize("threads", [0, -1, 5000])
def test_a_number_of_threads_that_is_none_is_refused(panoptic_engine, threads):
    with pytest.raises(UsageError, match=f"threads is {threads}, and must be from 1 to 1024"):
        segopt.load(panoptic_engine, threads=threads)


class Relay(Backend):
    """A backend of a user's own, which hands all work on."""

    name = "relay"

    def __init__(self, backend):
        self.backend, self.inputs, self.outputs = backend, backend.inputs, backend.outputs

    def infer(self, inputs):
        return self.backend.infer(inputs)

    def close(self):
        self.backend.close()


def test_a_segmenter_of_a_card_and_a_backend_answers_as_the_file_does(panoptic_engine):
    own = segopt.load(panoptic_engine, mode="instance", score_threshold=0.2)
    relay = Relay(segopt.load(panoptic_engine).backend)
    card = segopt.read_card(panoptic_engine)
    with segopt.Segmenter.from_backend(card, relay, mode="instance", score_threshold=0.2) as segmenter:
        assert segmenter(clips.frame(3)) == own(clips.frame(3))
        assert segmenter.path is None
    with pytest.raises(EngineError, match="closed"):
        relay.infer({})


def test_a_backend_that_does_not_fit_the_card_is_refused_by_its_name(panoptic_engine, semantic_engine):
    card = segopt.read_card(panoptic_engine)
    with pytest.raises(EngineError, match=r"^relay: its card promises boxes as "):
        segopt.Segmenter.from_backend(card, Relay(segopt.load(semantic_engine).backend))
    with pytest.raises(UsageError, match="score_threshold is 2, and must be"):
        segopt.Segmenter.from_backend(card, Relay(segopt.load(panoptic_engine).backend), score_threshold=2)
