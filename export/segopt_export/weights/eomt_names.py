"""EoMT's tensors under Hugging Face's names, whichever of the two forms a file has.

The authors' own training code (github.com/tue-mps/eomt) saves
``network.encoder.backbone.blocks.0.attn.qkv.weight`` where Hugging Face's file has three tensors of
``layers.0.attention``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from segopt.errors import ExportError

State = dict[str, Tensor]

_BACKBONE = "encoder.backbone."
_RULES: tuple[tuple[str, str], ...] = (
    (r"cls_token", "embeddings.cls_token"),
    (r"reg_token", "embeddings.register_tokens"),
    (r"pos_embed", "embeddings.position_embeddings.weight"),
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"norm\.", "layernorm."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"layers.\1.attention.out_proj."),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"layers.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.", r"layers.\1.\2."),
)
"""Beginnings of the backbone's names, and what they are here."""
_HEADS: tuple[tuple[str, str], ...] = (
    (r"q\.weight", "query.weight"),
    (r"class_head\.", "class_predictor."),
    (r"mask_head\.0\.", "mask_head.fc1."),
    (r"mask_head\.2\.", "mask_head.fc2."),
    (r"mask_head\.4\.", "mask_head.fc3."),
    (r"upscale\.(\d+)\.(conv1|conv2)\.", r"upscale_block.block.\1.\2."),
    (r"upscale\.(\d+)\.norm\.", r"upscale_block.block.\1.layernorm2d."),
    (r"attn_mask_probs", "attn_mask_probs"),
)
_DINOV3: tuple[tuple[str, str], ...] = (
    (r"embeddings\.patch_embeddings\.(weight|bias)$", r"embeddings.patch_embeddings.projection.\1"),
    (r"layers\.(\d+)\.attention\.o_proj\.", r"layers.\1.attention.out_proj."),
    (r"layers\.(\d+)\.mlp\.up_proj\.", r"layers.\1.mlp.fc1."),
    (r"layers\.(\d+)\.mlp\.down_proj\.", r"layers.\1.mlp.fc2."),
)
"""What Hugging Face calls otherwise where the encoder is DINOv3."""
_QKV = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_UNUSED = ("criterion.", "encoder.pixel_mean", "encoder.pixel_std", "embeddings.position_ids")
"""Of training, or kept elsewhere."""


def huggingface_names(state: Mapping[str, Tensor], path: Path, *, rotary: bool = False) -> State:
    """The tensors of a file under Hugging Face's names; names that nobody knows stay as they are.

    Args:
        state: by the file's names.
        path: of the file, for the message.
        rotary: the configuration beside it says that the encoder is DINOv3.

    Raises:
        ExportError: these are not the weights of an EoMT on DINOv2.
    """
    state = {name.removeprefix("network."): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}
    if any(name.startswith(_BACKBONE) for name in state):
        state = _translated(state)
    if rotary:
        state = {_renamed(name, _DINOV3): tensor for name, tensor in state.items()}
        return {name: tensor for name, tensor in state.items() if name != "embeddings.mask_token"}
    if "embeddings.position_embeddings.weight" not in state:
        raise ExportError(
            f"{path}: has no position embeddings of an EoMT on DINOv2; weights that hold differences to DINOv3's, "
            "or are of another network, cannot be exported"
        )
    positions = state["embeddings.position_embeddings.weight"]
    if positions.ndim == 3 and len(positions) == 1:
        state["embeddings.position_embeddings.weight"] = positions[0]
    return state


def dinov3_names(state: Mapping[str, Tensor]) -> State:
    """What :func:`huggingface_names` makes of an EoMT on DINOv3, under the names that its file has."""
    rules = (
        (r"(embeddings\.patch_embeddings\.)projection\.", r"\1"),
        (r"(layers\.\d+\.attention\.)out_proj\.", r"\1o_proj."),
        (r"(layers\.\d+\.mlp\.)fc1\.", r"\1up_proj."),
        (r"(layers\.\d+\.mlp\.)fc2\.", r"\1down_proj."),
    )
    return {_renamed(name, rules): tensor for name, tensor in state.items()}


def _translated(state: State) -> State:
    found: State = {}
    for name, tensor in state.items():
        inner = name.removeprefix(_BACKBONE)
        if inner != name and (fused := _QKV.fullmatch(inner)) and tensor.ndim and len(tensor) % 3 == 0:
            number, kind = fused.groups()
            for part, values in zip("qkv", torch.chunk(tensor, 3), strict=True):
                found[f"layers.{number}.attention.{part}_proj.{kind}"] = values
            continue
        found[_renamed(inner, _RULES) if inner != name else _renamed(name, _HEADS)] = tensor
    return found


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        new, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return new
    return name
