"""A wrapped model against the file of another maker that it came from."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segopt.errors import SegoptError
from segopt.frame import Frame
from segopt.letterbox import Prepared
from segopt.model.card import Card
from segopt.results import Result
from segopt.segmenter import Segmenter
from segopt.stages import Stages
from segopt_bench.latency.contenders import Missing
from segopt_bench.latency.rounds import Contender

if TYPE_CHECKING:
    from segopt_export.wrapping.recorded import Original

_NAME = "the original file"


def is_wrapped(card: Card) -> bool:
    """Whether a model was made of one file of another maker, so that PyTorch has no network of it."""
    return "kind" in card.settings.get(card.mode, {})


class OriginalStages(Stages):
    """The original file in ONNX Runtime on the CPU, NumPy around it; frames and masks are segopt's.

    Args:
        original: the file.
        segmenter: of the wrapped model, for what is not the network's.
    """

    def __init__(self, original: Original, segmenter: Segmenter) -> None:
        self._original, self._segmenter = original, segmenter

    @property
    def batch(self) -> int:
        """How many frames it takes at once."""
        return self._segmenter.batch

    def prepare(self, frames: Sequence[Frame], /) -> Prepared:
        """Letterbox or stretch, as the runtime does."""
        return self._segmenter.prepare(frames)

    def infer(self, prepared: Prepared, /) -> dict[str, Any]:
        """Normalize, run the network, and read its answer."""
        return self._original(prepared.image)

    def decode(self, prepared: Prepared, outputs: Any, /) -> list[Any]:
        """As the runtime does."""
        return self._segmenter.decode(prepared, outputs)

    def assemble(self, found: Any, /) -> Result:
        """As the runtime does."""
        return self._segmenter.assemble(found)


def original_contenders(
    card: Card, segmenter: Segmenter, files: Mapping[str, Path]
) -> tuple[list[Contender], list[Missing]]:
    """The original file as a contender, or why it is none.

    Args:
        card: of the wrapped model.
        segmenter: of it.
        files: by branch, the original file.
    """
    path = files.get(card.mode)
    if path is None:
        name = card.weights[card.mode].name
        return [], [Missing(_NAME, f"give it with --weights: the {name} that the model was made of")]
    if importlib.util.find_spec("onnx") is None:
        return [], [Missing(_NAME, "onnx is not installed: pip install 'segopt[wrap]'")]
    import onnxruntime

    from segopt_export.wrapping.recorded import original_of

    try:
        original = original_of(card, path)
    except SegoptError as error:
        return [], [Missing(_NAME, str(error))]
    name = f"{path.name} in ONNX Runtime {onnxruntime.__version__} (CPU), read with NumPy"
    return [Contender(name, card.precision, OriginalStages(original, segmenter))], []
