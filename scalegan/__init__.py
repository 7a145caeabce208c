"""ScaleGAN: deterministic, resumable, elastic training of generative adversarial networks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"


def load(path: str, network: str | None = None, ema: str | None = None) -> "torch.nn.Module":
    """Loads a network of a run, a checkpoint or an export, in eval mode; by default, the averaged generator.

    Args:
        path: a run folder, a checkpoint, an exported .safetensors file, a folder that `scalegan push --to-folder`
            wrote, or hf://USER/NAME or hf://USER/NAME@REVISION on the Hugging Face Hub.
        network: name of another of the game's exports.
        ema: name of one of the recipe's `emas`, instead of the main average.

    Returns:
        The network. Its attribute `about` describes it: the recipe, the `spec` of its samples, its inputs and output
        (`export`), and how many images it was trained on. A generator takes z [n, latent_dim], from the distribution
        `latent` ("normal", or "uniform" in [-1, 1]), and labels if it has any (int64 [n], or float [n, K]); it returns
        images [n, C, H, W], nominally in [-1, 1], which it may exceed: clamp them before saving.

    Raises:
        scalegan.errors.UserError: if there is no such network or average, or it is damaged.
    """
    from scalegan.checkpoints import exports

    return exports.load(path, network, ema)
