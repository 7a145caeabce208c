"""What a run reports: metrics, sample grids, evaluations."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt

from scalegan.config.schema import Name, Text, typed


def _split(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


@typed
class Log:
    every_images: NonNegativeInt = 0
    """Images between reports (metrics.jsonl, TensorBoard, terminal); 0 for none."""
    trackers: Annotated[tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...],
                        BeforeValidator(_split)] = ("tensorboard",)
    """What else shows the reports; wandb, mlflow and trackio need the extra of their name."""
    tensorboard: bool = True
    """If false, no TensorBoard files are written, whatever `trackers` says."""
    profile_updates: NonNegativeInt = 0
    """Updates to trace with torch's profiler, after the first few, into `profile/` in the run folder; all reports then
    also have `mfu`, the fraction of the device's measured peak, and `mfu_of_data_sheet`."""


@typed
class Snapshot:
    every_images: NonNegativeInt = 0
    """Images between sample grids, of the averaged G from fixed latents; 0 for none, else there is always a final
    one."""
    rows: PositiveInt = 8
    """Rows of the sample grid."""
    columns: PositiveInt = 10
    """Columns; with class labels, column i shows class i."""


@typed
class HeldOut:
    path: Text = ""
    """Dataset to evaluate against instead of the training data; read with the same settings."""


@typed
class Eval:
    every_images: NonNegativeInt = 0
    """Images between evaluations of the averaged generator; 0 for none, else there is always a final one."""
    metrics: Annotated[tuple[Literal["fid", "kid", "is", "prc", "prdc", "ms_ssim", "ppl", "class_fid"], ...],
                       BeforeValidator(_split)] = ("fid", "kid")
    """Metrics, as for `scalegan evaluate --metrics`."""
    extractor: Text | None = None
    """inception, efflite0, or a TorchScript file; null: inception if its weights are given, else efflite0."""
    weights: Text | None = None
    """File with the extractor's weights; null: $SCALEGAN_WEIGHTS, for inception."""
    resize: Literal["tf1-bilinear", "clean"] | None = None
    """How images are resized for the extractor; null: its default."""
    num_samples: PositiveInt = 10_000
    """Number of generated samples."""
    num_reals: PositiveInt | None = None
    """Number of real images, drawn at random; null for all."""
    batch_size: PositiveInt = 32
    """Images per batch of the extractor, per rank."""
    data: HeldOut = field(default_factory=HeldOut)
    streams: dict[Name, HeldOut] = field(default_factory=dict)
    """Held-out datasets of streams other than `data`: eval.streams.B.path, ..."""
