"""ScaleGAN: deterministic, resumable, elastic training of generative adversarial networks."""

__version__ = "0.1.0"


def load(path: str, network: str | None = None, ema: str | None = None):
    """A network of a run, a checkpoint or an export, in eval mode: the averaged generator where nothing else is said.

    Args:
        network: another of its game's exports, by name.
        ema: one of the recipe's `emas` instead of the main average.

    Raises:
        scalegan.errors.UserError: where there is no such network or average, or a damaged one.
    """
    from scalegan.checkpoints import exports

    return exports.load(path, network, ema)
