"""EoMT: a plain vision transformer that segments (Kerssies et al., "Your ViT is Secretly an Image Segmentation
Model", CVPR 2025).

A DINOv2 or DINOv3 encoder with register tokens; before its last blocks learned queries join the patches, and each
query ends as one mask and one class. Tensors have the names of Hugging Face's files (``model.safetensors`` of
``tue-mps``) with DINOv2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segopt_export.networks.rotary import rotate, rotation

MASKED_OUT = -1e9
"""Added to an attention score that shall not count."""


@dataclass(frozen=True)
class EomtShape:
    """What makes one EoMT differ from another; a file's ``config.json`` says it."""

    hidden: int
    """Channels of a token."""
    layers: int
    heads: int
    blocks: int
    """So many of the last layers see the queries."""
    classes: int
    """Without "no object", which comes last."""
    queries: int = 200
    upscale_blocks: int = 2
    """Each doubles the patch grid's height and width: masks have a quarter of the picture's side with two."""
    patch: int = 16
    """Side of a patch in pixels."""
    side: int = 640
    """Of the square that it was trained on, in pixels."""
    registers: int = 4
    rope_theta: float | None = None
    """Of DINOv3's rotary positions; None where positions are learned, as DINOv2's are."""
    key_bias: bool = True
    windowed: bool = False
    """A semantic network that looks at a picture through square windows, whose side is ``side``."""
    mlp_ratio: int = 4
    norm_eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along a side of the trained square."""
        return self.side // self.patch

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.hidden // self.heads

    @property
    def prefix(self) -> int:
        """Tokens that are neither queries nor patches."""
        return 1 + self.registers


class EoMT(nn.Module):
    """The network for one canvas.

    Args:
        shape: its sizes.
        masked: for each of the last ``shape.blocks`` layers, whether a query attends inside its own mask alone.
            Fine-tuned files have annealed this away; it is part of the weights (``attn_mask_probs``).
    """

    def __init__(self, shape: EomtShape, *, masked: Sequence[bool] = ()) -> None:
        super().__init__()
        self.shape = shape
        self.masked = tuple(masked) or (True,) * shape.blocks
        self.grid = (shape.grid, shape.grid)
        """Patches down and across; :func:`fit_to_canvas` changes it."""
        self.rotation: Tensor | None
        self.register_buffer("rotation", None, persistent=False)
        self.place(self.grid, self.grid)
        hidden = shape.hidden
        self.embeddings = _Embeddings(shape)
        self.layernorm = nn.LayerNorm(hidden, eps=shape.norm_eps)
        self.query = nn.Embedding(shape.queries, hidden)
        self.layers = nn.ModuleList([_Layer(shape) for _ in range(shape.layers)])
        self.upscale_block = _UpscaleBlocks(shape)
        self.mask_head = _MaskHead(hidden)
        self.class_predictor = nn.Linear(hidden, shape.classes + 1)

    def place(self, grid: tuple[int, int], extent: tuple[int, int]) -> None:
        """Say how many patches there are, and where rotary positions see them.

        Args:
            grid: patches down and across.
            extent: likewise of what rotary positions are relative to; the grid lies at its top left.
        """
        self.grid, shape = grid, self.shape
        if shape.rope_theta is not None:
            self.rotation = rotation(grid, extent, shape.head_width, shape.rope_theta)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Masks and classes of all queries.

        Args:
            pixels: float32 [B, 3, H, W], RGB, normalized; H and W are those of the canvas.

        Returns:
            Mask logits [B, Q, h, w] (a quarter of the canvas with two upscale blocks), and class logits
            [B, Q, classes + 1], of which the last means "no object".
        """
        tokens = self.encode(pixels)
        queries, features = self.split(tokens)
        return self.masks(queries, features), self.class_predictor(queries)

    def encode(self, pixels: Tensor) -> Tensor:
        """Tokens [B, Q + prefix + patches, C] behind the last norm; arguments as of :meth:`forward`."""
        tokens = self.embeddings(pixels)
        first = self.shape.layers - self.shape.blocks
        for index, layer in enumerate(self.layers):
            if index == first:
                queries = self.query.weight[None].expand(tokens.shape[0], -1, -1)
                tokens = torch.cat([queries, tokens], dim=1)
            scores_added = None
            if index >= first and self.masked[index - first]:
                scores_added = self.attention_mask(self.masks(*self.split(self.layernorm(tokens))))
            tokens = layer(tokens, scores_added, self.rotation)
        normed: Tensor = self.layernorm(tokens)
        return normed

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of :meth:`encode` -> queries [B, Q, C] and patches [B, C, grid height, grid width]."""
        count = self.shape.queries
        patches = tokens[:, count + self.shape.prefix :].transpose(1, 2)
        return tokens[:, :count], patches.reshape(tokens.shape[0], -1, *self.grid)

    def masks(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Mask logits float32 [B, K, h, w] of queries [B, K, C] on patches [B, C, grid height, grid width]."""
        embeddings = self.mask_head(queries)
        features = self.upscale_block(patches)
        batch, _, height, width = features.shape
        # The norm before it is in single precision; in a half-precision graph this product is in half.
        logits = embeddings @ features.to(embeddings.dtype).flatten(2)
        single: Tensor = logits.to(torch.float32).reshape(batch, -1, height, width)
        return single

    def attention_mask(self, logits: Tensor, attends_inside: Tensor | None = None) -> Tensor:
        """What is added to attention scores so that queries look at patches inside of their masks alone.

        Args:
            logits: of the queries' masks, float32 [B, Q, h, w].
            attends_inside: bool [B, Q], False where a query looks at all patches; None is True for all.

        Returns:
            float32 [B, 1, tokens, tokens].
        """
        shape = self.shape
        outside = F.interpolate(logits, size=self.grid, mode="bilinear").flatten(2) <= 0
        if attends_inside is not None:
            outside = outside & attends_inside[..., None]
        of_queries = F.pad(outside.to(torch.float32) * MASKED_OUT, (shape.queries + shape.prefix, 0))
        return F.pad(of_queries, (0, 0, 0, of_queries.shape[2] - shape.queries))[:, None]


