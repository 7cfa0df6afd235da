"""Trains the demo networks on synthetic street scenes.

    python -m segopt_bench.training.train_demo --output DIR

Five stages, each from the files that the ones before it left in DIR; ``--stages`` names some of them. The same
versions of torch, numpy and OpenCV give the same scenes; sums in another order make the weights differ a little.

Steps are small, and a second thread makes them little faster: on two cores, after the first stage, run
``--stages instance instance-refinement panoptic`` and ``--stages semantic-refinement`` side by side with
OMP_NUM_THREADS=1. glibc gives large blocks back to the system after each step and faults them in again; with
MALLOC_TRIM_THRESHOLD_=100000000000 and MALLOC_MMAP_MAX_=0 in the environment a step took two thirds of the
time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD
from segopt_bench.scenes import FEWEST_PIXELS, SEMANTIC_CATEGORIES, STUFF, THINGS, Scene
from segopt_export.networks.mobilenet import fcn_mobilenet_v3_small_fpn, maskrcnn_mobilenet_v3_small_fpn
from segopt_export.networks.panoptic_fpn import panoptic_fpn_mobilenet_v3_small

SIZE = (256, 448)
FIRST_SEED = 100_000
"""Scenes below this seed are held out."""
SEMANTIC_ROUNDS = ((4000, 1e-3), (6000, 1.5e-3))
"""Steps and peak rate of the semantic network's rounds on new scenes."""
MEAN = torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1)
STD = torch.tensor(IMAGENET_STD).reshape(3, 1, 1)

T = TypeVar("T")
Targets = Callable[["Sample"], dict[str, Tensor]]


@dataclass(frozen=True)
class Sample:
    """One rendered scene."""

    frame: NDArray[np.uint8]
    """BGR [H, W, 3]."""
    segments: NDArray[np.uint8]
    """[H, W]: index into ``category_ids``."""
    category_ids: NDArray[np.uint8]


def render(seed: int) -> Sample:
    """Render one scene, with its segments renumbered from 0."""
    scene = Scene(seed).render(*SIZE)
    ids = np.array([segment.id for segment in scene.segments])
    index = np.searchsorted(ids, scene.segment_map).astype(np.uint8)
    return Sample(scene.frame, index, np.array([s.category_id for s in scene.segments], dtype=np.uint8))


def render_all(first: int, count: int) -> list[Sample]:
    """Render scenes of consecutive seeds on all cores."""
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool() as pool:
        samples = list(pool.imap(render, range(first, first + count), chunksize=16))
    print(f"{count} scenes in {time.perf_counter() - began:.0f} s", flush=True)
    return samples


def batches(samples: list[Sample], size: int, generator: torch.Generator) -> Iterator[list[Sample]]:
    """Endless batches, each sample once an epoch; half of them mirrored."""
    while True:
        order = torch.randperm(len(samples), generator=generator).tolist()
        for start in range(0, len(order) - size + 1, size):
            chosen = [samples[i] for i in order[start : start + size]]
            flips = torch.rand(size, generator=generator) < 0.5
            yield [_mirrored(s) if flip else s for s, flip in zip(chosen, flips, strict=True)]


