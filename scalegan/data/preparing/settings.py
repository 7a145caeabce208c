"""What a set will be, of the options of `scalegan prepare` and a sample of the source."""

import argparse

from scalegan.data import beton_file
from scalegan.data.manifest import MOST_CHANNELS
from scalegan.data.picture import all_grey
from scalegan.data.preparing.journal import Settings
from scalegan.data.preparing.sources import USUAL
from scalegan.data.preparing.sources.base import Picture
from scalegan.data.rasters import common_channels
from scalegan.errors import UsageError
from scalegan.support.resolution import sides_of

_LOSSY = ("jpeg", "webp")


def check_volumes(options: argparse.Namespace) -> None:
    """Raises UsageError for options that are for images alone, not for volumes."""
    for name in ("crop", "pad", "encoding", "quality", "channels", "depth", "alpha"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for images; leave it out with --kind volumes")
    if isinstance(options.resolution, str):
        raise UsageError(f"--resolution {options.resolution}: volumes are cubes; give one number, such as "
                         f"{min(sides_of(options.resolution))}")
    if options.format != "webdataset":
        raise UsageError(f"--format {options.format} is for images; volumes are stored as shards, so leave it out")


def check_latents(options: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go with --encoder, or make no sense without it."""
    if options.encoder is None:
        for name in ("latent_scale", "mirrored"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} is for latents; name an autoencoder with --encoder, or "
                                 "leave it out")
        return
    for name in ("encoding", "quality", "depth", "alpha"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for stored images; latents are stored as they are, so leave it out")
    if options.latent_scale is not None and options.latent_scale <= 0:
        raise UsageError(f"--latent-scale {options.latent_scale:g} is not above 0; give 1 over the standard deviation "
                         "of latents")
    if options.kind == "volumes":
        raise UsageError("--encoder is for images; leave it out with --kind volumes")
    if options.format != "webdataset":
        raise UsageError(f"--format {options.format} is for images; latents are stored as shards, so leave it out")


def settings_of(options: argparse.Namespace, kind: str, pictures: list[tuple[str, Picture | Exception]],
                begun: dict) -> Settings:
    """The options, with the kind's defaults for those not given. What the call that began the set inferred from a
    sample is kept."""
    usual, depth, alpha = USUAL[kind], options.depth or 8, options.alpha == "keep"
    channels = options.channels or (1 if kind == "volumes" else None)
    if depth == 16 and channels is None and not alpha:
        channels = begun.get("channels") or common_channels(picture for _, picture in pictures)
    grey = channels is None and begun.get("only_grey", all_grey([picture for _, picture in pictures]))
    channels = channels or (1 if grey else 3) + alpha
    photos = depth == 8 and channels in (1, 3)
    _check_rasters(options, kind, channels, photos)
    encoding = options.encoding or (usual.encoding if photos else "png")
    if options.format == "ffcv":
        encoding = options.encoding or beton_file.usual_encoding(encoding)
        beton_file.check_encoding(encoding)
    if not photos and encoding in _LOSSY:
        raise UsageError(f"--encoding {encoding} is for grey or RGB images of 8 bits; png and raw keep "
                         f"{channels} channels of {depth} bits")
    if options.quality is not None and encoding not in _LOSSY:
        raise UsageError(f"--quality is for jpeg and webp; {encoding} is lossless")
    crop = _crop(options, usual.crop)
    resolution = options.resolution or {"celeba178": 128, "celeba108": 64}.get(crop, usual.resolution)
    return Settings(
        kind, [str(path.resolve()) for path in options.source], options.labels, options.split, resolution, crop,
        options.filter, encoding, (options.quality or 95) if encoding in _LOSSY else None, channels, grey and photos,
        options.validation, options.shard_records or begun.get("shard_records", 0), depth, alpha)


def _check_rasters(options: argparse.Namespace, kind: str, channels: int, photos: bool) -> None:
    """Raises UsageError for channels, depth or alpha that cannot be kept."""
    if channels > MOST_CHANNELS:
        raise UsageError(f"the images have {channels} channels, and at most {MOST_CHANNELS} can be kept; arrays are "
                         "[H, W, channels]")
    if options.alpha == "keep" and channels not in (2, 4):
        raise UsageError(f"--alpha keep adds a channel to grey or RGB: --channels 2 or 4, not {channels}; or leave "
                         "--channels out")
    if not photos and kind in ("lsun", "cifar10", "celeba", "pairs"):
        raise UsageError(f"--kind {kind} is for grey or RGB images of 8 bits; leave out --channels, --depth and "
                         "--alpha")


def _crop(options: argparse.Namespace, usual: str) -> str:
    """How pictures of another ratio are made to fit."""
    if options.pad is None:
        crop = options.crop or usual
        if isinstance(options.resolution, str) and crop.startswith("celeba"):
            raise UsageError(f"--resolution {options.resolution}: --crop {crop} cuts squares; use --crop center, or "
                             "--crop none --pad edge")
        return crop
    if options.crop not in (None, "none"):
        raise UsageError(f"--pad {options.pad} keeps all of an image, and --crop {options.crop} cuts it; leave one of "
                         "them out")
    return f"pad-{options.pad}"
