"""Batch norms folded into the convolutions before them.

A trained batch norm is one factor and one offset per channel. Folded in single precision it costs nothing, and
half precision then rounds one weight instead of a weight, a variance and two intermediate results.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d


def fold_norms(module: nn.Module) -> None:
    """Fold every batch norm that is registered right behind its convolution, in place.

    torchvision registers both in the order in which it calls them, as attributes of a block (``conv1``, ``bn1``)
    or in a ``Sequential``. A norm that stands elsewhere is left as it is.

    Args:
        module: in eval mode.
    """
    for parent in list(module.modules()):
        for (_, first), (name, second) in pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and _is_fixed_norm(second, first.out_channels):
                _fold(first, second)
                setattr(parent, name, nn.Identity())


def _is_fixed_norm(module: Any, channels: int) -> bool:
    if not isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d) or module.running_mean is None:
        return False
    return len(module.running_mean) == channels


def _fold(conv: nn.Conv2d, norm: Any) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
