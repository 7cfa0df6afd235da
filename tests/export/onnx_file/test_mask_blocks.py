"""A mask head in a loop gives, for the slots that are asked for, what it gives for all of them at once."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from segopt.model.tensors import MASK_LOOP, MASK_SCORE
from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.onnx_file.checks import check_static
from segopt_export.onnx_file.cost import layer_costs
from segopt_export.onnx_file.mask_blocks import BLOCK, in_blocks, with_masks_in_blocks
from segopt_export.onnx_file.tracing import trace
from segopt_export.precision.int8 import quantize
from segopt_export.static import roi_align
from segopt_export.static.heads import mask_of_label
from segopt_export.static.limits import DetectionLimits
from segopt_export.static.pool import StaticPool

SIDE = 128
SLOTS, CLASSES, CHANNELS = 20, 5, 8


class Normed(nn.Sequential):
    """A mask head with group norms."""

    def __init__(self):
        super().__init__(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.GroupNorm(2, CHANNELS), nn.ReLU())


class Mixing(nn.Module):
    """One that looks at other slots."""

    def forward(self, features):
        return features - features.mean(dim=0, keepdim=True)


def torchvision_head():
    return MaskRCNNHeads(CHANNELS, [CHANNELS] * 2, 1), MaskRCNNPredictor(CHANNELS, CHANNELS, CLASSES)


def other_predictor():
    """A deconvolution whose products overlap."""
    doubling = nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, 2, 1)
    return nn.Sequential(doubling, nn.ReLU(), nn.Conv2d(CHANNELS, CLASSES, 1))


HEADS = {
    "torchvision": torchvision_head,
    "norms": lambda: (Normed(), other_predictor()),
    "mixing": lambda: (Mixing(), other_predictor()),
}
POOLS = {
    "torchvision": lambda: MultiScaleRoIAlign(["0", "1"], 14, 2),
    "adaptive": lambda: AdaptiveRoIPool(["0", "1"], 14),
}


class MaskNetwork(nn.Module):
    """The end of a Mask R-CNN: boxes that the picture moves, and their masks by the modules of an export."""

    output_names = ("boxes", "scores", "masks")

    def __init__(self, head, predictor, pool, batch=1):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body = nn.Conv2d(3, CHANNELS, 4, 4)
        sizes = {"0": (SIDE // 4, SIDE // 4), "1": (SIDE // 8, SIDE // 8)}
        self.pool = StaticPool(pool, sizes, (SIDE, SIDE), "cpu")
        self.head, self.predictor = head, mask_of_label(predictor)
        corner, size = torch.rand(2, batch, SLOTS, 2, generator=generator)
        self.register_buffer("corners", torch.cat([80 * corner, 80 * corner + 10 + 30 * size], dim=2))
        self.register_buffer("ranks", torch.linspace(0.95, -0.2, SLOTS).repeat(batch, 1))
        self.register_buffer("classes", torch.randint(1, CLASSES, (batch, SLOTS), generator=generator))

    def forward(self, image):
        x = image.permute(0, 3, 1, 2).float() / 255
        fine = self.body(x)
        pyramid = self.pool.pack({"0": fine, "1": nn.functional.avg_pool2d(fine, 2)})
        moved = x.mean(dim=(1, 2, 3))[:, None]
        boxes, scores = self.corners + moved[..., None], self.ranks * (1 + 0 * moved)
        labels = (self.classes * (1 + 0 * moved)).long()
        masks = self.predictor(self.head(self.pool(pyramid, boxes)), labels.flatten())
        return boxes, scores, masks.reshape(*labels.shape, *masks.shape[-2:])


def traced(head="torchvision", pool="torchvision", batch=1):
    torch.manual_seed(0)
    network = MaskNetwork(*HEADS[head](), POOLS[pool](), batch).eval()
    with pytest.MonkeyPatch.context() as patch:
        # Three slots at a time, as a network with 256 channels has.
        patch.setattr(roi_align, "GATHERED_VALUES", 3 * 56 * 56 * CHANNELS)
        return trace(network, pictures(batch), network.output_names)


@pytest.fixture(
    params=[("torchvision", "torchvision"), ("norms", "torchvision"), ("torchvision", "adaptive")],
    ids="-".join,
    scope="module",
)
def model(request):
    return traced(*request.param)


def pictures(batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))


def body_of(model):
    (loop,) = (node for node in model.graph.node if node.name == MASK_LOOP)
    return next(each.g for each in loop.attribute if each.name == "body")


def test_masks_that_are_asked_for_are_those_of_the_whole_head(model):
    blocks = in_blocks(model)
    image = pictures(seed=5).numpy()
    expected = run(model, image=image)
    assert expected["masks"][0].std() > 0.01, "the masks say nothing"
    for score in (None, 0.0, 0.5, 0.9, 0.96):
        given = {} if score is None else {MASK_SCORE: np.array(score, np.float32)}
        found = run(blocks, image=image, **given)
        wanted = int((expected["scores"] >= (score or 0)).sum())
        computed = min(SLOTS, -(-wanted // BLOCK) * BLOCK)
        assert np.array_equal(expected["boxes"], found["boxes"])
        np.testing.assert_allclose(
            found["masks"][:, :computed], expected["masks"][:, :computed], rtol=0, atol=2e-7, err_msg=str(score)
        )
        assert np.all(found["masks"][:, computed:] == 0)


def test_every_tensor_keeps_a_fixed_shape(model):
    blocks = onnx.shape_inference.infer_shapes(in_blocks(model))
    graphs = (blocks.graph, body_of(blocks))
    shaped = {v.name: v for graph in graphs for v in (*graph.value_info, *graph.output, *graph.input)}
    for name in (name for graph in graphs for node in graph.node for name in node.output):
        assert all(side.HasField("dim_value") for side in shaped[name].type.tensor_type.shape.dim), name


def test_weights_stand_in_the_file_once(model):
    blocks = in_blocks(model)
    of_head = {tensor.name for tensor in model.graph.initializer if tensor.name.startswith("head.")}
    outside, inside = ({t.name for t in graph.initializer} for graph in (blocks.graph, body_of(blocks)))
    assert of_head
    assert of_head <= inside
    assert not of_head & outside
    assert not inside & outside


def test_the_graph_as_it_was_is_left_alone(model):
    before = model.SerializeToString()
    in_blocks(model)
    # Not compared in the assertion: pytest would print both.
    is_as_before = model.SerializeToString() == before
    assert is_as_before
    check_static(model)


def test_a_loop_costs_what_all_its_blocks_cost(model):
    plain, blocks = (sum(layer.operations for layer in layer_costs(each)) for each in (model, in_blocks(model)))
    # 24 slots in place of 20.
    assert 1.0 < blocks / plain < 1.25


def test_int8_layers_go_into_the_loop():
    quantized = quantize(traced(), [pictures(seed=i).numpy() for i in range(2)], "cpu").model
    blocks = in_blocks(quantized)
    image = pictures(seed=9).numpy()
    expected, found = run(quantized, image=image), run(blocks, image=image)
    used = int((expected["scores"] >= 0).sum())
    np.testing.assert_allclose(found["masks"][:, :used], expected["masks"][:, :used], rtol=0, atol=2e-2)
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= {node.op_type for node in body_of(blocks).node}


def test_several_pictures_at_once_stay_as_they_are():
    model = traced(batch=2)
    assert_stays(model, DetectionLimits(), [])
    is_left = in_blocks(model) is None
    assert is_left


def test_who_wants_all_masks_gets_no_loop():
    model = traced()
    assert_stays(model, DetectionLimits(all_masks=True), [])
    blocks, notes = with_masks_in_blocks(model, DetectionLimits())
    assert [node.op_type for node in blocks.graph.node].count("Loop") == 1
    assert "--all-masks" in notes[0]


def test_a_head_that_looks_at_other_slots_stays_whole():
    note = "this mask head computes a mask for every slot, whether or not it holds a detection"
    assert_stays(traced("mixing"), DetectionLimits(), [note])


def assert_stays(model, limits, expected):
    same, notes = with_masks_in_blocks(model, limits)
    is_same = same is model
    assert is_same
    assert notes == expected
