"""Trains EoMT on COCO panoptic data: other classes on weights that there are, or all of it from nothing.

    python -m segopt_bench.training.train_eomt --data DIR --start FOLDER --output model
    segopt export --mode panoptic --network eomt --weights model

DIR is laid out as for `segopt eval`; FOLDER is an EoMT in Hugging Face's form, or a model of its hub. The recipe
is that of the authors: AdamW, rates that fall layer by layer and polynomially in time, an encoder that waits until
the heads know something, large-scale jitter, losses in front of each of the last blocks, and masks of attention
that are annealed away block by block. The folder is complete whenever it is saved; `segopt export` refuses what
was saved while masks were being annealed. Killed, a training goes on from its last checkpoint with --resume.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segopt.errors import ExportError, SegoptError
from segopt.files.atomic import make_folder, replacing
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD
from segopt_bench.evaluation import open_data
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.requirements import need_training_packages
from segopt_bench.training.eomt_folder import WEIGHTS, write_eomt_folder
from segopt_bench.training.eomt_options import SCRATCH, Settings, parse, settings_of, shape_of, shape_problem
from segopt_bench.training.panoptic_samples import batches, draws
from segopt_bench.training.query_losses import QueryLoss, Segments
from segopt_bench.training.query_samples import QuerySamples, collated
from segopt_bench.training.query_schedules import Warmup, mask_probabilities, parameter_groups, set_rates
from segopt_bench.training.query_training import (
    OnCanvas,
    answers,
    for_square,
    initialize,
    losses,
    with_classes,
)
from segopt_export.networks.eomt import EoMT, EomtShape
from segopt_export.networks.table import ANY_EOMT, find_network
from segopt_export.weights.eomt import load_eomt
from segopt_export.weights.eomt_config import CONFIG, MAX_CLASSES
from segopt_export.weights.loading import WeightsRequest

CHECKPOINT = "checkpoint.pth"
_WEIGHT_DECAY = 0.05
_LARGEST_GRADIENT = 0.01
"""Norm to which gradients are cut."""


@dataclass
class Training:
    """A network on its canvas, and how far its training is."""

    network: OnCanvas
    classes: Sequence[TruthClass]
    settings: Settings
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def of(cls, model: EoMT, classes: Sequence[TruthClass], settings: Settings, device: str) -> Training:
        """One that begins, with the network as it is."""
        network = OnCanvas(model, settings.canvas)
        model.to(device).train()
        groups = parameter_groups(model, settings.rate, settings.layer_decay)
        return cls(network, classes, settings, torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY))

    @property
    def probabilities(self) -> list[float]:
        """Block by block, that a query attends inside of its mask alone, now."""
        model = self.network.model
        if not self.settings.anneal:
            return [1.0] * model.shape.blocks
        return mask_probabilities(self.step, self.settings.steps, model.shape.blocks)

    def take(self, pictures: Tensor, truth: Sequence[Segments], device: str) -> dict[str, float]:
        """One step; the losses by name.

        Args:
            pictures: uint8 [B, 3, H, W], RGB.
            truth: of each.
            device: where the network is.

        Raises:
            ExportError: the losses are no numbers any more.
        """
        model, settings = self.network.model, self.settings
        warm = Warmup(*settings.warmup).shortened(settings.steps)
        set_rates(self.optimizer.param_groups, self.step, settings.steps, warm)
        # One seed a step: a training that goes on draws what it would have drawn.
        generator = torch.Generator(device).manual_seed(settings.seed * 1_000_003 + self.step)
        found = answers(model, _normalized(pictures, device), self.probabilities, generator)
        parts = losses(QueryLoss(points=settings.points), found, [s.to(device) for s in truth], generator)
        total = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(total):
            raise ExportError("training diverged: the losses are no numbers any more; take a smaller --rate")
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return {name: float(part.detach()) for name, part in parts.items()}

    def save(self, folder: Path) -> None:
        """Write the folder, and the checkpoint that a training goes on from."""
        shape = self.network.model.shape
        state = self.network.state()
        write_eomt_folder(folder, shape, state, self.classes, self.probabilities)
        content = {
            "model": state,
            "shape": asdict(shape),
            "classes": [asdict(entry) for entry in self.classes],
            "settings": asdict(self.settings),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        with replacing(folder / CHECKPOINT) as temporary:
            torch.save(content, temporary)
        print(f"{folder}: step {self.step}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or say in one line why not."""
    options = parse(arguments, __doc__)
    try:
        train(options)
    except SegoptError as error:
        sys.exit(f"train_eomt: error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"stopped; --resume goes on from the last checkpoint in {options.output}")


def train(options: argparse.Namespace) -> None:
    """Train by the command line's options.

    Raises:
        SegoptError: data or weights cannot be had or do not fit.
    """
    need_training_packages("training EoMT")
    data = open_data(options.data)
    training = resumed(options) if options.resume else begun(options, QuerySamples(data, (32, 32), (1, 1)))
    settings = training.settings
    samples = QuerySamples(data, settings.canvas, settings.scales)
    classes = [*samples.things, *samples.stuff]
    if classes != list(training.classes):
        raise ExportError(
            f"{options.data}: has other classes than {options.output / CHECKPOINT}; use its own data"
        )
    make_folder(options.output)
    drawn = draws(len(samples), settings.batch, training.step, settings.steps, settings.seed)
    began = time.perf_counter()
    for batch in batches(samples, drawn, options.workers):
        parts = training.take(*collated(batch), options.device)
        done = training.step
        if done % 20 == 0 or done == settings.steps:
            listed = ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"{done}/{settings.steps} {time.perf_counter() - began:.0f} s: {listed}", flush=True)
        if done % options.save_every == 0 or done == settings.steps:
            training.save(options.output)


