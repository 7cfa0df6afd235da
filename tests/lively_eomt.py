"""Small EoMT networks with lively random weights, and transformers' own network of the same weights."""

from functools import cache

import torch
from torch import Tensor, nn

from segopt_export.networks.eomt import EoMT, EomtShape, fit_to_canvas
from segopt_export.weights.random import random_picture
from segopt_export.weights.random_eomt import enliven_eomt

TINY = EomtShape(hidden=32, layers=3, heads=2, blocks=2, classes=12, queries=60, side=128)
CANVAS = (TINY.side, TINY.side)


@cache
def _lively(shape: EomtShape, masked: tuple[bool, ...], seed: int) -> dict[str, Tensor]:
    model = EoMT(shape, masked=masked)
    enliven_eomt(model, seed=seed)
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
