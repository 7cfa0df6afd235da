"""Random weights for EoMT that behave: queries whose masks are small and differ, and classes that are sure.

Of plain random weights nothing survives the merge: all masks cover about half of the picture, and overlap.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segopt_export.networks.eomt import EoMT
from segopt_export.weights.random import random_picture

_RESIDUAL = 0.3
"""Of what a layer adds; tokens themselves have a deviation of about 1."""
_MASK_SPREAD = 4.0
"""Deviation of a mask's logits over the picture."""
_CLASS_SPREAD = 5.0
"""Deviation of class logits over queries."""
_GRID = 20
"""So many patches down and across are enough for statistics."""
_STEPS = 3
_MOST = 1 << 20
"""Logits that a quantile is taken of; torch takes no more than 16 million."""
_OBJECTS = 0.3
"""Share of the queries that are objects, surely or not."""


def enliven_eomt(model: EoMT, *, seed: int = 0, covered: float = 0.002) -> None:
    """Replace an EoMT's weights by lively random ones, in place, for the square that its shape names.

    The same seed gives the same weights on the same version of torch.

    Args:
        model: left in eval mode.
        seed: of the weights and of the picture that the last layers are scaled on.
        covered: share of that picture that a mask covers in the mean. On a whole canvas, whose features vary more,
            it is several hundredths.
    """
    generator = torch.Generator().manual_seed(seed)
    threads = torch.get_num_threads()
    try:
        # More threads add in another order, and the weights' last bits would depend on the machine's cores.
        torch.set_num_threads(1)
        with torch.no_grad():
            _initialize(model.eval(), generator)
            _scale_to_a_picture(model, generator, covered)
    finally:
        torch.set_num_threads(threads)


def _initialize(model: Any, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.02, generator=generator)
        elif isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.1, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
    for layer in model.layers:
        for scale in (layer.layer_scale1, layer.layer_scale2):
            nn.init.normal_(scale.lambda1, _RESIDUAL, 0.1 * _RESIDUAL, generator=generator)
    for tokens in (model.query.weight, model.embeddings.cls_token, model.embeddings.register_tokens):
        nn.init.normal_(tokens, generator=generator)
    for upscale in model.upscale_block.block:
        _make_smooth(upscale.conv1, upscale.conv2, generator)
    if model.shape.rope_theta is None:
        # Positions near each other are alike, as in trained networks: masks are patches, not dust.
        height, width = model.grid
        coarse = torch.randn(1, model.shape.hidden, 6, 6, generator=generator)
        field = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
        model.embeddings.position_embeddings.weight.copy_(field[0].flatten(1).T)
    projection = model.embeddings.patch_embeddings["projection"]
    nn.init.normal_(projection.weight, std=projection.weight[0].numel() ** -0.5, generator=generator)
    nn.init.zeros_(projection.bias)


def _make_smooth(enlarge: nn.ConvTranspose2d, mix: nn.Conv2d, generator: torch.Generator) -> None:
    """The four pixels that one becomes differ little, and the filter over them is nearly a mean."""
    channels = enlarge.in_channels
    shared = torch.randn(channels, channels, 1, 1, generator=generator)
    own = torch.randn(enlarge.weight.shape, generator=generator)
    enlarge.weight.copy_((shared + 0.1 * own) * 1.5 * channels**-0.5)
    assert enlarge.bias is not None
    nn.init.normal_(enlarge.bias, std=0.02, generator=generator)
    mix.weight.copy_((1 + 0.2 * torch.randn(mix.weight.shape, generator=generator)) / 9)


