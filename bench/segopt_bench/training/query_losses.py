"""What a query network's answers cost: queries matched to segments, then classes and masks compared.

The losses of Mask2Former (Cheng et al., 2022, section 3.3), which EoMT is trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segopt_bench.training.mask_points import at_points, random_points, unsure_points


@dataclass(frozen=True)
class Segments:
    """The true segments of one picture."""

    labels: Tensor
    """int64 [S]: class indices."""
    masks: Tensor
    """uint8 [S, H, W], of one size within a batch."""

    def to(self, device: str) -> Segments:
        """The same on a device."""
        return Segments(self.labels.to(device), self.masks.to(device))


Matches = list[tuple[Tensor, Tensor]]
"""For each picture, indices of queries and of the segments that they stand for, int64 [M] both."""


@dataclass(frozen=True)
class QueryLoss:
    """The loss of one answer; its weights are those of the paper."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    """Of queries without a segment among the classes' losses: most of them have none."""
    points: int = 12544
    """Of a mask, at which it is compared."""
    oversampling: float = 3.0
    unsure_share: float = 0.75
    """See :func:`segopt_bench.training.mask_points.unsure_points`."""

    def __call__(
        self,
        masks: Tensor,
        classes: Tensor,
        truth: Sequence[Segments],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses of one answer for a batch of pictures.

        Args:
            masks: mask logits float32 [B, Q, h, w].
            classes: class logits float32 [B, Q, C + 1], "no object" last.
            truth: of each picture.
            generator: of the points; None is torch's own.

        Returns:
            ``classes``, ``mask`` and ``dice``, each a number with its gradient. The masks' are sums over all
            pairs, divided by how many segments the batch has.
        """
        matches = self.match(masks, classes, truth, generator)
        cross_entropy = class_loss(classes, truth, matches, self.no_object_weight)
        mask, dice = self._mask_losses(masks, truth, matches, generator)
        return {
            "classes": self.class_weight * cross_entropy,
            "mask": self.mask_weight * mask,
            "dice": self.dice_weight * dice,
        }

    def match(
        self,
        masks: Tensor,
        classes: Tensor,
        truth: Sequence[Segments],
        generator: torch.Generator | None = None,
    ) -> Matches:
        """Which query stands for which segment: the pairs that cost least in all. Arguments as of a call."""
        found: Matches = []
        with torch.no_grad():
            for logits, scores, segments in zip(masks, classes, truth, strict=True):
                points = random_points(self.points, logits, generator)
                cost = -self.class_weight * scores.softmax(dim=-1)[:, segments.labels]
                if len(segments.labels):
                    pairs = at_points(logits, points), at_points(segments.masks.float(), points)
                    cost = cost + self.mask_weight * pairwise_cross_entropy(*pairs)
                    cost = cost + self.dice_weight * pairwise_dice(*pairs)
                found.append(assign(cost))
        return found

    def _mask_losses(
        self,
        masks: Tensor,
        truth: Sequence[Segments],
        matches: Matches,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        paired = torch.cat([logits[queries] for logits, (queries, _) in zip(masks, matches, strict=True)])
        if not len(paired):
            # Nothing to compare; the sum of nothing still has a gradient, of zeros.
            return paired.sum(), paired.sum()
        wanted = torch.cat(
            [segments.masks[chosen].float() for segments, (_, chosen) in zip(truth, matches, strict=True)]
        )
        with torch.no_grad():
            points = unsure_points(
                paired,
                self.points,
                oversampling=self.oversampling,
                share=self.unsure_share,
                generator=generator,
            )
            labels = at_points(wanted, points)
        logits = at_points(paired, points)
        segments_in_all = max(1, sum(len(segments.labels) for segments in truth))
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1)
        return entropy.sum() / segments_in_all, dice_loss(logits, labels).sum() / segments_in_all


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The assignment of least cost (the Hungarian method), as many pairs as the shorter side has.

    Args:
        cost: float32 [Q, S]; what is no number is taken last.

    Returns:
        Indices of rows, ascending, and of their columns, int64 on the device of ``cost``.
    """
    from scipy.optimize import linear_sum_assignment

    largest = torch.finfo(cost.dtype).max
    sound = torch.nan_to_num(cost, nan=largest, posinf=largest, neginf=largest)
    rows, columns = linear_sum_assignment(sound.cpu().numpy())
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)


def pairwise_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of every mask with every segment, [Q, P] and [S, P] -> [Q, S]."""
    # -y log(p) - (1 - y) log(1 - p) is softplus(x) - y x of the logit x.
    return (F.softplus(logits).sum(dim=1)[:, None] - logits @ labels.T) / logits.shape[1]


def pairwise_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """:func:`dice_loss` of every mask with every segment, [Q, P] and [S, P] -> [Q, S]."""
    probability = logits.sigmoid()
    sizes = probability.sum(dim=1)[:, None] + labels.sum(dim=1)
    return 1 - (2 * probability @ labels.T + 1) / (sizes + 1)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the soft Dice coefficient (Milletari et al., 2016) of each mask, [N, P] twice -> [N]."""
    probability = logits.sigmoid()
    both, sizes = (probability * labels).sum(dim=1), probability.sum(dim=1) + labels.sum(dim=1)
    return 1 - (2 * both + 1) / (sizes + 1)


def class_loss(classes: Tensor, truth: Sequence[Segments], matches: Matches, no_object_weight: float) -> Tensor:
    """Cross-entropy of all queries, whose class is their segment's, or "no object" where they have none.

    Args:
        classes: class logits float32 [B, Q, C + 1], "no object" last.
        truth: of each picture.
        matches: of :meth:`QueryLoss.match`.
        no_object_weight: of a query without a segment in the mean, in which others have 1.
    """
    nothing = classes.shape[2] - 1
    wanted = torch.full(classes.shape[:2], nothing, dtype=torch.int64, device=classes.device)
    for row, segments, (queries, chosen) in zip(wanted, truth, matches, strict=True):
        row[queries] = segments.labels[chosen]
    weight = torch.ones(nothing + 1, device=classes.device)
    weight[nothing] = no_object_weight
    return F.cross_entropy(classes.transpose(1, 2), wanted, weight=weight)
