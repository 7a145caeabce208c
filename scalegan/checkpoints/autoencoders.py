"""Writes autoencoders that a run has trained in the layout of diffusers' `AutoencoderKL`."""

from pathlib import Path

from scalegan.checkpoints import exports
from scalegan.data import autoencoder_file
from scalegan.errors import UsageError
from scalegan.games.aae.spatial import SpatialDecoder, SpatialEncoder
from scalegan.models.autoencoder_kl import Decoder, Encoder


def write(path: Path, out: Path, ema: str | None = None, sigma_rel: float | None = None) -> float:
    """Writes the averaged encoder and decoder of a run, checkpoint or export to one file.

    Args:
        ema, sigma_rel: other averages; see `exports.load`.

    Returns:
        The scale of latents: 1 over the standard deviation that training has measured.

    Raises:
        UserError: as `exports.load`, and for a run without such networks.
    """
    networks = exports.load_all(path, ema, sigma_rel)
    halves = {type(part): part for network in networks.values() for part in network.parts.values()}
    encoder, decoder = halves.get(SpatialEncoder), halves.get(SpatialDecoder)
    if encoder is None or decoder is None:
        raise UsageError(f"{path} has no encoder and decoder with model.name=autoencoder_kl; --format autoencoder-kl "
                         "is for runs such as recipe=aae_celeba_latents")
    sizes, scale = decoder.sizes, 1 / encoder.moments.deviation
    plain = [autoencoder_file.filled(Encoder(sizes), encoder.state_dict()),
             autoencoder_file.filled(Decoder(sizes), decoder.state_dict())]
    autoencoder_file.save(out, sizes, plain, scale)
    return scale
