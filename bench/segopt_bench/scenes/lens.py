"""What a camera does to a picture: fall-off, softness, noise and compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.frame import Frame
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.textures import TILE, Floats, noise


@dataclass(frozen=True)
class Lens:
    """The faults of one camera."""

    exposure: float
    cast: tuple[float, float, float]
    """Factors of blue, green and red."""
    contrast: float
    vignette: float
    """Loss of light in the corners, 0 to 1."""
    softness: float
    """Deviation of the blur, in thousandths of the picture's height."""
    noise: float
    """Deviation, in steps of 1/255."""
    quality: int
    """Of JPEG, 1 to 100; 0 is no compression."""

    def expose(self, picture: Floats, *, seed: int) -> Frame:
        """Take the picture.

        Args:
            picture: float32 [H, W, 3], BGR, 0 to 255.
            seed: of the noise.

        Returns:
            uint8 [H, W, 3], BGR.
        """
        height, width = picture.shape[:2]
        gain = np.array(self.cast, dtype=np.float32) * np.float32(self.exposure * self.contrast)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
        fall = 1 - np.float32(self.vignette / 2) * (x + y)
        result = picture * (fall[..., None] * gain) + np.float32(128 * (1 - self.contrast))
        sigma = self.softness * height / 1000
        if sigma > 0.25:
            result = np.asarray(cv2.GaussianBlur(result, (0, 0), sigma), dtype=np.float32)
        result += self._noise(height, width, seed)
        frame: NDArray[np.uint8] = np.clip(result + np.float32(0.5), 0, 255).astype(np.uint8)
        if self.quality:
            _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            frame = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
        return frame

    def _noise(self, height: int, width: int, seed: int) -> Floats:
        tile = noise(0.0, 9) * np.float32(self.noise)
        dice = Dice(seed, "noise")
        channels = []
        for _ in range(3):
            rows = (np.arange(height) + dice.integer(0, TILE - 1)) % TILE
            columns = (np.arange(width) + dice.integer(0, TILE - 1)) % TILE
            channels.append(tile[np.ix_(rows, columns)])
        return np.stack(channels, axis=-1)


def random_lens(dice: Dice) -> Lens:
    """From a good camera to a poor one."""
    poor = dice.uniform(0, 1) ** 2
    warm = dice.uniform(-0.05, 0.05)
    return Lens(
        exposure=dice.uniform(0.95, 1.2),
        cast=(1 - warm, 1 + dice.uniform(-0.015, 0.015), 1 + warm),
        contrast=dice.uniform(0.92, 1.12),
        vignette=dice.uniform(0, 0.25),
        softness=dice.uniform(0.2, 1.2) + 2.6 * poor,
        noise=dice.uniform(0.8, 2.0) + 6 * poor * dice.uniform(0, 1),
        quality=round(95 - 45 * poor) if dice.chance(0.75) else 0,
    )