class _Embeddings(nn.Module):
    def __init__(self, shape: EomtShape) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.hidden))
        self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.hidden))
        self.patch_embeddings = nn.ModuleDict(
            {"projection": nn.Conv2d(3, shape.hidden, shape.patch, stride=shape.patch)}
        )
        if shape.rope_theta is None:
            self.position_embeddings = nn.Embedding(shape.grid**2, shape.hidden)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embeddings["projection"](pixels).flatten(2).transpose(1, 2)
        if hasattr(self, "position_embeddings"):
            patches = patches + self.position_embeddings.weight
        batch = patches.shape[0]
        prefix = torch.cat([self.cls_token, self.register_tokens], dim=1).expand(batch, -1, -1)
        return torch.cat([prefix, patches], dim=1)


def attend(queries: Tensor, keys: Tensor, values: Tensor, scores_added: Tensor | None) -> Tensor:
    """Mix values by how alike queries and keys are.

    Args:
        queries: [B, heads, tokens, d], divided by the root of d, as keys and values.
        keys: see above.
        values: see above.
        scores_added: float32 [B, 1, tokens, tokens]; None adds nothing.
    """
    # Softmax sums over thousands of tokens: in single precision, whatever the products are in.
    scores = (queries @ keys.transpose(2, 3)).to(torch.float32)
    if scores_added is not None:
        scores = scores + scores_added
    return scores.softmax(dim=-1).to(values.dtype) @ values


