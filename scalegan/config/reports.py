"""What a run reports of itself: figures, pictures, evaluations."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt

from scalegan.config.schema import Name, typed


@typed
class Log:
    every_images: NonNegativeInt = 0
    """Images between reports (metrics.jsonl, TensorBoard, terminal)."""
    tensorboard: bool = True
    """Write TensorBoard files too."""
    profile_updates: NonNegativeInt = 0
    """Updates to trace with torch's profiler, after the first few, into `profile/` of the run folder; all reports then
    have `mfu`, the fraction of the device's peak, too."""


@typed
class Snapshot:
    every_images: NonNegativeInt = 0
    """Images between pictures of EMA samples from fixed latents; a final one is written if this is not 0."""
    rows: PositiveInt = 8
    """Rows of the picture."""
    columns: PositiveInt = 10
    """Columns; with class labels, column i shows class i."""


def _listed(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


@typed
class HeldOut:
    path: str = ""
    """Set that evaluations use in place of the training data; it is read as that is."""


@typed
class Eval:
    every_images: NonNegativeInt = 0
    """Images between evaluations of the averaged generator; a final one follows if this is not 0."""
    metrics: Annotated[tuple[Literal["fid", "kid", "is", "prc", "prdc", "ms_ssim", "ppl", "class_fid"], ...],
                       BeforeValidator(_listed)] = ("fid", "kid")
    """What is measured, as `scalegan evaluate --metrics` takes it."""
    extractor: str | None = None
    """inception, efflite0, or a TorchScript file; null: inception where its weights are named, else efflite0."""
    weights: str | None = None
    """File of the extractor's weights; null: $SCALEGAN_WEIGHTS, for inception."""
    resize: Literal["tf1-bilinear", "clean"] | None = None
    """How images come to the extractor's size; null: as is usual for it."""
    num_samples: PositiveInt = 10_000
    """Samples of the generator."""
    num_reals: PositiveInt | None = None
    """Real images, drawn at random; null for all."""
    batch_size: PositiveInt = 32
    """Images that the extractor takes at once, per rank."""
    data: HeldOut = field(default_factory=HeldOut)
    streams: dict[Name, HeldOut] = field(default_factory=dict)
    """The same for the streams beside `data`: eval.streams.B.path, ..."""
