"""The picture of games that encode images: reals, their reconstructions, and samples."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from scalegan.games.base import Game, Preview


def beside_samples(game: Game, networks: Mapping[str, nn.Module], preview: Preview,
                   names: Sequence[str] = ("real", "recon", "sample")) -> dict[str, Tensor]:
    """Images of the first stream, what the export `reconstruct` makes of them, and samples, each [count, C, H, W], by
    the names of their columns; samples alone for points."""
    samples = preview.in_parts(lambda part: game.fakes(networks, part))
    if samples.dim() == 2:
        return {names[2]: samples}
    again = preview.in_parts(lambda part: networks["reconstruct"](_images(part)))
    return dict(zip(names, (_images(preview), again, samples)))


def _images(preview: Preview) -> Tensor:
    return next(iter(preview.samples.values())).data