class Attention(nn.Module):
    """Every token looks at every other."""

    def __init__(self, shape: EomtShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.scale = shape.head_width**-0.5
        self.attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor] = attend
        """Changed by who runs the network eagerly, where PyTorch has one kernel for it."""
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            bias = name != "k_proj" or shape.key_bias
            self.add_module(name, nn.Linear(shape.hidden, shape.hidden, bias=bias))

    def forward(self, tokens: Tensor, scores_added: Tensor | None, turned_by: Tensor | None) -> Tensor:
        """Mix tokens [B, N, C].

        Args:
            tokens: patches are the last of them.
            scores_added: as of :func:`attend`.
            turned_by: rotary positions of the patches, see :func:`segopt_export.networks.rotary.rotation`.
        """
        batch, count, hidden = tokens.shape
        queries, keys, values = (
            self.get_submodule(name)(tokens).reshape(batch, count, self.heads, -1).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        if turned_by is not None:
            queries, keys = rotate(queries, turned_by), rotate(keys, turned_by)
        if self.scale != 1:
            queries = queries * self.scale
        mixed = self.attend(queries, keys, values, scores_added)
        out: Tensor = self.get_submodule("out_proj")(mixed.transpose(1, 2).reshape(batch, count, hidden))
        return out


class _LayerScale(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.lambda1


class _Mlp(nn.Module):
    def __init__(self, shape: EomtShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.hidden, shape.mlp_ratio * shape.hidden)
        self.fc2 = nn.Linear(shape.mlp_ratio * shape.hidden, shape.hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class _Layer(nn.Module):
    def __init__(self, shape: EomtShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.attention = Attention(shape)
        self.layer_scale1 = _LayerScale(shape.hidden)
        self.norm2 = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.mlp = _Mlp(shape)
        self.layer_scale2 = _LayerScale(shape.hidden)

    def forward(self, tokens: Tensor, scores_added: Tensor | None, turned_by: Tensor | None) -> Tensor:
        tokens = tokens + self.layer_scale1(self.attention(self.norm1(tokens), scores_added, turned_by))
        out: Tensor = tokens + self.layer_scale2(self.mlp(self.norm2(tokens)))
        return out


class _Upscale(nn.Module):
    """Twice the height and width: [B, C, h, w] -> [B, C, 2 h, 2 w]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(hidden, hidden, 2, stride=2)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.layernorm2d = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        features = self.conv2(F.gelu(self.conv1(features)))
        normed: Tensor = self.layernorm2d(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class _UpscaleBlocks(nn.Module):
    def __init__(self, shape: EomtShape) -> None:
        super().__init__()
        self.block = nn.Sequential(*(_Upscale(shape.hidden) for _ in range(shape.upscale_blocks)))

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.block(features)
        return out


class _MaskHead(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        for name in ("fc1", "fc2", "fc3"):
            self.add_module(name, nn.Linear(hidden, hidden))

    def forward(self, queries: Tensor) -> Tensor:
        fc1, fc2, fc3 = self.children()
        out: Tensor = fc3(F.gelu(fc2(F.gelu(fc1(queries)))))
        return out


def fit_to_canvas(model: EoMT, canvas: tuple[int, int], *, whole: bool = False) -> None:
    """Give a network the position embeddings of another canvas than the square it was trained on, in place.

    A canvas inside of the trained square takes the top left part of its embeddings: there a letterboxed frame of
    this aspect lies in the square, so that the network sees what it would see there, without the padding. For a
    larger canvas the square is first enlarged (bicubic, as DINOv2 does) until it covers the canvas. Rotary
    positions are handled alike: they are those of the part, or of a larger square's.

    Args:
        model: its grid is the trained square's.
        canvas: height and width in pixels, multiples of the patch's side.
        whole: resize the square to the canvas, whatever its size: for networks that saw squares full of picture.
    """
    patch, side = model.shape.patch, model.shape.grid
    grid = (canvas[0] // patch, canvas[1] // patch)
    extent = grid if whole else (max(*grid, side),) * 2
    model.place(grid, extent)
    if model.shape.rope_theta is not None:
        return
    square = model.embeddings.position_embeddings.weight.detach().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if extent != (side, side):
        square = F.interpolate(square, size=extent, mode="bicubic", antialias=True)
    cut = square[0, :, : grid[0], : grid[1]].flatten(1).T.contiguous()
    model.embeddings.position_embeddings = nn.Embedding(cut.shape[0], cut.shape[1], _weight=cut)


def fold_attention_scale(model: EoMT) -> None:
    """Move the division by the root of the head's width into the weights of the queries' projections, in place.

    Scores then come out of the product as softmax takes them, eight times smaller for heads of 64, where half
    precision has room for them. A power of two changes no weight's bits.
    """
    for module in model.modules():
        if isinstance(module, Attention) and module.scale != 1:
            projection = module.get_submodule("q_proj")
            with torch.no_grad():
                for values in projection.parameters():
                    values.mul_(module.scale)
            module.scale = 1.0


def for_canvas(model: EoMT, canvas: tuple[int, int], *, whole: bool = False) -> EoMT:
    """A copy of a network, as a static graph has it; arguments as of :func:`fit_to_canvas`."""
    fitted = deepcopy(model)
    fit_to_canvas(fitted, canvas, whole=whole)
    fold_attention_scale(fitted)
    return fitted