def _scale_to_a_picture(model: Any, generator: torch.Generator, covered: float) -> None:
    # On every second patch of a large grid: statistics are alike, and a large network takes minutes for all.
    grid, learned = model.grid, model.shape.rope_theta is None
    step = max(1, model.shape.grid // _GRID)
    some = -(-model.shape.grid // step)
    model.place((some, some), (some, some))
    if learned:
        whole = model.embeddings.position_embeddings
        cells = whole.weight.reshape(*grid, -1)[::step, ::step].flatten(0, 1)
        model.embeddings.position_embeddings = nn.Embedding(*cells.shape)
        model.embeddings.position_embeddings.weight.copy_(cells)
    patch = model.shape.patch
    size = (model.grid[0] * patch, model.grid[1] * patch)
    # A part of a picture as large as the square: its structure is as fine as that which the network will see.
    whole_picture = random_picture((model.shape.side, model.shape.side), generator=generator)
    pixels = (whole_picture[None, :, : size[0], : size[1]] - 0.45) / 0.22
    projection = model.embeddings.patch_embeddings["projection"]
    seen = projection(pixels)
    spread = seen.std(dim=(0, 2, 3)).clamp(min=1e-6)
    projection.bias.copy_(-0.5 * seen.mean(dim=(0, 2, 3)) / spread)
    projection.weight.mul_((0.5 / spread).reshape(-1, 1, 1, 1))
    queries, patches = model.split(model.encode(pixels))
    _scale_classes(model.class_predictor, queries[0])
    _scale_masks(model, queries, patches, generator, covered)
    model.place(grid, grid)
    if learned:
        model.embeddings.position_embeddings = whole


def _scale_classes(layer: nn.Linear, queries: Tensor) -> None:
    logits = layer(queries)
    factor = _CLASS_SPREAD / logits.std()
    layer.bias.copy_((layer.bias - logits.mean(dim=0)) * factor)
    layer.weight.mul_(factor)
    logits = layer(queries)
    layer.bias[-1] += torch.quantile(logits[:, :-1].amax(dim=1) - logits[:, -1], 1 - _OBJECTS)


def _scale_masks(model: Any, queries: Tensor, patches: Tensor, generator: torch.Generator, covered: float) -> None:
    """Let the product of mask embeddings and features have a spread and a level.

    The product has no bias: a direction in which all features are one and the same stands for it.
    """
    last, head = model.upscale_block.block[-1].layernorm2d, model.mask_head.fc3
    features = model.upscale_block(patches)[0].flatten(1)
    last.bias.sub_(features.mean(dim=1))
    features = features - features.mean(dim=1, keepdim=True)
    axis = F.normalize(torch.randn(model.shape.hidden, generator=generator), dim=0)
    length = model.shape.hidden**0.5
    hidden = _before_last(model, queries)
    embeddings = head(hidden)
    head.bias.sub_(embeddings.mean(dim=0))
    # Directions in which features vary most would be all that any mask shows: they are made weaker. Those in which
    # they hardly vary here vary more on a whole canvas, so that they are not made as strong.
    values, vectors = torch.linalg.eigh(torch.cov(features))
    weaker = vectors @ torch.diag((values.clamp(min=0) + 1e-2 * values[-1]) ** -0.5) @ vectors.T
    weaker = weaker - torch.outer(axis, axis @ weaker)
    head.weight.copy_(weaker @ head.weight)
    head.bias.copy_(weaker @ head.bias)
    factor = _MASK_SPREAD / (head(hidden) @ features).std(dim=1).mean()
    head.weight.mul_(factor)
    head.bias.mul_(factor)
    last.bias.add_(axis * length)
    # Each step moves all logits alike, but for what the features have of the axis.
    for _ in range(_STEPS):
        logits = model.masks(queries, patches).flatten()
        head.bias.sub_(axis * torch.quantile(logits[:: 1 + len(logits) // _MOST], 1 - covered) / length)


def _before_last(model: Any, queries: Tensor) -> Tensor:
    """What the mask head's last layer reads, [Q, C]."""
    fc1, fc2, _ = model.mask_head.children()
    read: Tensor = F.gelu(fc2(F.gelu(fc1(queries))))[0]
    return read
