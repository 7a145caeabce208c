"""ScaleGAN: deterministic, resumable, elastic training of generative adversarial networks."""

__version__ = "0.1.0"


def load(path: str):
    """The EMA generator of a run, a checkpoint or an export, in eval mode; see `scalegan.checkpoints.exports.load`."""
    from scalegan.checkpoints.exports import load as load_generator

    return load_generator(path)
