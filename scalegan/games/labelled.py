"""Games that learn classes from a second stream, `labelled`, in which few images have labels."""

from collections.abc import Mapping

from torch import Tensor

from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch


def classes_of(specs: Mapping[str, Spec]) -> int:
    """The number of classes of the labelled stream.

    Raises:
        RecipeError: if the streams do not fit each other.
    """
    real, labelled = specs["real"], specs["labelled"]
    if real.shape != labelled.shape:
        raise RecipeError(f"images of data have the shape {list(real.shape)}, those of streams.labelled "
                          f"{list(labelled.shape)}; prepare both with the same resolution and colours")
    if real.classes and (real.classes, real.label_names) != (labelled.classes, labelled.label_names):
        raise RecipeError(f"data has {real.classes} classes, streams.labelled {labelled.classes}, or their names "
                          "differ; set data.labels=none")
    return labelled.classes


def watch_error(batch: Batch, logits: Tensor) -> None:
    """Adds the figure `error`: how many unlabelled images the logits [n, classes] put into another class than the data
    does, if it has classes. They are only compared, never learnt from."""
    if batch.labels is not None:
        batch.figures["error"] = (logits.argmax(1) != batch.labels).float().mean()
