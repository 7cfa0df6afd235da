"""Panoptic FPN and Mask R-CNN of Detectron2 answer as Detectron2 does, and train.

The recorded answers are Detectron2's own; ``record_detectron2.py`` says with which command they were recorded.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

import lively
import segopt
from detectron2_weights import lively_state, write_zoo_file
from segopt.merge import merge_panoptic
from segopt_export.card import make_card
from segopt_export.classes import coco_class_lists
from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.networks.families import DETECTRON2, TORCHVISION, rules_of
from segopt_export.networks.panoptic_fpn import semantic_loss
from segopt_export.networks.table import NETWORKS
from segopt_export.request import ExportRequest
from segopt_export.static.adaptive_roi_align import AdaptiveRoIAlign
from segopt_export.static.build import build_graph
from segopt_export.static.limits import DetectionLimits
from segopt_export.static.roi_align import GatherReader
from segopt_export.weights.loading import WeightsRequest, load_weights
from segopt_export.weights.random import enliven

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
SMALL = NETWORKS["panoptic_fpn_mobilenet_v3_small"]
CANVAS = (128, 160)


class Recorded:
    """Detectron2's answers for one checkpoint and picture, and ours for the same file."""

    def __init__(self, network: str, folder: Path) -> None:
        content = np.load(DATA / f"detectron2_{network}.npz")
        self.theirs = {name: content[name] for name in content.files if not name.startswith("recorded/")}
        self.meta = json.loads(str(self.theirs.pop("meta")))
        shapes = {name: tuple(shape) for name, shape in self.meta["shapes"].items()}
        recorded = {n.removeprefix("recorded/"): content[n] for n in content.files if n.startswith("recorded/")}
        path = write_zoo_file(folder / "model_final_000000.pkl", lively_state(shapes, recorded))
        self.trained = load_weights(NETWORKS[network], WeightsRequest(str(path)))
        path.unlink()
        image = torch.from_numpy(self.theirs["picture"])[None]
        graph = build_graph(
            {self.trained.network.branch: self.trained}, tuple(image.shape[1:3]), DetectionLimits(), "cpu"
        )
        (branch,) = graph.branches
        detector = getattr(branch, "detector", branch)
        detector.proposals.register_forward_hook(lambda *call: self._keep("proposals", call[2]))
        if branch is not detector:
            branch.semantic_head.register_forward_hook(lambda *call: self._keep("logits", call[2]))
        self.kept = {}
        with torch.no_grad():
            outputs = graph(image)
        self.ours = {name: t[0].numpy() for name, t in zip(graph.output_names, outputs, strict=True)}
        boxes, valid, _ = self.kept["proposals"]
        self.ours["proposals"] = boxes[0][valid[0]].numpy()

    def _keep(self, name, value):
        self.kept[name] = value


@pytest.fixture(scope="module", params=["panoptic_fpn_resnet50", "maskrcnn_resnet50_fpn"])
def recorded(request, tmp_path_factory):
    return Recorded(request.param, tmp_path_factory.mktemp("detectron2"))


@pytest.mark.slow
def test_proposals_are_detectron2s(recorded):
    ours, theirs = recorded.ours["proposals"], recorded.theirs["proposals"]
    assert ours.shape == theirs.shape == (1000, 4)
    # Two of equal objectness may change places, so each must have its like.
    distance = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
    assert distance.min(axis=0).max() < 0.01
    assert distance.min(axis=1).max() < 0.01


