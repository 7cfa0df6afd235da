"""Weights files: small good files of each kind, in the forms that PyTorch, NumPy and safetensors write."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.attempts import FaultError, Outcome
from fuzzing.mutators import damaged
from segopt.errors import ExportError


def prepare(suffix: str, good: Path) -> Callable[[Random, Path], Outcome]:
    """Damaged bytes of files with this suffix, read as far as their tensors."""
    import torch

    from segopt_export.weights.checkpoint import read_groups

    samples = _samples(suffix, good)

    def attempt(chance: Random, case: Path) -> Outcome:
        path = case / "in" / f"weights{suffix}"
        path.write_bytes(damaged(chance.choice(samples), samples, chance))
        try:
            for tensors in read_groups(path).values():
                for value in tensors.values():
                    if value.numel() >= 1000:
                        raise FaultError(f"gives a tensor of {list(value.shape)}")
                    value.to(torch.float64).sum().item()
        except ExportError as error:
            if "\n" in str(error) or path.name not in str(error) or len(str(error)) > 1500:
                raise FaultError(f"not one line that names the file: {str(error)[:500]!r}") from None
            return "refused"
        return "right"

    return attempt


def _samples(suffix: str, folder: Path) -> list[bytes]:
    import torch
    from safetensors.torch import save_file

    state = {f"layer.{i}.weight": torch.arange(6.0).reshape(2, 3) + i for i in range(4)}
    arrays = {name: value.numpy() for name, value in state.items()}
    torch.save({"model": state, "epoch": 3, "best": np.float32(1)}, folder / "new.pth")
    torch.save({"model": state, "epoch": 3}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "new.pkl").write_bytes(pickle.dumps({"model": arrays, "best": np.float64(1)}, protocol=2))
    (folder / "old.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol=4))
    save_file(state, folder / "new.safetensors")
    return [path.read_bytes() for path in sorted(folder.glob(f"*{suffix}"))]
