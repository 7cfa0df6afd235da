"""Small EoMT networks with lively random weights, and transformers' own network of the same weights."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segopt_export.networks.eomt import EoMT, EomtShape, fit_to_canvas
from segopt_export.weights.random import random_picture
from segopt_export.weights.random_eomt import enliven_eomt

TINY = EomtShape(hidden=32, layers=3, heads=2, blocks=2, classes=12, queries=100, side=128)
CANVAS = (TINY.side, TINY.side)


@cache
def _lively(shape: EomtShape, masked: tuple[bool, ...], seed: int) -> dict[str, Tensor]:
    model = EoMT(shape, masked=masked)
    enliven_eomt(model, seed=seed, covered=0.02)
    return model.state_dict()


def lively(shape: EomtShape = TINY, *, masked: tuple[bool, ...] = (), seed: int = 0) -> EoMT:
    """A network of its own for the square that its shape names."""
    masked = masked or (False,) * shape.blocks
    model = EoMT(shape, masked=masked).eval()
    model.load_state_dict(_lively(shape, masked, seed))
    return model


def pixels(size: tuple[int, int], *, count: int = 1, seed: int = 3) -> Tensor:
    """Pictures as the network takes them, float32 [count, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.stack([random_picture(size, generator=generator) for _ in range(count)])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pictures - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)


def config_of(shape: EomtShape):
    """transformers' configuration of a network."""
    from transformers import EomtConfig

    return EomtConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_blocks=shape.blocks,
        num_queries=shape.queries,
        num_upscale_blocks=shape.upscale_blocks,
        image_size=shape.side,
        id2label={i: f"class {i}" for i in range(shape.classes)},
    )


def transformers_network(model: EoMT, canvas: tuple[int, int] | None = None) -> nn.Module:
    """transformers' own network with the same weights.

    It knows squares alone: for another canvas it is given the positions that ``fit_to_canvas`` makes, which a test
    holds against their own statement.
    """
    from transformers import EomtForUniversalSegmentation

    theirs = EomtForUniversalSegmentation(config_of(model.shape)).eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if canvas is not None:
        fitted = EoMT(model.shape)
        fitted.load_state_dict(state)
        fit_to_canvas(fitted, canvas)
        positions = fitted.embeddings.position_embeddings
        theirs.embeddings.position_embeddings = nn.Embedding.from_pretrained(positions.weight.clone())
        theirs.embeddings.position_ids = torch.arange(len(positions.weight))[None]
        theirs.grid_size = fitted.grid
        state["embeddings.position_embeddings.weight"] = positions.weight.clone()
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) == {"attn_mask_probs", "criterion.empty_weight"}
    theirs.attn_mask_probs.copy_(torch.tensor(model.masked, dtype=torch.float32))
    return theirs


NAMES = [{"name": f"class {i}", "isthing": int(i < 8)} for i in range(TINY.classes)]
"""Of the tiny network's classes: eight things, and stuff."""


def dinov3_config(shape: EomtShape):
    """transformers' configuration of a network on DINOv3."""
    from transformers.models.eomt_dinov3 import EomtDinov3Config

    return EomtDinov3Config(
        hidden_size=shape.hidden,
        intermediate_size=shape.hidden * shape.mlp_ratio,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_blocks=shape.blocks,
        num_queries=shape.queries,
        num_upscale_blocks=shape.upscale_blocks,
        image_size=shape.side,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        id2label={i: f"class {i}" for i in range(shape.classes)},
    )


def dinov3_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names that transformers has for an encoder of DINOv3."""
    pairs = (
        ("patch_embeddings.projection.", "patch_embeddings."),
        (".attention.out_proj.", ".attention.o_proj."),
        (".mlp.fc1.", ".mlp.up_proj."),
        (".mlp.fc2.", ".mlp.down_proj."),
    )
    found = {}
    for name, tensor in state.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        found[name] = tensor.clone()
    return found


def transformers_dinov3(model: EoMT, canvas: tuple[int, int]) -> nn.Module:
    """transformers' own network on DINOv3 with the same weights, for pictures of this size."""
    from transformers.models.eomt_dinov3 import EomtDinov3ForUniversalSegmentation

    theirs = EomtDinov3ForUniversalSegmentation(dinov3_config(model.shape)).eval()
    missing, unexpected = theirs.load_state_dict(dinov3_names(model.state_dict()), strict=False)
    assert unexpected == []
    assert set(missing) <= {"attn_mask_probs", "criterion.empty_weight"}
    theirs.attn_mask_probs.copy_(torch.tensor(model.masked, dtype=torch.float32))
    theirs.grid_size = (canvas[0] // model.shape.patch, canvas[1] // model.shape.patch)
    return theirs


def write_folder(folder: Path, model: EoMT | None = None, **changes) -> Path:
    """A folder as Hugging Face has them, and a class file beside the weights; ``changes`` are to its config."""
    model = model or lively()
    shape = model.shape
    config = {
        "model_type": "eomt",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_blocks": shape.blocks,
        "num_queries": shape.queries,
        "num_upscale_blocks": shape.upscale_blocks,
        "num_register_tokens": shape.registers,
        "image_size": shape.side,
        "patch_size": shape.patch,
        "hidden_act": "gelu",
        "id2label": {str(i): f"class {i}" for i in range(shape.classes)},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})
    )
    masked = torch.tensor(model.masked, dtype=torch.float32)
    save_file({**model.state_dict(), "attn_mask_probs": masked}, folder / "model.safetensors")
    (folder / "classes.json").write_text(json.dumps(NAMES))
    return folder


def post_process(
    masks: Tensor, classes: Tensor, frame: tuple[int, int], canvas: tuple[int, int], stuff, score=0.8
):
    """transformers' own panoptic segmentation of one frame: the map (-1 is void), and its segments."""
    from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

    outputs = SimpleNamespace(masks_queries_logits=masks, class_queries_logits=classes)
    size = {"shortest_edge": canvas[0], "longest_edge": canvas[1]}
    (answer,) = EomtImageProcessor().post_process_panoptic_segmentation(
        outputs, [frame], threshold=score, stuff_classes=list(stuff), size=size
    )
    return answer["segmentation"].numpy().astype(int), answer["segments_info"]


def equal_pixels(result, expected_map, expected_segments, index_of) -> float:
    """Share of pixels that are of the same segment in both, whatever its number.

    Args:
        result: a panoptic result.
        expected_map: transformers' map.
        expected_segments: and its segments.
        index_of: category id to the network's class.
    """
    same = (expected_map < 0) & (result.segment_map == 0)
    ours = {segment.id: index_of[segment.category_id] for segment in result.segments}
    for segment in expected_segments:
        theirs = expected_map == segment["id"]
        found = np.bincount(result.segment_map[theirs])
        best = int(found.argmax())
        if ours.get(best) == segment["label_id"]:
            same |= theirs & (result.segment_map == best)
    return float(same.mean())
