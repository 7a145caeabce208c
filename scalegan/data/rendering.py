"""Pictures of volumes from several sides: orthographic, nearer voxels brighter, each side of a voxel in its shade."""

from functools import cache
from math import cos, radians, sin

import torch
from torch import Tensor

#: How far the viewer goes round to the right, and up, in degrees.
VIEWS = {"front": (0.0, 0.0), "side": (90.0, 0.0), "corner": (35.0, 30.0)}
FILLED = 0.5                    # share of a voxel from which it is shown
_LEAST_SIDE = 64                # of a picture, in pixels
_SHADES = (0.6, 1.0, 0.85)       # of a voxel's sides, above and below, and front and back
_FADED = 0.45                   # of the brightness is lost from the nearest point to the farthest
_REACH = 1.5                    # half the side of what a slanting view shows, where the volume's is 1
_STEPS = 8                      # along a ray, per voxel of a side: so few that hardly any enters two sides in one
_AT_ONCE = 1 << 24              # points on rays


def side_of(resolution: int) -> int:
    """The side of a picture of volumes of that resolution, in pixels."""
    return max(_LEAST_SIDE, resolution)


def rendered(volumes: Tensor, view: str) -> Tensor:
    """Pictures [N, 1, S, S] in [-1, 1], white on black, of volumes [N, 1, R, R, R] in [0, 1], S at least 64.

    The first axis of a volume points away from the viewer in front of it, the second down, the third to the right.

    Args:
        view: one of VIEWS.
    """
    side = volumes.shape[-1]
    voxels, brightness = (rays.to(volumes.device) for rays in _rays(side, view))
    solid = torch.nn.functional.pad(volumes.flatten(1) > FILLED, (0, 1))    # the last one is what lies outside
    found = [_seen(part, voxels, brightness) for part in solid.split(max(1, _AT_ONCE // voxels.numel()))]
    return torch.cat(found)[:, None] * 2 - 1


def _seen(solid: Tensor, voxels: Tensor, brightness: Tensor) -> Tensor:
    """The brightness [n, S, S] of the first solid voxel [n, R ** 3 + 1] on each ray."""
    along = solid[:, voxels.flatten()].unflatten(1, voxels.shape)       # [n, steps, S, S]
    first = along.int().argmax(1, keepdim=True)
    return brightness.expand(len(solid), *brightness.shape).gather(1, first)[:, 0] * along.any(1)


@cache
def _rays(side: int, view: str) -> tuple[Tensor, Tensor]:
    """The voxel at each point of the rays, int64 [steps, S, S], side ** 3 outside the volume, and the brightness there,
    float32."""
    around, up = map(radians, VIEWS[view])
    reach = _REACH if around and up else 1.0
    size = side_of(side)
    steps = _STEPS * side
    across = ((torch.arange(size) + 0.5) / size * 2 - 1) * reach
    depth = ((torch.arange(steps) + 0.5) / steps * 2 - 1) * reach
    t, y, x = torch.meshgrid(depth, across, across, indexing="ij")
    y, t = y * cos(up) + t * sin(up), t * cos(up) - y * sin(up)
    x, t = x * cos(around) - t * sin(around), t * cos(around) + x * sin(around)
    place = ((torch.stack([x, y, t]) + 1) / 2 * side).floor().long()    # [3, steps, S, S]
    inside = ((place >= 0) & (place < side)).all(0)
    voxels = torch.where(inside, (place[2] * side + place[1]) * side + place[0], side**3)
    entered = place != place.roll(1, 1)                                 # through which side of the voxel
    for number in range(1, steps):
        entered[:, number] = torch.where(entered[:, number].any(0), entered[:, number], entered[:, number - 1])
    shade = torch.where(entered[1], _SHADES[1], torch.where(entered[2], _SHADES[2], _SHADES[0]))
    fade = 1 - _FADED * torch.linspace(0, 1, steps)[:, None, None]
    return voxels, shade * fade
