"""Every network of the table says what torchvision's own says: as an eager module and as an ONNX file."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

import lively
from lively import assert_same_detections
from segopt_export.networks.table import NETWORKS
from segopt_export.static.build import build_graph
from segopt_export.static.limits import DetectionLimits

pytestmark = pytest.mark.slow

SMALL_DETECTOR = "maskrcnn_mobilenet_v3_small_fpn"
semantic_networks = pytest.mark.parametrize("lively_network", lively.networks("semantic"), indirect=True)
small_detector = pytest.mark.parametrize("lively_network", [lively.parameter(SMALL_DETECTOR)], indirect=True)
detectors = pytest.mark.parametrize("lively_network", lively.networks("instance"), indirect=True)


@pytest.mark.parametrize("name", sorted(lively.DEEP & {n for n, e in NETWORKS.items() if e.branch != "panoptic"}))
def test_of_another_depth_the_module_says_the_same(name):
    """Their files are left to ``make deep``."""
    network = lively.LivelyNetwork(name)
    image = lively.pictures(1)
    outputs = lively.run_eager(network.graph("cpu"), image)
    if "semantic" in network.trained:
        expected = lively.torchvision_label_map(network.model, image)
        assert (outputs["semantic"] == expected).float().mean() >= 0.999
    else:
        (detections,) = lively.torchvision_detections(network.model, image, network.label_ids)
        assert_same_detections(detections, lively.detections_of(outputs, 0))


@semantic_networks
def test_semantic_label_maps(lively_network):
    image = lively.pictures(2)
    expected = lively.torchvision_label_map(lively_network.model, image)
    assert len(expected.unique()) > 5, "the network is not lively"
    for outputs in (lively.run_eager(lively_network.graph("cpu"), image), lively_network.single(image)):
        assert outputs["semantic"].dtype == torch.uint8
        assert outputs["semantic"].shape == (2, *lively.CANVAS)
        assert (outputs["semantic"] == expected).float().mean() >= 0.999


@detectors
def test_a_full_house_of_detections(lively_network):
    image = lively.pictures(2)
    expected = lively.torchvision_detections(lively_network.model, image, lively_network.label_ids)
    assert [len(e) for e in expected] == [100, 100]
    eager = [lively.run_eager(lively_network.graph(target), image) for target in ("cpu", "tensorrt")]
    for outputs in (*eager, lively_network.single(image)):
        assert outputs["converged"].tolist() == [1, 1]
        for i in range(2):
            assert_same_detections(expected[i], lively.detections_of(outputs, i))


@small_detector
def test_some_detections_and_none(lively_network):
    """With more background dozens are left, then none: the slots without a detection are marked."""
    model, onnx_run = deepcopy(lively_network.model), lively_network.single.copy()
    (trained,) = lively_network.trained.values()
    graph = build_graph({"instance": replace(trained, model=model)}, lively.CANVAS, DetectionLimits(), "cpu")
    image = lively.pictures(2, seed=8)
    for shift, pictures, wanted in ((4.6, any, range(1, 100)), (40.0, all, range(1))):
        lively.more_background(model, shift)
        lively.more_background_in(onnx_run.model, shift)
        expected = lively.torchvision_detections(model, image, lively_network.label_ids)
        assert pictures(len(e) in wanted for e in expected), [len(e) for e in expected]
        for outputs in (lively.run_eager(graph, image), onnx_run(image)):
            assert outputs["converged"].tolist() == [1, 1]
            for i in range(2):
                assert_same_detections(expected[i], lively.detections_of(outputs, i))
                unused = outputs["scores"][i] < 0
                assert not outputs["boxes"][i][unused].any()
                assert torch.isfinite(outputs["masks"][i]).all()


@small_detector
def test_the_graph_for_tensorrt_says_the_same(lively_network):
    image = lively.pictures(1, seed=9)
    (expected,) = lively.torchvision_detections(lively_network.model, image)
    outputs = lively.traced(lively_network.graph("tensorrt"), 1)(image)
    assert_same_detections(expected, lively.detections_of(outputs, 0))


@pytest.mark.parametrize("lively_network", [lively.FUSION], indirect=True)
def test_fusion_is_both_networks_behind_one_image(lively_network):
    semantic, instance = (lively_network.trained[branch].model for branch in ("semantic", "instance"))
    image = lively.pictures(2, seed=9)
    outputs = lively_network.single(image)
    label_map = lively.torchvision_label_map(semantic, image)
    assert (outputs["semantic"] == label_map).float().mean() >= 0.999
    for i, expected in enumerate(lively.torchvision_detections(instance, image)):
        assert_same_detections(expected, lively.detections_of(outputs, i))


@small_detector
def test_too_few_candidates_or_steps_are_admitted(lively_network):
    image = lively.pictures(1)
    for limits in (DetectionLimits(max_detections=100, candidates=100), DetectionLimits(suppression_steps=1)):
        graph = build_graph(lively_network.trained, lively.CANVAS, limits, "cpu")
        assert lively.run_eager(graph, image)["converged"].tolist() == [0]


@small_detector
def test_fewer_slots_hold_the_best_detections(lively_network):
    image = lively.pictures(1)
    all_of_them = lively.run_eager(lively_network.graph("cpu"), image)
    graph = build_graph(lively_network.trained, lively.CANVAS, DetectionLimits(max_detections=10), "cpu")
    ten = lively.run_eager(graph, image)
    assert ten["masks"].shape == (1, 10, 28, 28)
    assert torch.equal(ten["boxes"][0], all_of_them["boxes"][0, :10])
