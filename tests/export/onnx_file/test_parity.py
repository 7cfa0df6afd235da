"""Every network of the table says what torchvision's own says: as an eager module and as an ONNX file."""

import onnxruntime
import pytest
import torch

import lively
from lively import assert_same_detections
from segopt_export.networks.table import NETWORKS
from segopt_export.onnx_file.tracing import trace
from segopt_export.static.build import build_graph
from segopt_export.static.graph import SegmentationGraph
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.loading import Trained

SEMANTIC = [name for name, entry in NETWORKS.items() if entry.branch == "semantic"]
INSTANCE = [name for name, entry in NETWORKS.items() if entry.branch == "instance"]


def graph_of(*models, batch_limits=None, target="cpu") -> SegmentationGraph:
    trained = {
        NETWORKS[name].branch: Trained(NETWORKS[name], model, [], True, None)  # type: ignore[arg-type]
        for name, model in models
    }
    return build_graph(trained, lively.CANVAS, batch_limits or DetectionLimits(), target)


def run_eager(graph, image):
    with torch.no_grad():
        return dict(zip(graph.output_names, graph(image), strict=True))


class OnnxRun:
    """A traced graph in ONNX Runtime."""

    def __init__(self, graph, batch):
        self.names = graph.output_names
        self.model = trace(graph, lively.pictures(batch), graph.output_names)

    def __call__(self, image):
        session = onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])
        arrays = session.run(None, {"image": image.numpy()})
        return {name: torch.from_numpy(a) for name, a in zip(self.names, arrays, strict=True)}


@pytest.mark.parametrize("name", SEMANTIC)
def test_semantic_label_maps(name):
    model = lively.network(name)
    image = lively.pictures(2)
    expected = lively.torchvision_label_map(model, image)
    assert len(expected.unique()) > 5, "the network is not lively"
    graph = graph_of((name, model))
    for outputs in (run_eager(graph, image), OnnxRun(graph, 2)(image)):
        assert outputs["semantic"].dtype == torch.uint8
        assert outputs["semantic"].shape == (2, *lively.CANVAS)
        assert (outputs["semantic"] == expected).float().mean() >= 0.999


@pytest.fixture(scope="module", params=INSTANCE)
def detector(request):
    """A detector, its static graph and its ONNX file for batches of 2."""
    model = lively.network(request.param)
    graph = graph_of((request.param, model))
    return request.param, model, graph, OnnxRun(graph, 2)


def test_a_full_house_of_detections(detector):
    _, model, graph, onnx_run = detector
    image = lively.pictures(2)
    expected = lively.torchvision_detections(model, image)
    assert [len(e) for e in expected] == [100, 100]
    for outputs in (run_eager(graph, image), onnx_run(image)):
        assert outputs["converged"].tolist() == [1, 1]
        for i in range(2):
            assert_same_detections(expected[i], lively.detections_of(outputs, i))


def test_some_detections_and_none(detector):
    """With more background dozens are left, then none: the slots without a detection are marked."""
    name, _, _, onnx_run = detector
    model = lively.network(name)
    image = lively.pictures(2, seed=8)
    some = 4.6 if "small" in name else 7.6
    for shift, pictures, wanted in ((some, any, range(1, 100)), (40.0, all, range(1))):
        lively.more_background(model, shift)
        lively.more_background_in(onnx_run.model, shift)
        expected = lively.torchvision_detections(model, image)
        assert pictures(len(e) in wanted for e in expected), [len(e) for e in expected]
        for outputs in (run_eager(graph_of((name, model)), image), onnx_run(image)):
            assert outputs["converged"].tolist() == [1, 1]
            for i in range(2):
                assert_same_detections(expected[i], lively.detections_of(outputs, i))
                unused = outputs["scores"][i] < 0
                assert not outputs["boxes"][i][unused].any()
                assert torch.isfinite(outputs["masks"][i]).all()


def test_the_graph_for_tensorrt_says_the_same():
    name = "maskrcnn_resnet50_fpn"
    model = lively.network(name)
    image = lively.pictures(1, seed=9)
    (expected,) = lively.torchvision_detections(model, image)
    graph = graph_of((name, model), target="tensorrt")
    for outputs in (run_eager(graph, image), OnnxRun(graph, 1)(image)):
        assert_same_detections(expected, lively.detections_of(outputs, 0))


def test_fusion_is_both_networks_behind_one_image():
    semantic, instance = "lraspp_mobilenet_v3_large", "maskrcnn_resnet50_fpn"
    models = {name: lively.network(name) for name in (semantic, instance)}
    image = lively.pictures(1, seed=9)
    graph = graph_of(*models.items())
    outputs = OnnxRun(graph, 1)(image)
    label_map = lively.torchvision_label_map(models[semantic], image)
    assert (outputs["semantic"] == label_map).float().mean() >= 0.999
    (expected,) = lively.torchvision_detections(models[instance], image)
    assert_same_detections(expected, lively.detections_of(outputs, 0))


def test_too_few_candidates_or_steps_are_admitted():
    name = "maskrcnn_resnet50_fpn"
    model = lively.network(name)
    image = lively.pictures(1)
    for limits in (DetectionLimits(max_detections=100, candidates=100), DetectionLimits(suppression_steps=1)):
        outputs = run_eager(graph_of((name, model), batch_limits=limits), image)
        assert outputs["converged"].tolist() == [0]


def test_fewer_slots_hold_the_best_detections():
    name = "maskrcnn_resnet50_fpn"
    model = lively.network(name)
    image = lively.pictures(1)
    all_of_them = run_eager(graph_of((name, model)), image)
    ten = run_eager(graph_of((name, model), batch_limits=DetectionLimits(max_detections=10)), image)
    assert ten["masks"].shape == (1, 10, 28, 28)
    assert torch.equal(ten["boxes"][0], all_of_them["boxes"][0, :10])
