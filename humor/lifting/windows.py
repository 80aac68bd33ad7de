"""Windows of a motion store as 2D joints, and the 3D joints of their middle frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.store import MotionStore
from ..data.windows import FRAMES
from ..errors import SettingError
from ..training.seeded_noise import generator
from .cameras import Noise, add_detector_noise, draw_cameras, mirror, smpl_to_h36m_joints


@dataclass(frozen=True, eq=False)
class LiftingBatch:
    """Windows of detected 2D joints, and the 3D joints to predict."""

    points: Float[Tensor, "B T 17 2"]  # in halves of the image's width, from its middle
    joints: Float[Tensor, "B 17 3"]  # of the middle frame: metres from the root, in camera coordinates

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: torch.device | str) -> "LiftingBatch":
        """The batch on a device, without waiting for the copy."""
        return LiftingBatch(*(x.to(device, non_blocking=True) for x in (self.points, self.joints)))

    def pin_memory(self) -> "LiftingBatch":
        """The batch in page-locked memory, from which `to` copies to a CUDA device while both go on."""
        return LiftingBatch(self.points.pin_memory(), self.joints.pin_memory())


class LiftingWindows:
    """Windows of a store's clips, projected by random cameras.

    The middle frame of the motion model's window of 11 frames is lifted. The network sees `frames` frames around it,
    where frames beyond an end of the clip repeat the frame at that end. Raises SettingError for an even number.
    """

    def __init__(self, store: MotionStore, frames: int) -> None:
        if frames < 1 or frames % 2 == 0:
            raise SettingError(f"frames {frames}: one of them is in the middle; give an odd number.")
        self.store, self.around = store, np.arange(frames) - frames // 2

    def batch(
        self,
        clips: Int[np.ndarray, " B"],
        starts: Int[np.ndarray, " B"],
        noise: Noise,
        key: tuple[int, ...],
        flips: bool = False,
    ) -> LiftingBatch:
        """The windows of these clips that begin at these frames; cameras and noise are functions of the key.

        With flips, so is which half of them, on average, is mirrored.
        """
        middle = starts[:, None] + FRAMES // 2
        frames = np.clip(middle + self.around, 0, self.store.frames[clips, None] - 1)
        joints, random = smpl_to_h36m_joints(self.store.joints(clips, frames)), generator(key)
        camera = draw_cameras(joints, random)
        seen = camera.world_to_camera(joints)
        target = seen[:, len(self.around) // 2]
        batch = LiftingBatch(add_detector_noise(camera.project(seen), noise, random), target - target[:, :1])
        if not flips:
            return batch
        flipped = torch.rand(len(batch), 1, 1, generator=random) < 0.5
        points = torch.where(flipped.unsqueeze(-1), mirror(batch.points), batch.points)
        return LiftingBatch(points, torch.where(flipped, mirror(batch.joints), batch.joints))

    def evaluation_batches(self, batch_size: int, noise: Noise, seed: int) -> Iterator[LiftingBatch]:
        """Every window in order, none overlapping another, with the same cameras whatever the noise."""
        for index, (clips, starts) in enumerate(self.store.windows_in_order(batch_size)):
            yield self.batch(clips, starts, noise, (seed, index))