@pytest.mark.slow
def test_detections_are_detectron2s(recorded):
    ours, theirs = recorded.ours, recorded.theirs
    assert ours["converged"] == 1
    assert len(theirs["scores"]) == 100
    coco = [entry.id for entry in coco_class_lists("instance")[0]]
    np.testing.assert_array_equal(ours["labels"], [coco[1 + i] for i in theirs["classes"]])
    np.testing.assert_allclose(ours["boxes"], theirs["boxes"], rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-3)
    # Recorded in half precision.
    np.testing.assert_allclose(ours["masks"], theirs["masks"], atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("recorded", ["panoptic_fpn_resnet50"], indirect=True)
def test_semantic_logits_and_the_panoptic_map_are_detectron2s(recorded):
    ours, theirs = recorded.ours, recorded.theirs
    logits = recorded.kept["logits"][0, :, ::4, ::4].numpy()
    assert np.abs(logits - theirs["logits"]).max() < 1e-3 * np.abs(theirs["logits"]).max()

    card, _ = make_card(ExportRequest("panoptic"), theirs["picture"].shape[:2], {"panoptic": recorded.trained})
    segment_map, segments = merge_panoptic(
        *(ours[name] for name in ("boxes", "scores", "labels", "masks", "semantic")),
        card.stuff_classes,
        stuff_area=recorded.meta["stuff_area"],
        paste=card.mask_paste,
    )
    assert (segment_map == theirs["panoptic"]).mean() > 0.999
    detector, semantic = coco_class_lists("panoptic")
    expected = [
        (s["isthing"], detector[1 + s["category_id"]].id if s["isthing"] else semantic[s["category_id"]].id)
        for s in recorded.meta["segments"]
    ]
    assert {is_thing for is_thing, _ in expected} == {0, 1}
    assert [(s.is_thing, s.category_id) for s in segments] == expected


@pytest.mark.slow
def test_the_rules_follow_the_weights(recorded):
    assert rules_of(recorded.trained.model) == DETECTRON2
    with torch.device("meta"):
        built = [NETWORKS[f"maskrcnn_resnet{depth}_fpn"].build(3) for depth in (50, 101)]
    assert [rules_of(model) for model in built] == [TORCHVISION] * 2


def test_coco_gives_its_133_categories_with_its_own_ids():
    network = NETWORKS["panoptic_fpn_resnet50"]
    detector, semantic = coco_class_lists("panoptic")
    with torch.device("meta"):
        model = network.build(len(detector), len(semantic))
    trained = WithoutWeights.of(network, model, detector, semantic)
    card, notes = make_card(ExportRequest("panoptic"), (800, 1344), {"panoptic": trained})
    categories = {c.id: c for c in card.categories["panoptic"]}
    assert len(categories) == 133
    assert sum(c.is_thing for c in categories.values()) == 80
    assert (categories[90].name, categories[90].is_thing) == ("toothbrush", True)
    assert (categories[187].name, categories[187].color) == ("sky-other-merged", (70, 130, 180))
    assert card.stuff_classes == {i: entry.id for i, entry in enumerate(semantic) if i}
    assert (card.mask_paste, card.networks) == ("detectron2", {"panoptic": network.name})
    assert any("53 semantic classes are stuff" in note for note in notes)


class WithoutWeights:
    """A network of which the card alone is of interest."""

    @staticmethod
    def of(network, model, detector, semantic):
        from segopt.model.card import WeightsOrigin
        from segopt_export.weights.loading import Trained

        origin = WeightsOrigin("none", "0" * 64)
        return Trained(network, model, detector, True, origin, semantic_classes=semantic)


def random_boxes(count, canvas, *, seed=0):
    """float32 [count, 4] of all sizes, up to 6 times as long as wide, inside the canvas."""
    generator = torch.Generator().manual_seed(seed)
    center, size, aspect = (torch.rand(count, n, generator=generator) for n in (2, 1, 1))
    size = torch.exp(np.log(4) + size * np.log(min(canvas) / 4))
    half = torch.cat((size * 6 ** (aspect - 0.5), size / 6 ** (aspect - 0.5)), dim=1) / 2
    limit = torch.tensor([canvas[1], canvas[0]])
    low, high = center * limit - half, center * limit + half
    return torch.cat((low.clamp(min=0), torch.minimum(high, limit)), dim=1).to(torch.float32)


@pytest.mark.parametrize("bins", [7, 14])
def test_dense_roi_align_is_torchvisions_with_adaptive_samples(bins):
    canvas, channels = (320, 448), 3
    sizes = [(canvas[0] >> k, canvas[1] >> k) for k in (2, 3, 4, 5)]
    torch.manual_seed(0)
    features = [torch.randn(2, channels, *size) for size in sizes]
    boxes = torch.stack([random_boxes(300, canvas, seed=i) for i in (0, 1)])
    pool = AdaptiveRoIPool("0123", bins)
    expected = pool(dict(zip("0123", features, strict=True)), list(boxes), [canvas] * 2)
    found = AdaptiveRoIAlign(pool, sizes, canvas)(GatherReader(sizes).pack(features), boxes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    # The reference itself, on the level of stride 16 that a box of this area is read from.
    whole = torch.tensor([[0.0, 0.0, 448.0, 320.0]])
    expected = roi_align(features[2][:1], [whole], (bins, bins), 1 / 16, 0, aligned=True)
    torch.testing.assert_close(pool(dict(zip("0123", features, strict=True)), [whole, whole], [])[:1], expected)


def test_a_box_too_thin_for_its_level_is_read_from_a_coarser_one():
    canvas = (320, 1024)
    sizes = [(canvas[0] >> k, canvas[1] >> k) for k in (2, 3, 4, 5)]
    pool = AdaptiveRoIPool("0123", 7)
    align = AdaptiveRoIAlign(pool, sizes, canvas)
    ramp = [
        torch.arange(w, dtype=torch.float32).expand(1, 1, h, w) * 2.0**k
        for k, (h, w) in zip((2, 3, 4, 5), sizes, strict=True)
    ]
    thin = torch.tensor([[[0.0, 100.0, 1024.0, 112.0]]])
    pooled = align(GatherReader(sizes).pack(ramp), thin)[0, 0]
    # A ramp says where was sampled: at the centers of the seven bins, on whatever level.
    centers = (torch.arange(7) + 0.5) * 1024 / 7
    torch.testing.assert_close(pooled.mean(dim=0), centers, rtol=0, atol=32)


@pytest.fixture(scope="module")
def small():
    """A lively small Panoptic FPN of 3 things and 4 kinds of stuff."""
    torch.manual_seed(0)
    model = SMALL.build(4, 5)
    enliven(model, size=CANVAS)
    return model


@pytest.fixture(scope="module")
def small_file(small, tmp_path_factory):
    """The same as a checkpoint, with its classes."""
    folder = tmp_path_factory.mktemp("small")
    torch.save(small.state_dict(), folder / "small.pth")
    things = [
        {"name": name, "isthing": 1, "id": 10 * i} for i, name in enumerate(("person", "car", "dog"), start=1)
    ]
    stuff = [
        {"name": name, "isthing": 0, "id": i} for i, name in enumerate(("road", "sky", "grass", "wall"), start=50)
    ]
    (folder / "classes.json").write_text(json.dumps([*stuff, *things]))
    return folder / "small.pth"


def test_a_fine_tuned_network_goes_through_the_command_line(small, small_file, tmp_path, segopt_cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--mode", "panoptic", "--network", SMALL.name, "--weights", small_file, "--size", "128x160"]
    options += ["--classes", small_file.parent / "classes.json", "--max-detections", 30, "--no-build"]
    status, out, err = segopt_cli("export", *options)
    assert status == 0, err
    assert "4 semantic classes are stuff: road, sky, grass, wall" in out
    (file,) = Path("engines").iterdir()
    assert file.name == f"panoptic-{SMALL.name}-fp32.onnx"

    image = lively.pictures(1, CANVAS, seed=3)
    with torch.no_grad():
        (eager,) = small([image[0].flip(-1).permute(2, 0, 1) / 255])
    with segopt.load(file, stuff_area=50, score_threshold=0.3) as segmenter:
        result = segmenter(image[0].numpy())
        assert {s.category_id for s in result.segments} <= {10, 20, 30, 50, 51, 52, 53}
        assert {s.is_thing for s in result.segments} == {True, False}
    with segopt.load(file, mode="semantic") as segmenter:
        share = (segmenter(image[0].numpy()).classes == eager["semantic"].numpy()).mean()
    assert share > 0.999
    with segopt.load(file, mode="instance", score_threshold=0.05) as segmenter:
        found = segmenter(image[0].numpy())
    strong = eager["scores"][:30]
    np.testing.assert_allclose(found.scores, strong.numpy()[: len(found)], atol=1e-3)
    np.testing.assert_array_equal(found.labels, 10 * eager["labels"][: len(found)].numpy())


def test_batch_and_fixed_shapes_hold_for_dense_pooling(tmp_path):
    """The graph of Detectron2's rules in ONNX Runtime: a small pyramid stands for the ResNet's."""
    from segopt_export.onnx_file.tracing import trace

    sizes = [(32, 40), (16, 20), (8, 10), (4, 5)]
    pool = AdaptiveRoIPool("0123", 7)

    class Pool(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.reader = GatherReader(sizes)
            self.align = AdaptiveRoIAlign(pool, sizes, CANVAS)
            self.levels = torch.nn.ParameterList(torch.rand(1, 4, *size) for size in sizes)

        def forward(self, image):
            height = image.to(torch.float32)[:, :20, :4, 0]
            boxes = torch.cat((height[..., :2], height[..., :2] + height[..., 2:]), dim=-1).clamp(max=120)
            shifted = [level * (1 + torch.arange(2.0).reshape(2, 1, 1, 1)) for level in self.levels]
            return (self.align(self.reader.pack(shifted), boxes),)

    module = Pool().eval()
    image = lively.pictures(2, CANVAS)
    model = trace(module, image, ["pooled"])
    file = tmp_path / "pool.onnx"
    file.write_bytes(model.SerializeToString())
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        (expected,) = module(image)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def targets_of(height, width):
    """One square thing on a road."""
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[0, 32:96, 48:112] = 1
    semantic = torch.full((height, width), 1, dtype=torch.int64)
    semantic[mask[0] == 1] = 0
    semantic[:8] = 255
    return {
        "boxes": torch.tensor([[48.0, 32.0, 112.0, 96.0]]),
        "labels": torch.tensor([1]),
        "masks": mask,
        "semantic": semantic,
    }


def test_it_trains():
    torch.manual_seed(0)
    model = SMALL.build(4, 5).train()
    pictures = [lively.pictures(1, size, seed=2)[0].permute(2, 0, 1) / 255 for size in (CANVAS, (128, 128))]
    targets = [targets_of(*CANVAS), targets_of(128, 128)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for _ in range(8):
        losses = model(pictures, targets)
        assert set(losses) == {
            "loss_objectness",
            "loss_rpn_box_reg",
            "loss_classifier",
            "loss_box_reg",
            "loss_mask",
            "loss_semantic",
        }
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        unreached = [n for n, p in model.named_parameters() if p.grad is None]
        assert unreached == []
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0], totals


def test_the_semantic_loss_counts_annotated_pixels_alone():
    logits = torch.zeros(1, 3, 4, 6)
    logits[:, 1] = 5
    annotated = torch.full((3, 5), 1)
    annotated[0] = 255
    expected = torch.nn.functional.cross_entropy(torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([1]))
    torch.testing.assert_close(semantic_loss(logits, [annotated]), expected)
    assert semantic_loss(logits, [torch.full((4, 6), 255)]) == 0


def test_training_without_targets_is_an_error():
    with pytest.raises(ValueError, match="targets"):
        SMALL.build(4, 5).train()([torch.rand(3, *CANVAS)])
