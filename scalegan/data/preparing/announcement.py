"""What `scalegan prepare` says of a set, before it is made and after."""

import math
from pathlib import Path

from scalegan.config.checks import nearest_resolutions
from scalegan.data.manifest import ImageFormat, Index, Manifest
from scalegan.data.preparing.estimate import Sample, in_bytes, in_time
from scalegan.data.preparing.journal import Settings
from scalegan.data.preparing.plan import Plan
from scalegan.data.preparing.shard_job import Rejected, ShardJob
from scalegan.data.preparing.sources.base import Source
from scalegan.data.preparing.sources.survey import shortened
from scalegan.support.resolution import sides_of

REJECTED = "rejected.jsonl"


def announce(source: Source, settings: Settings, job: ShardJob, sample: Sample, workers: int) -> None:
    """What will be made of a source."""
    count, labels = len(source), source.labels
    label_text = {"none": "no labels", "class": f"{len(labels.names)} classes",
            "attributes": f"{len(labels.names)} attributes",
            "vectors": f"conditions as vectors of {labels.dim:,}"}[labels.kind]
    print("; ".join([f"{source.name}: {count:,} {settings.noun}, {label_text}", *source.remarks]))
    print(f"to {_stored(settings)}{_latents(job.stored)}: about {in_bytes(count * sample.record_bytes)} in "
          f"{-(-count // settings.shard_records)} shards of {settings.shard_records:,} records; {workers} workers, "
          f"about {in_time(count * sample.record_seconds / workers)}", flush=True)
    if settings.noun == "images" and (known := nearest_resolutions(job.stored.resolution)):
        print(f"no model family but mlp has {job.stored.resolution} px; the nearest that some have are {known}",
              flush=True)


def _stored(settings: Settings) -> str:
    height, width = sides_of(settings.resolution)
    if settings.noun == "volumes":
        return f"{width} x {width} x {width} voxels"
    quality = f" {settings.quality}" if settings.quality else ""
    colour = {1: "grey", 3: "colour"}.get(settings.channels, f"with {settings.channels} channels")
    if settings.alpha:
        colour = ("grey" if settings.channels == 2 else "colour") + " with alpha"
    colour += " of 16 bits" * (settings.depth == 16)
    if settings.encoder:
        return f"{width} x {height} {colour}, crop {settings.crop}, filter {settings.filter}"
    return f"{width} x {height} {colour}, {settings.encoding}{quality}, crop {settings.crop}, filter {settings.filter}"


def _latents(stored: ImageFormat) -> str:
    if stored.kind != "latent":
        return ""
    height, width = stored.sides
    views = " of the image and its mirror image" * stored.latents.mirrored
    return (f", stored as mean and deviation of latents{views}, {stored.channels} x {height} x {width} in float16, "
            f"scale {stored.latents.scale:.5g}")


def report(dest: Path, settings: Settings, plan: Plan, rejected: list[Rejected], enlarged: int, converted: int,
           reduced: int, cut: list[float]) -> None:
    """What was made.

    Args:
        enlarged, converted, reduced: how many images are enlarged, converted from other colours, or reduced to 8 bits.
        cut: the share of its pixels that each cropped image lost.
    """
    noun = settings.noun
    if rejected:
        print(f"{len(rejected):,} {noun} were left out, such as {rejected[0].key} ({rejected[0].reason}); "
              f"see {dest / REJECTED}")
    if enlarged:
        print(f"{enlarged:,} images are smaller than the resolution and were enlarged")
    if cut:
        height, width = sides_of(settings.resolution)
        lost = math.fsum(cut) / len(cut)
        print(f"{len(cut):,} images were cut to the ratio {width // math.gcd(height, width)} : "
              f"{height // math.gcd(height, width)}, and lost {lost:.1%} of their pixels on average, {max(cut):.1%} at "
              "most")
    if converted:
        print(f"{converted:,} images have an embedded colour profile and were converted to sRGB")
    if reduced:
        print(f"{reduced:,} images have 16 bits per channel, of which the upper 8 are kept; --depth 16 keeps all")
    for subset in plan.records:
        manifest = Manifest.load(dest / subset)
        written = sum(shard.bytes for shard in manifest.shards)
        print("; ".join([f"{dest / subset}: {manifest.records:,} {noun} in {len(manifest.shards)} shards, "
                         f"{in_bytes(written)}", *_empty_classes(dest / subset, manifest, noun)]))


def _empty_classes(folder: Path, manifest: Manifest, noun: str) -> list[str]:
    """Which classes have no record left in a finished set: all were rejected, or lie in the other subset."""
    if manifest.labels.kind != "class":
        return []
    found = set(Index.load(folder / "index.safetensors").labels.tolist())
    empty = [name for number, name in enumerate(manifest.labels.names) if number not in found]
    return [f"no {noun} of {shortened(empty)}"] if empty else []
