"""Converts a dataset of images, or of shapes, into shards for training: crops, resizes and encodes every image once.

SOURCE may be
  lsun      one or more LMDBs as published (bedroom_train_lmdb ...); with several, the category is the label
  celeba    img_align_celeba as a folder or zip, with list_attr_celeba.txt or identity_CelebA.txt beside it for labels
  cifar10   cifar-10-python.tar.gz, cifar-10-batches-py (the pickles are read, never executed), or train/<class>/
  folder    a folder or zip of images: one sub-folder per class, or all together without labels
  zip       StyleGAN's layout, with labels in dataset.json
  pairs     a folder or zip of two sub-folders, whose images are partners if their names are equal, or of images that
            hold both side by side; DEST/A and DEST/B are then sets whose records with equal numbers are partners
  volumes   a folder or zip of shapes: arrays (npz, npy), binvox, or closed meshes (STL, OBJ, OFF; extra [volumes]); one
            sub-folder per class, or all together without labels
and DEST is a new folder for the shards, or that of an interrupted call, which the same command resumes.
"""

import argparse
import re
from pathlib import Path

from scalegan.support.arguments import Parser, count_or_share, finite, folder, fraction, positive, resolution, whole

EPILOG = """examples:
  scalegan prepare bedroom_train_lmdb data/bedroom64 --kind lsun --resolution 64
  scalegan prepare church_outdoor_train_lmdb bridge_train_lmdb data/scenes256 --kind lsun --resolution 256
  scalegan prepare celeba data/celeba128 --kind celeba --crop celeba178 --resolution 128
  scalegan prepare img_align_celeba.zip data/celeba64 --kind celeba --crop celeba108 --resolution 64 --labels none
  scalegan prepare cifar-10-python.tar.gz data/cifar10 --kind cifar10
  scalegan prepare photos data/photos128 --resolution 128 --validation 0.05
  scalegan prepare panoramas data/panoramas --resolution 256x64
  scalegan prepare scans data/scans128x256 --resolution 128x256 --crop none --pad white
  scalegan prepare satellite data/satellite64 --channels 8 --depth 16
  scalegan prepare sprites data/sprites64 --alpha keep
  scalegan prepare facades data/facades256 --kind pairs --resolution 256
  scalegan prepare birds data/birds64 --captions birds.jsonl --text-encoder minilm
  scalegan prepare cars data/cars64 --conditions cars.csv
  scalegan prepare chairs data/chairs64 --kind volumes --resolution 64
  scalegan prepare celeba data/celeba_latents --crop center --resolution 256 --encoder sd-vae-ft-mse
  scalegan prepare data/photos128 --verify

A broken image is skipped and listed in DEST/rejected.jsonl. Exit codes: 0 done; 75 interrupted, run the same
command to resume; 2 wrong arguments; 1 anything else."""


def main(arguments: list[str]) -> int:
    options = parse(arguments)

    from scalegan.data.preparing import preparation

    if options.verify:
        return preparation.verify(options.dest)
    if (made := preparation.prepare(options)) is not None:
        backend = "" if options.format == "webdataset" else f" data.backend={options.format}"
        labels = " data.labels=vectors" * bool(options.captions or options.conditions)
        print(f"train with data.path={made}{labels}{backend}{_of_latents(made) if options.encoder else ''}")
    return 0


def _of_latents(made: Path) -> str:
    """The keys that a set of latents needs."""
    from scalegan.data.manifest import Manifest

    image = Manifest.load(made).image
    flip = "" if image.latents.mirrored else " data.flip=false"
    return f" data.resolution={image.resolution} data.latents={image.channels}{flip}"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parses the command line and checks what can be checked without looking at the source."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if not options.source and not options.verify:
        parser.error("give SOURCE and DEST: `scalegan prepare SOURCE DEST`; --help has examples")
    if options.captions and options.conditions:
        parser.error("--captions and --conditions are two kinds of vectors; leave one of them out")
    if not options.captions and options.text_encoder != "tfidf":
        parser.error("--text-encoder is for captions; name their file with --captions, or leave it out")
    if options.captions and (options.labels != "auto" or options.kind not in (None, "folder")):
        parser.error("--captions are for a folder or zip of images, and take the place of labels; leave out --labels "
                     "and --kind")
    if not options.verify:
        try:
            folder(str(options.dest))
        except argparse.ArgumentTypeError as error:
            parser.error(f"DEST: {error}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="scalegan prepare", description=__doc__, epilog=EPILOG,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="*", type=Path, metavar="SOURCE", help="where the images are; see above")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to write")
    _add_source(parser.add_argument_group("the source"))
    _add_captions(parser.add_argument_group("texts"))
    _add_conditions(parser.add_argument_group("tables"))
    _add_images(parser.add_argument_group("the stored images"))
    _add_latents(parser.add_argument_group("latents"))
    _add_running(parser.add_argument_group("how to run"))
    return parser


def _add_source(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--kind", choices=("lsun", "celeba", "cifar10", "folder", "zip", "pairs", "volumes"),
                       help="what SOURCE is (default: guessed from its files, and printed)")
    group.add_argument("--labels", choices=("auto", "none", "class", "attributes", "identity"), default="auto",
                       help="labels to store (default auto: whatever there is; CelebA's attributes)")
    group.add_argument("--split", choices=("train", "val", "test", "all"),
                       help="official split of celeba (default all) or cifar10 (default train)")
    group.add_argument("--annotations", type=Path, metavar="PATH",
                       help="folder or zip with CelebA's text files, if they are not beside the images")