def prefetched(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """The same items, prepared ahead in a thread."""
    ready: queue.Queue[T] = queue.Queue(depth)

    def fill() -> None:
        # Two OpenMP teams on the same cores wait for each other.
        torch.set_num_threads(1)
        for item in items:
            ready.put(item)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield ready.get()


def forked(generator: torch.Generator) -> torch.Generator:
    """A generator of its own for a stream that is prepared in a thread."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=generator)))


def _mirrored(sample: Sample) -> Sample:
    return Sample(sample.frame[:, ::-1].copy(), sample.segments[:, ::-1].copy(), sample.category_ids)


def picture(sample: Sample, generator: torch.Generator) -> Tensor:
    """float32 RGB [3, H, W], 0 to 1, with light and contrast varied a little."""
    rgb = torch.from_numpy(sample.frame[..., ::-1].copy()).permute(2, 0, 1) / 255
    gain, shift = 0.8 + 0.4 * torch.rand(1, generator=generator), 0.1 * torch.randn(1, generator=generator)
    return ((rgb - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def cropped(sample: Sample, size: tuple[int, int], generator: torch.Generator) -> Sample:
    """A part of half to all of the scene's height, at a random place, resized."""
    share = 0.5 + 0.5 * float(torch.rand(1, generator=generator))
    height, width = (round(side * share) for side in sample.segments.shape)
    top, left = (
        int(torch.randint(whole - part + 1, (1,), generator=generator))
        for whole, part in zip(sample.segments.shape, (height, width), strict=True)
    )
    part = np.s_[top : top + height, left : left + width]
    frame = cv2.resize(sample.frame[part], size[::-1], interpolation=cv2.INTER_AREA)
    segments = cv2.resize(sample.segments[part], size[::-1], interpolation=cv2.INTER_NEAREST)
    return Sample(frame.astype(np.uint8), segments.astype(np.uint8), sample.category_ids)


def train_semantic(samples: list[Sample], steps: int, generator: torch.Generator) -> nn.Module:
    """Train the semantic network: on parts at a quarter of the pixels, then on whole scenes.

    Many updates on little are worth more than few on much while a network knows nothing: for the same time,
    batches of 4 reached 58 mIoU where batches of 8 reached 38.
    """
    model: nn.Module = fcn_mobilenet_v3_small_fpn(len(SEMANTIC_CATEGORIES))
    model = model.to(memory_format=torch.channels_last).train()
    pixels = sum(np.bincount(class_map(s).ravel(), minlength=len(SEMANTIC_CATEGORIES)) for s in samples[:500])
    weight = torch.tensor(pixels / np.sum(pixels), dtype=torch.float32).clamp(min=1e-4) ** -0.4
    weight /= weight.mean()
    part = (SIZE[0] // 2, SIZE[1] // 2)
    before = forked(generator)
    parts = prefetched(
        _semantic_batch([cropped(s, part, before) for s in batch], before) for batch in batches(samples, 8, before)
    )

    def rare_weigh_more() -> Tensor:
        images, target = next(parts)
        return F.cross_entropy(model(images)["out"], target, weight=weight)

    optimize("semantic, parts", model, rare_weigh_more, round(0.75 * steps), rate=3e-3)
    return train_on_whole(model, samples, steps - round(0.75 * steps), generator, rate=1.5e-3)


def train_on_whole(
    model: nn.Module, samples: list[Sample], steps: int, generator: torch.Generator, *, rate: float
) -> nn.Module:
    """Train the semantic network on whole scenes, for the overlap that mean IoU measures."""
    model = model.to(memory_format=torch.channels_last).train()
    own = forked(generator)
    scenes = prefetched(_semantic_batch(batch, own) for batch in batches(samples, 4, own))

    def overlap() -> Tensor:
        images, target = next(scenes)
        logits = model(images)["out"]
        return F.cross_entropy(logits, target) + dice_loss(logits, target)

    return optimize("semantic, whole", model, overlap, steps, rate=rate)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient (Milletari et al., 2016), averaged over the classes in the batch."""
    probability = logits.softmax(dim=1)
    truth = F.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).to(probability.dtype)
    both, sizes = (probability * truth).sum((0, 2, 3)), truth.sum((0, 2, 3))
    dice = (2 * both + 1) / (probability.sum((0, 2, 3)) + sizes + 1)
    return (1 - dice)[sizes > 0].mean()


def _semantic_batch(batch: list[Sample], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    images = torch.stack([(picture(s, generator) - MEAN) / STD for s in batch])
    target = torch.stack([torch.from_numpy(class_map(s)).long() for s in batch])
    return images.to(memory_format=torch.channels_last), target


def class_map(sample: Sample) -> NDArray[np.uint8]:
    """Semantic index of each pixel, uint8 [H, W]."""
    result: NDArray[np.uint8] = (sample.category_ids - 1)[sample.segments]
    return result


def train_detector(
    name: str,
    model: Any,
    samples: list[Sample],
    steps: int,
    generator: torch.Generator,
    *,
    rate: float,
    targets: Targets,
) -> nn.Module:
    """Train a network that detects with its own losses.

    Batches are small: the statistics of the backbone's batch norms stay as they are.
    """
    model.transform.min_size, model.transform.max_size = (min(SIZE),), max(SIZE)
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 128
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with_things = [s for s in samples if len(thing_targets(s)["labels"])]
    own = forked(generator)
    stream = prefetched(
        ([picture(s, own) for s in batch], [targets(s) for s in batch]) for batch in batches(with_things, 2, own)
    )

    def loss() -> Tensor:
        losses: dict[str, Tensor] = model(*next(stream))
        return torch.stack(list(losses.values())).sum()

    return optimize(name, model, loss, steps, rate=rate)


def thing_targets(sample: Sample) -> dict[str, Tensor]:
    """Boxes, labels and masks of a scene's things, as torchvision's detectors take them."""
    boxes, labels, masks = [], [], []
    for index, category in enumerate(sample.category_ids.tolist()):
        if category > len(THINGS):
            continue
        mask = sample.segments == index
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if mask.sum() >= FEWEST_PIXELS:
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            labels.append(category)
            masks.append(mask)
    return {
        "boxes": torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.from_numpy(np.array(masks, dtype=np.uint8).reshape(-1, *SIZE)),
    }


def panoptic_targets(sample: Sample) -> dict[str, Tensor]:
    """The same, and the semantic map of :class:`segopt_export.networks.panoptic_fpn.PanopticFPN`."""
    stuff = np.maximum(sample.category_ids.astype(np.int64) - len(THINGS), 0)
    return {**thing_targets(sample), "semantic": torch.from_numpy(stuff[sample.segments])}


def optimize(name: str, model: nn.Module, loss: Callable[[], Tensor], steps: int, *, rate: float) -> nn.Module:
    """AdamW with a one-cycle rate; prints the loss now and then."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    began, running = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        running += (float(value.detach()) - running) / min(step, 200)
        if step % 200 == 0:
            seconds = time.perf_counter() - began
            print(f"{name} {step}/{steps} loss {running:.3f} {seconds:.0f} s", flush=True)
    return model.eval()


def save(model: nn.Module, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    save_file({name: t.contiguous() for name, t in state.items() if "num_batches" not in name}, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


@dataclass(frozen=True)
class Training:
    """The stages of the training; each takes the files that the ones before it left in the folder."""

    folder: Path
    scenes: int
    semantic_steps: int
    instance_steps: int
    instance_refinement_steps: int
    panoptic_steps: int
    seed: int

    def semantic(self) -> None:
        """The semantic network, from nothing."""
        model = train_semantic(self._samples(), self.semantic_steps, self._generator())
        save(model, self.folder / "semantic.safetensors")

    def instance(self) -> None:
        """The instance network, from the semantic one's backbone."""
        state = _load(self.folder / "semantic.safetensors")
        backbone = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
        model = maskrcnn_mobilenet_v3_small_fpn(len(THINGS) + 1)
        model.backbone.load_state_dict(backbone, strict=False)
        trained = self._train_instance(model, self._samples(), self.instance_steps, rate=1e-3)
        save(trained, self.folder / "instance.safetensors")

    def semantic_refinement(self) -> None:
        """The semantic network further, on scenes that are new to it."""
        for number, (steps, rate) in enumerate(SEMANTIC_ROUNDS):
            self.semantic_round(number, steps, rate)

    def semantic_round(self, number: int, steps: int, rate: float) -> None:
        """One round of :meth:`semantic_refinement`."""
        model: nn.Module = fcn_mobilenet_v3_small_fpn(len(SEMANTIC_CATEGORIES))
        path = self.folder / "semantic.safetensors"
        model.load_state_dict(_load(path), strict=False)
        samples = self._new_samples(number)
        save(train_on_whole(model, samples, steps, self._generator(), rate=rate), path)

    def instance_refinement(self) -> None:
        """The instance network further, on scenes that are new to it."""
        model = maskrcnn_mobilenet_v3_small_fpn(len(THINGS) + 1)
        path = self.folder / "instance.safetensors"
        model.load_state_dict(_load(path), strict=False)
        steps = self.instance_refinement_steps
        save(self._train_instance(model, self._new_samples(0), steps, rate=6e-4), path)

    def panoptic(self) -> None:
        """Panoptic FPN, one network in place of both, from the instance network."""
        model = panoptic_fpn_mobilenet_v3_small(len(THINGS) + 1, len(STUFF) + 1)
        model.load_state_dict(_load(self.folder / "instance.safetensors"), strict=False)
        model.semantic_weight = 1.0
        samples = self._samples() + self._new_samples(0)
        steps, generator = self.panoptic_steps, self._generator()
        trained = train_detector("panoptic", model, samples, steps, generator, rate=1e-3, targets=panoptic_targets)
        save(trained, self.folder / "panoptic.safetensors")

    def _train_instance(self, model: nn.Module, samples: list[Sample], steps: int, *, rate: float) -> nn.Module:
        generator = self._generator()
        return train_detector("instance", model, samples, steps, generator, rate=rate, targets=thing_targets)

    def _new_samples(self, number: int) -> list[Sample]:
        count = self.scenes // 2
        return render_all(FIRST_SEED + self.scenes + number * count, count)

    def _samples(self) -> list[Sample]:
        return render_all(FIRST_SEED, self.scenes)

    def _generator(self) -> torch.Generator:
        torch.manual_seed(self.seed)
        return torch.Generator().manual_seed(self.seed)


STAGES: dict[str, Callable[[Training], None]] = {
    "semantic": Training.semantic,
    "instance": Training.instance,
    "semantic-refinement": Training.semantic_refinement,
    "instance-refinement": Training.instance_refinement,
    "panoptic": Training.panoptic,
}


def main() -> None:
    """Run the stages that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--semantic-steps", type=int, default=8000)
    parser.add_argument("--instance-steps", type=int, default=7500)
    parser.add_argument("--instance-refinement-steps", type=int, default=2500)
    parser.add_argument("--panoptic-steps", type=int, default=7000)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    stages = options.pop("stages")
    training = Training(options.pop("output"), **options)
    training.folder.mkdir(parents=True, exist_ok=True)
    for name in stages:
        STAGES[name](training)


def _load(path: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path).items()}


if __name__ == "__main__":
    main()
