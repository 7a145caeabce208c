"""The norm of networks from image to image: over a batch, over each image, or none."""

from torch import nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm


def norm(kind: str, channels: int, norm_group: int | str) -> nn.Module:
    """Normalises maps [N, channels, H, W].

    Args:
        kind: "batch"; "instance", without gains, whose statistics are each image's own, in training and afterwards; or
            "none".
        norm_group: consecutive samples that share BatchNorm statistics, or "batch".
    """
    if kind == "batch":
        return GroupedBatchNorm(channels, norm_group)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()