def _add_captions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--captions", type=Path, metavar="FILE",
                       help='JSON lines, {"file": "a.png", "caption": "..."} or {"file": "a.png", "captions": [...]}, '
                            "for the images of a folder or zip; conditions are then vectors of these texts "
                            "(data.labels=vectors)")
    group.add_argument("--text-encoder", default="tfidf", metavar="NAME_OR_FILE",
                       help="what makes vectors of captions: tfidf (weighted words; the default), minilm (sentences, "
                            "by all-MiniLM-L6-v2), or a file of TorchScript or ONNX that takes a list of texts")


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--conditions", type=Path, metavar="FILE.csv",
                       help="a table with the column file and others: numbers, which are standardised, 0 and 1, or "
                            "names of classes; together with the images' own labels, unless --labels none, they are "
                            "conditions as vectors (data.labels=vectors)")


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--resolution", type=resolution, metavar="N|WxH",
                       help="side in pixels; width and height, such as 256x128; or side of volumes in voxels (default "
                            "64; 128 with --crop celeba178, the default for celeba; 32 for cifar10)")
    group.add_argument("--crop", choices=("center", "celeba178", "celeba108", "none"),
                       help="center: the largest central part in the ratio of --resolution; 178 x 178 (usual at 128 px "
                            "and above) or 108 x 108 (as in DCGAN papers) of CelebA's 178 x 218; none: all of an image "
                            "that has the ratio, or gets it by --pad (default center; celeba: celeba178; cifar10: "
                            "none)")
    group.add_argument("--pad", choices=("black", "white", "edge"),
                       help="with --crop none, which it implies: fill what an image of another ratio lacks, black, "
                            "white, or by repeating its borders")
    group.add_argument("--filter", choices=("lanczos", "box", "bicubic"), default="lanczos",
                       help="resize filter, antialiased (default lanczos)")
    group.add_argument("--encoding", choices=("jpeg", "png", "webp", "raw"),
                       help="encoding of the stored images (default jpeg; cifar10, and other channels or depths than "
                            "photos have: png)")
    group.add_argument("--quality", type=whole(1, 100), metavar="Q", help="jpeg or webp quality, 1 to 100 (default 95)")
    group.add_argument("--channels", type=whole(1, 16), metavar="N",
                       help="1 for grey, 3 for colour, or what .npy and TIFF files have, up to 16 (default 3, or 1 if "
                            "a sample of the images is all grey; with --depth 16, what a sample has; one more with "
                            "--alpha keep)")
    group.add_argument("--depth", type=int, choices=(8, 16),
                       help="bits per channel; 16 keeps those of PNG, TIFF, PPM and .npy files (default 8)")
    group.add_argument("--alpha", choices=("white", "keep"),
                       help="white: put transparent images on white (the default); keep: that, with alpha as a last "
                            "channel")


def _add_latents(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--encoder", type=Path, metavar="FILE", help="store latents in place of images: mean and "
                       "deviation of this autoencoder's posterior, a .safetensors file in the layout of diffusers' "
                       "AutoencoderKL, or a folder with it; in DEST, its copy decodes samples")
    group.add_argument("--latent-scale", type=finite, metavar="X", help="factor of the latents that networks see "
                       "(default: scaling_factor in the file's header, or in the config.json beside it)")
    group.add_argument("--mirrored", action="store_true", help="store the latents of the mirrored images as well, "
                       "which data.flip=true needs; takes twice the time and space")


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--format", choices=("webdataset", "ffcv"), default="webdataset",
                       help="webdataset: tars and an index; ffcv: a .beton beside them (default webdataset)")
    group.add_argument("--validation", type=fraction, default=0.0, metavar="FRACTION",
                       help="write DEST/train and DEST/val, with this fraction of the records in val, chosen by a "
                            "hash of their keys")
    group.add_argument("--shard-records", type=positive, metavar="N",
                       help="records per shard (default: about 64 MB, or fewer for about 64 shards, rounded up to a "
                            "multiple of 32)")
    group.add_argument("--max-rejected", type=count_or_share, default=0.01, metavar="N_OR_SHARE",
                       help="stop if more images are broken: a number of images, such as 3, or a share of all, such as "
                            "0.05, 5%% or 1.0 (default 0.01)")
    group.add_argument("--workers", type=positive, metavar="N", help="worker processes (default: one per core)")
    group.add_argument("--part", type=_part, metavar="K/N",
                       help="write only the K-th of N ranges of shards; N calls with the same options, on any machines "
                            "that see DEST, write the set together, and the last one to end completes it")
    group.add_argument("--dry-run", action="store_true", help="print how many images and bytes would be written")
    group.add_argument("--verify", action="store_true",
                       help="check DEST, a finished set, against its checksums, and write nothing")


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (re.fullmatch("[0-9]{1,9}/[0-9]{1,9}", text) and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"'{text}' is not K/N with K from 1 to N")
    return int(number), int(parts)
