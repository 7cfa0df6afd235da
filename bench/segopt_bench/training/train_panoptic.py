"""Trains Panoptic FPN on COCO panoptic data, or goes on with one that was trained on other classes.

    python -m segopt_bench.training.train_panoptic --data DIR --output model.pth
    segopt export --mode panoptic --network panoptic_fpn_resnet50 --weights model.pth --classes model.json

DIR is laid out as for `segopt eval`. The recipe is that of the paper and of Detectron2's 1x and 3x schedules: SGD
with momentum, 0.00125 a picture, warm-up, two drops; stem and first stage fixed. Killed, it goes on from its last
checkpoint when it is called again with --resume.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segopt.errors import ExportError, SegoptError
from segopt.files.atomic import make_folder, replacing, write_json
from segopt_bench.evaluation import open_data
from segopt_bench.training.panoptic_samples import PanopticSamples, batches, categories_of, draws
from segopt_export.networks.table import NETWORKS, find_network
from segopt_export.weights.loading import WeightsRequest, load_weights

RATE_PER_PICTURE = 0.02 / 16
WARM_UP = 1000
DROPS = (7 / 9, 25 / 27)
"""Shares of the steps after which the rate is a tenth: those of the 3x schedule."""


def main() -> None:
    """Train, or say in one line why not."""
    options = parse()
    try:
        train(options)
    except SegoptError as error:
        sys.exit(f"train_panoptic: error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"stopped; --resume goes on from {options.output}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = [network.name for network in NETWORKS.values() if network.branch == "panoptic"]
    parser.add_argument("--data", type=Path, required=True, help="folder with COCO panoptic ground truth")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint, .pth; classes go beside it")
    parser.add_argument("--network", choices=networks, default="panoptic_fpn_resnet50")
    parser.add_argument("--start", default="default", help="default (trained on COCO), none, or a weights file")
    parser.add_argument("--resume", action="store_true", help="go on from --output")
    parser.add_argument("--steps", type=int, default=90_000)
    parser.add_argument("--batch", type=int, default=2, help="pictures a step")
    parser.add_argument("--rate", type=float, default=None, help="of learning; 0.00125 a picture")
    parser.add_argument("--short-sides", type=int, nargs="+", default=[640, 672, 704, 736, 768, 800])
    parser.add_argument("--longest", type=int, default=1333)
    parser.add_argument("--save-every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--workers", type=int, default=2, help="processes that load pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """Train by the command line's options.

    Raises:
        SegoptError: data or weights cannot be had or do not fit.
    """
    samples = PanopticSamples(open_data(options.data), options.short_sides, options.longest)
    torch.manual_seed(options.seed)
    model = find_network(options.network, "panoptic").build(len(samples.things) + 1, len(samples.stuff) + 1)
    rate = RATE_PER_PICTURE * options.batch if options.rate is None else options.rate
    begun = 0
    if options.resume:
        saved = _read_checkpoint(options.output)
        begun = saved["step"]
    elif options.start != "none":
        start_from(model, options.network, options.start)
    if NETWORKS[options.network].zoo_file is not None:
        fix_first_stages(model)
    model.to(options.device).train()
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=rate, momentum=0.9, weight_decay=1e-4
    )
    if options.resume:
        _restore(model, optimizer, saved, options.output)
    make_folder(options.output.parent)
    write_classes(samples, options.output.with_suffix(".json"))
    drawn = draws(len(samples), options.batch, begun, options.steps, options.seed)
    began = time.perf_counter()
    for step, batch in enumerate(batches(samples, drawn, options.workers), start=begun):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(step, options.steps)
        losses = one_step(model, optimizer, batch, options.device)
        done = step + 1
        if done % 20 == 0 or done == options.steps:
            parts = ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in losses.items())
            print(f"{done}/{options.steps} {time.perf_counter() - began:.0f} s: {parts}", flush=True)
        if done % options.save_every == 0 or done == options.steps:
            save(model, optimizer, done, options.output)


def one_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: list[Any], device: str
) -> dict[str, float]:
    """One step on some samples; the losses by name.

    Raises:
        ExportError: the losses are no numbers any more.
    """
    pictures = [picture.to(device) for picture, _ in batch]
    targets = [{name: t.to(device) for name, t in target.items()} for _, target in batch]
    losses: dict[str, Tensor] = model(pictures, targets)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        raise ExportError("training diverged: the losses are no numbers any more; take a smaller --rate")
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def schedule(step: int, steps: int) -> float:
    """Share of the rate at a step."""
    warm = min(1.0, 1e-3 + (1 - 1e-3) * step / min(WARM_UP, max(1, steps // 10)))
    return warm * 0.1 ** sum(step >= share * steps for share in DROPS)


def start_from(model: nn.Module, network: str, start: str) -> None:
    """Take over every tensor of other weights that fits; layers of other classes stay as they are.

    Raises:
        ExportError: the weights cannot be had, or are of another network.
    """
    given = load_weights(find_network(network, "panoptic"), WeightsRequest(start)).model.state_dict()
    own = model.state_dict()
    kept = [name for name, tensor in own.items() if given[name].shape != tensor.shape]
    model.load_state_dict({name: given[name] for name in own if name not in kept}, strict=False)
    layers = sorted({name.rpartition(".")[0] for name in kept})
    if layers:
        print(f"trained anew, since the classes are others: {', '.join(layers)}", flush=True)


def fix_first_stages(model: Any) -> None:
    """Fix stem and first stage of a ResNet, as fine-tuning does."""
    body = model.backbone.body
    for stage in (body.conv1, body.layer1):
        stage.requires_grad_(False)


def save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    """Write a checkpoint that `segopt export` and --resume read."""
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with replacing(path) as temporary:
        torch.save(content, temporary)
    print(f"{path}: step {step}", flush=True)


def write_classes(samples: PanopticSamples, path: Path) -> None:
    """The classes in the order of the network's own, as --classes takes them."""
    write_json(path, categories_of([*samples.things, *samples.stuff]))


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if {"model", "optimizer", "step"} <= set(content):
            return content
    except FileNotFoundError:
        raise ExportError(f"{path}: no such checkpoint to resume; leave --resume out") from None
    except Exception as error:
        raise ExportError(f"{path}: is damaged or no checkpoint ({type(error).__name__})") from None
    raise ExportError(f"{path}: is no checkpoint of this script; give it with --start")


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    except (RuntimeError, ValueError):
        raise ExportError(f"{path}: is of another network or of other classes; resume with its own") from None


if __name__ == "__main__":
    main()
