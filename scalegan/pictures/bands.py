"""Samples whose channels or depth a PNG cannot hold, or that have alpha."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scalegan.data.pixels import to_uint8, to_uint16
from scalegan.data.spec import Spec
from scalegan.pictures import grids
from scalegan.pictures.samples import IMAGES, Form
from scalegan.support.files import replacing


def form_of(spec: Spec) -> Form:
    """The files of samples of that kind: a PNG; with alpha of 8 bits, if they have that; or a PNG of what is shown of
    them, and a .npy file of all, [H, W, C]."""
    if spec.shape[0] in (1, 3) and spec.depth == 8:
        return IMAGES
    if spec.alpha and spec.depth == 8:
        return Form((".png",), _save_with_alpha, grids.pixels_of)
    levels = to_uint16 if spec.depth == 16 else to_uint8

    def save(stem: Path, sample: Tensor, picture: np.ndarray) -> None:
        grids.save_pixels(stem.with_suffix(".png"), picture)
        with replacing(stem.with_suffix(".npy")) as unfinished, unfinished.open("wb") as file:
            np.save(file, levels(sample).permute(1, 2, 0).cpu().numpy(), allow_pickle=False)

    return Form((".png", ".npy"), save, grids.pixels_of)


def _save_with_alpha(stem: Path, sample: Tensor, picture: np.ndarray) -> None:
    """A PNG whose colours are not over white, as viewers expect of alpha."""
    over, alpha = sample[:-1].float() / 2 + 0.5, (sample[-1:].float() / 2 + 0.5).clamp(0, 1)
    colours = torch.where(alpha > 0, (over - 1 + alpha) / alpha.clamp(min=1 / 255), 1)
    pixels = to_uint8(torch.cat([colours, alpha]) * 2 - 1).permute(1, 2, 0).cpu().numpy()
    grids.save_picture(Image.fromarray(pixels, "LA" if len(sample) == 2 else "RGBA"), stem.with_suffix(".png"))
