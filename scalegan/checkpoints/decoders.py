"""Decoders of runs in latents: a copy lies in the run folder, and exports hold one, so that both make images alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scalegan.data import autoencoder_file
from scalegan.data.autoencoder_file import DECODER_FILE
from scalegan.data.spec import Latents, Spec
from scalegan.errors import UserError
from scalegan.games.base import DECODER
from scalegan.games.sampling import is_styled
from scalegan.models.autoencoder_kl import Decoder, sizes_of
from scalegan.support.digests import digest_of


class Decoded(nn.Module):
    """A generator of latents as one of images: its output decoded, everything else its own.

    Args:
        generator: whatever makes latents; of a style-based one, `synthesis` is decoded, too.
    """

    def __init__(self, generator: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.generator, self.decoder = generator, decoder
        if is_styled(generator):
            self.synthesis = Decoded(generator.synthesis, decoder)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return self.decoder(self.generator(*inputs, **options))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("generator"), name)


def put(folder: Path, decoder: Decoder) -> None:
    """Puts a run's decoder into its folder, unless it is there."""
    path = folder / DECODER_FILE
    try:
        there = digest_of(autoencoder_file.read(path).decoder) == digest_of(decoder)
    except UserError:
        there = False
    if not there:
        autoencoder_file.save(path, decoder.sizes, [decoder], decoder.scale, decoder.shift)


def latents_of(about: Mapping[str, Any]) -> Latents | None:
    """Of the samples that a file's networks make; None if these are no latents."""
    return Spec.of(about["specs"][about["target"] or next(iter(about["specs"]))]).latents


def of_run(folder: Path, about: Mapping[str, Any]) -> Decoder:
    """The decoder in a run folder.

    Raises:
        UserError: if it is missing, damaged, or another than the run's.
    """
    path, known = folder / DECODER_FILE, about["recipe"].get("fixed", {}).get(DECODER)
    if not path.exists():
        raise UserError(f"{path} is missing, which decodes the run's samples; the command that trains the run puts it "
                        "there again")
    found = autoencoder_file.read(path)
    if digest_of(found.decoder) != known:
        raise UserError(f"{path} is not the decoder that the run began with (SHA-256 {str(known)[:12]}...); remove it, "
                        "and run the command that trains the run, which puts that there again")
    return _scaled(found.decoder, latents_of(about))


def of_export(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> Decoder:
    """The decoder in an export. Raises UserError if it is missing or damaged."""
    own = {name.removeprefix(f"{DECODER}/"): tensor for name, tensor in weights.items()
           if name.startswith(f"{DECODER}/")}
    try:
        sizes = sizes_of(own, about.get("decoder_groups", 32))
        decoder = autoencoder_file.filled(Decoder(sizes), own)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path} has no decoder that its latents could be decoded with "
                        f"({str(error).splitlines()[-1].strip()}); export the run again") from error
    return _scaled(decoder, latents_of(about))


def _scaled(decoder: Decoder, latents: Latents) -> Decoder:
    decoder.scale, decoder.shift = latents.scale, latents.shift
    return decoder