def begun(options: argparse.Namespace, samples: QuerySamples) -> Training:
    """A training from its beginning.

    Raises:
        ExportError: sizes or weights do not fit, or the folder holds a training.
    """
    for name in (CHECKPOINT, WEIGHTS, CONFIG):
        if (options.output / name).exists():
            raise ExportError(f"{options.output}: holds {name} already; give --resume, or another folder")
    classes = [*samples.things, *samples.stuff]
    if len(classes) > MAX_CLASSES:
        raise ExportError(f"{options.data}: has {len(classes)} classes, and segopt takes 1 to {MAX_CLASSES}")
    torch.manual_seed(options.seed or 0)
    generator = torch.Generator().manual_seed(options.seed or 0)
    if options.start == SCRATCH:
        canvas = options.canvas or (640, 640)
        shape = shape_of(options, len(classes), max(canvas))
        if problem := shape_problem(shape):
            raise ExportError(problem)
        model = EoMT(shape)
        initialize(model, generator)
    else:
        model, canvas = started(options, classes, generator)
    settings = settings_of(options, canvas)
    return Training.of(model, classes, settings, options.device)


def started(
    options: argparse.Namespace, classes: Sequence[TruthClass], generator: torch.Generator
) -> tuple[EoMT, tuple[int, int]]:
    """The network of --start for the data's classes, and the canvas to train it on."""
    given = load_eomt(find_network(ANY_EOMT, "panoptic"), WeightsRequest(options.start))
    model = given.model
    assert isinstance(model, EoMT)
    old, new = [entry.name for entry in given.classes], [entry.name for entry in classes]
    anew = [name for name in new if name not in old]
    if anew:
        print(f"classes that {options.start} does not know, trained anew: {', '.join(anew)}", flush=True)
    model = with_classes(model, old, new, generator)
    canvas = options.canvas or (model.shape.side,) * 2
    return for_square(model, max(canvas)), canvas


def resumed(options: argparse.Namespace) -> Training:
    """A training as its checkpoint has it.

    Raises:
        ExportError: there is no checkpoint, or it is damaged.
    """
    path = options.output / CHECKPOINT
    saved = _read_checkpoint(path)
    try:
        settings = Settings(**saved["settings"])
        model = EoMT(EomtShape(**saved["shape"]))
        model.load_state_dict(saved["model"])
        classes = [TruthClass(**entry) for entry in saved["classes"]]
        training = Training.of(model, classes, settings, options.device)
        training.optimizer.load_state_dict(saved["optimizer"])
        training.step = saved["step"]
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExportError(f"{path}: is no checkpoint of this script ({type(error).__name__})") from None
    if training.step >= training.settings.steps:
        raise ExportError(f"{path}: its training is done, after {training.step} steps; give it with --start")
    return training


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ExportError(f"{path}: no such checkpoint to resume; give --start") from None
    except Exception as error:
        raise ExportError(f"{path}: is damaged or no checkpoint ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ExportError(f"{path}: is no checkpoint of this script")
    return content


def _normalized(pictures: Tensor, device: str) -> Tensor:
    mean, std = (torch.tensor(v, device=device).reshape(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures.to(device).float() / 255 - mean) / std


if __name__ == "__main__":
    main()
