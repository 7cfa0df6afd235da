"""Trains the demo networks on synthetic street scenes.

    python -m segopt_bench.train_demo --output DIR

About an hour on two CPU cores. The same versions of torch, numpy and OpenCV give the same scenes; sums in another
order make the weights differ a little from run to run. glibc gives large blocks back to the system after each step
and faults them in again; with MALLOC_TRIM_THRESHOLD_=100000000000 and MALLOC_MMAP_MAX_=0 in the environment a step
took two thirds of the time.
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

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segopt_bench.scenes import FEWEST_PIXELS, SEMANTIC_CATEGORIES, THINGS, Scene
from segopt_export.exporter import IMAGENET_MEAN, IMAGENET_STD
from segopt_export.small_networks import lraspp_mobilenet_v3_small, maskrcnn_mobilenet_v3_small_fpn

SIZE = (256, 448)
FIRST_SEED = 100_000
"""Scenes below this seed are held out."""
MEAN = torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1)
STD = torch.tensor(IMAGENET_STD).reshape(3, 1, 1)

T = TypeVar("T")


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


def render_all(count: int) -> list[Sample]:
    """Render the training scenes on all cores."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    with multiprocessing.get_context("spawn").Pool() as pool:
        return list(pool.imap(render, seeds, chunksize=16))


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


def _mirrored(sample: Sample) -> Sample:
    return Sample(sample.frame[:, ::-1].copy(), sample.segments[:, ::-1].copy(), sample.category_ids)


def picture(sample: Sample, generator: torch.Generator) -> Tensor:
    """float32 RGB [3, H, W], 0 to 1, with light and contrast varied a little."""
    rgb = torch.from_numpy(sample.frame[..., ::-1].copy()).permute(2, 0, 1) / 255
    gain, shift = 0.8 + 0.4 * torch.rand(1, generator=generator), 0.1 * torch.randn(1, generator=generator)
    return ((rgb - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def train_semantic(samples: list[Sample], steps: int, generator: torch.Generator) -> nn.Module:
    """Train the semantic network with cross entropy, rare classes weighted up."""
    model: nn.Module = lraspp_mobilenet_v3_small(len(SEMANTIC_CATEGORIES))
    model = model.to(memory_format=torch.channels_last).train()
    stream = prefetched(_semantic_batch(batch, generator) for batch in batches(samples, 8, generator))
    pixels = sum(np.bincount(class_map(s).ravel(), minlength=len(SEMANTIC_CATEGORIES)) for s in samples[:500])
    weight = torch.tensor(pixels / np.sum(pixels), dtype=torch.float32).clamp(min=1e-4) ** -0.4
    weight /= weight.mean()

    def loss() -> Tensor:
        images, target = next(stream)
        logits = model(images)["out"]
        return F.cross_entropy(logits, target, weight=weight)

    return optimise("semantic", model, loss, steps, rate=3e-3)


def _semantic_batch(batch: list[Sample], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    images = torch.stack([(picture(s, generator) - MEAN) / STD for s in batch])
    target = torch.stack([torch.from_numpy(class_map(s)).long() for s in batch])
    return images.to(memory_format=torch.channels_last), target


def class_map(sample: Sample) -> NDArray[np.uint8]:
    """Semantic index of each pixel, uint8 [H, W]."""
    result: NDArray[np.uint8] = (sample.category_ids - 1)[sample.segments]
    return result


def train_instance(
    samples: list[Sample], steps: int, generator: torch.Generator, backbone: dict[str, Tensor]
) -> nn.Module:
    """Train the instance network with torchvision's own losses, from the semantic network's backbone."""
    model: Any = maskrcnn_mobilenet_v3_small_fpn(len(THINGS) + 1)
    model.backbone.body.load_state_dict(backbone, strict=False)
    model.transform.min_size, model.transform.max_size = (min(SIZE),), max(SIZE)
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 128
    model.train()
    with_things = [s for s in samples if len(targets(s)["labels"])]
    stream = prefetched(
        ([picture(s, generator) for s in batch], [targets(s) for s in batch])
        for batch in batches(with_things, 4, generator)
    )

    def loss() -> Tensor:
        losses: dict[str, Tensor] = model(*next(stream))
        return torch.stack(list(losses.values())).sum()

    trained: nn.Module = optimise("instance", model, loss, steps, rate=1.5e-3)
    return trained


def targets(sample: Sample) -> dict[str, Tensor]:
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


def optimise(name: str, model: nn.Module, loss: Callable[[], Tensor], steps: int, *, rate: float) -> nn.Module:
    """AdamW with a one-cycle rate; prints the loss now and then."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    began, running = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        value = loss()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        running += (float(value.detach()) - running) / min(step, 100)
        if step % 100 == 0:
            seconds = time.perf_counter() - began
            print(f"{name} {step}/{steps} loss {running:.3f} {seconds:.0f} s", flush=True)
    return model.eval()


def save(model: nn.Module, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    save_file({name: t.contiguous() for name, t in state.items() if "num_batches" not in name}, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def main() -> None:
    """Render, train and save both networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--semantic-steps", type=int, default=3000)
    parser.add_argument("--instance-steps", type=int, default=5500)
    parser.add_argument(
        "--keep-semantic", action="store_true", help="train the instance network from DIR/semantic.safetensors"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    began = time.perf_counter()
    samples = render_all(options.scenes)
    print(f"{len(samples)} scenes in {time.perf_counter() - began:.0f} s", flush=True)
    semantic_file = options.output / "semantic.safetensors"
    if not options.keep_semantic:
        save(train_semantic(samples, options.semantic_steps, generator), semantic_file)
    state = {name: t.float() for name, t in load_file(semantic_file).items()}
    backbone = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
    instance = train_instance(samples, options.instance_steps, generator, backbone)
    save(instance, options.output / "instance.safetensors")


if __name__ == "__main__":
    main()
