"""A query network as it is trained: an answer in front of each last block, masks that are annealed away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from segopt_bench.pytorch.eager_queries import fused_attention
from segopt_bench.training.query_losses import QueryLoss, Segments
from segopt_export.networks.eomt import Attention, EoMT, fit_to_canvas

Answer = tuple[Tensor, Tensor]
"""Mask logits [B, Q, h, w] and class logits [B, Q, classes + 1]."""
_POSITIONS = "embeddings.position_embeddings.weight"


def answers(
    model: EoMT, pixels: Tensor, probabilities: Sequence[float], generator: torch.Generator | None = None
) -> list[Answer]:
    """The answers in front of each of the last blocks, and the last one.

    Args:
        model: its grid is that of the pictures.
        pixels: float32 [B, 3, H, W], RGB, normalized.
        probabilities: block by block, that a query attends inside of its mask alone.
        generator: of who does; None is torch's own.
    """
    found: list[Answer] = []
    tokens = model.embeddings(pixels)
    first = model.shape.layers - model.shape.blocks
    for index, layer in enumerate(model.layers):
        added = None
        if index == first:
            queries = model.query.weight[None].expand(len(tokens), -1, -1)
            tokens = torch.cat([queries, tokens], dim=1)
        if index >= first:
            found.append(_answer(model, tokens))
            added = _mask(model, found[-1][0], probabilities[index - first], generator)
        tokens = layer(tokens, added, model.rotation)
    return [*found, _answer(model, tokens)]


def losses(
    loss: QueryLoss,
    found: Sequence[Answer],
    truth: Sequence[Segments],
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Sums of the losses of all answers, by name; arguments as of :meth:`QueryLoss.__call__`."""
    each = [loss(masks, classes, truth, generator) for masks, classes in found]
    return {name: torch.stack([part[name] for part in each]).sum() for name in each[0]}


def _answer(model: EoMT, tokens: Tensor) -> Answer:
    queries, patches = model.split(model.layernorm(tokens))
    return model.masks(queries, patches), model.class_predictor(queries)


def _mask(model: EoMT, logits: Tensor, probability: float, generator: torch.Generator | None) -> Tensor | None:
    if probability <= 0:
        return None
    if probability >= 1:
        return model.attention_mask(logits.detach())
    drawn = torch.rand(logits.shape[:2], device=logits.device, generator=generator)
    return model.attention_mask(logits.detach(), drawn <= probability)


def initialize(model: EoMT, generator: torch.Generator) -> None:
    """Give a network the weights that a training from scratch begins with, in place.

    Linear layers as vision transformers have them; positions are waves, so that neighbors are alike from the first
    step on.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(model.query.weight, generator=generator)
        for tokens in (model.embeddings.cls_token, model.embeddings.register_tokens):
            nn.init.normal_(tokens, std=0.02, generator=generator)
        for upscale in model.upscale_block.block:
            assert isinstance(upscale, nn.Module)
            for convolution in upscale.children():
                if isinstance(convolution, (nn.ConvTranspose2d, nn.Conv2d)):
                    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
        if model.shape.rope_theta is None:
            model.embeddings.position_embeddings.weight.copy_(waves(model.shape.grid, model.shape.hidden))


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of a square's rows and columns (Vaswani et al., 2017), float32 [side^2, width]."""
    turns = 10_000.0 ** -torch.linspace(0, 1, max(1, -(-width // 4)))
    angles = torch.arange(side, dtype=torch.float32)[:, None] * turns
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    down, across = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([down, across], dim=2).flatten(0, 1)[:, :width].contiguous()


class OnCanvas:
    """A network whose learned positions are those of a part of its square, while it is trained on that part.

    Args:
        model: changed in place; its shape's square holds the canvas.
        canvas: height and width in pixels, multiples of the patch's side.
    """

    def __init__(self, model: EoMT, canvas: tuple[int, int]) -> None:
        self.model = model
        self.square = _positions(model)
        fit_to_canvas(model, canvas)
        for module in model.modules():
            if isinstance(module, Attention):
                module.attend = fused_attention

    def state(self) -> dict[str, Tensor]:
        """The network's tensors on the CPU, with the positions of the whole square."""
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        if self.square is not None:
            rows, columns = self.model.grid
            side = self.model.shape.grid
            whole = self.square.clone().reshape(side, side, -1)
            whole[:rows, :columns] = state[_POSITIONS].reshape(rows, columns, -1)
            state[_POSITIONS] = whole.flatten(0, 1)
        return state


def _positions(model: EoMT) -> Tensor | None:
    if model.shape.rope_theta is not None:
        return None
    return model.embeddings.position_embeddings.weight.detach().clone()


def for_square(model: EoMT, side: int) -> EoMT:
    """A network for pictures of another square, whose learned positions are resized to it (bicubic)."""
    if side == model.shape.side:
        return model
    fit_to_canvas(model, (side, side), whole=True)
    changed = EoMT(replace(model.shape, side=side), masked=model.masked)
    changed.load_state_dict(model.state_dict())
    return changed


def with_classes(model: EoMT, old: Sequence[str], new: Sequence[str], generator: torch.Generator) -> EoMT:
    """A network for other classes: what it knows of those whose names stay is kept, the others begin anew.

    Args:
        model: left as it is.
        old: names of its classes, in its order.
        new: names of the classes to come.
        generator: of the new ones' weights.
    """
    if list(old) == list(new):
        return model
    changed = EoMT(replace(model.shape, classes=len(new)), masked=model.masked)
    nn.init.trunc_normal_(changed.class_predictor.weight, std=0.02, generator=generator)
    nn.init.zeros_(changed.class_predictor.bias)
    kept = {name: i for i, name in enumerate(old)}
    rows = [(i, kept[name]) for i, name in enumerate(new) if name in kept] + [(len(new), len(old))]
    state, begun = model.state_dict(), changed.state_dict()
    for name in ("class_predictor.weight", "class_predictor.bias"):
        for row, known in rows:
            begun[name][row] = state[name][known]
        state[name] = begun[name]
    changed.load_state_dict(state)
    return changed
