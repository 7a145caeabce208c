"""The norm of networks from image to image: over a batch, over each image, or none."""

from torch import nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm


def norm(kind: str, channels: int, norm_group: int | str) -> nn.Module:
    """Normalises maps [N, channels, H, W].

    Args:
        kind: "batch"; "instance", without gains, whose statistics are each image's own, in training and afterwards;
            "instance_affine", the same with gains and biases, which is BatchNorm over batches of one image; or "none".
        norm_group: consecutive samples that share BatchNorm statistics, or "batch".
    """
    if kind == "batch":
        return GroupedBatchNorm(channels, norm_group)
    if kind in ("instance", "instance_affine"):
        return nn.InstanceNorm2d(channels, affine=kind == "instance_affine")
    return nn.Identity()


def has_bias(kind: str) -> bool:
    """Whether the convolution before such a norm has a bias, as in the published code: not where the norm has one."""
    return kind in ("instance", "none")
