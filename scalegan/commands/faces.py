"""Recognises the attributes of faces in photos, rebuilds and transforms faces, and generates others, with a run or an
export of game.name=iterative.

recognise prints the probability of each attribute that the run knows. rebuild makes each face again from the code and
the attributes that the run finds in it; transform does so with other attributes, and keeps those that --set does not
name, but a hair colour that is set clears the others. Both also take game.name=stargan, and recognise game.name=acgan.
generate makes new faces with the attributes of --attributes; the others are those of random records of the run's data.
It also takes game.name=acgan, cgan and others with attributes.

INPUT are photos, folders and zips. The largest face of a photo is found, turned and cut as CelebA's images are; with
--aligned photos are taken for such faces, and their middle square is used. Results have the resolution of the run. A
line of JSON is printed for each photo, and nothing else on stdout; of a result it says how far its face embedding is
from the photo's, where 0.6 and more are taken for two people. DIR gets the same lines (faces.jsonl), a PNG of each
result, and picture.png with originals beside results.

An input that cannot be read or has no face is named and left out; the exit code is then 1. Finding faces needs the
extra 'faces': pip install 'scalegan[faces]'.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UserError
from scalegan.support import devices
from scalegan.support.arguments import folder, presences, seeds, strengths, verb_parser, warn

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scalegan.faces.answers import Answer
    from scalegan.faces.identity import Embedding
    from scalegan.pictures.photos import Found, Photo

_WHAT = {"recognise": "print the probability of each attribute",
         "rebuild": "make each face again from what is seen in it",
         "transform": "give faces other attributes",
         "generate": "make new faces with given attributes"}
_COLUMNS = 8
_AT_ONCE = 1024     # lines of generated faces that are made together


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    return _generate(options) if options.action == "generate" else _on_photos(options)


def _parser() -> ArgumentParser:
    parser = verb_parser("faces", __doc__,
                         "faces recognise runs/faces photos/ > attributes.jsonl",
                         "faces rebuild runs/faces holiday.jpg album.zip --out rebuilt",
                         "faces transform runs/faces portrait.jpg --set Smiling=1,Male=0.5 --out changed",
                         "faces generate runs/faces --attributes 'Smiling,!Male' --seeds 0-15 --out faces")
    actions = parser.add_subparsers(dest="action", required=True, metavar="recognise|rebuild|transform|generate")
    for name, what in _WHAT.items():
        action = actions.add_parser(name, help=what, description=f"Faces: {what}. `scalegan faces --help` explains it, "
                                    "with examples.")
        action.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
        if name != "generate":
            action.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="photos, folders, zips")
            action.add_argument("--aligned", action="store_true", help="photos are faces, cut as the run's data is: "
                                "use their middle square, and look for no face")
            action.add_argument("--crop", choices=("center", "celeba178", "celeba108"), help="what `prepare` cut from "
                                "CelebA's images for the run (default: what the run's data says, if it is still there, "
                                "else center, which is the same as celeba178)")
        action.add_argument("--out", type=folder, required=name != "recognise", metavar="DIR",
                            help="folder to write into")
    actions.choices["transform"].add_argument(
        "--set", type=strengths, required=True, metavar="NAME=VALUE,...", dest="values",
        help="attributes that faces should have, from 0 (not) to 1")
    actions.choices["generate"].add_argument(
        "--attributes", type=presences, default={}, metavar="NAME,!NAME,...", dest="values",
        help="attributes that all faces have or not; NAME=VALUE is a strength from 0 to 1 (default: those of random "
             "records)")
    actions.choices["generate"].add_argument("--seeds", type=seeds, default=seeds("0-63"),
                                             help="such as 0-63 or 1,5,9 (default 0-63)")
    return parser


def _on_photos(options: Namespace) -> int:
    from scalegan.faces.collection import Collection
    from scalegan.pictures import photos
    from scalegan.pictures.one_by_one import Answered, answer_all

    found = photos.find(options.inputs)
    collection = Collection(options.out, found.photos) if options.out else None
    if not found.photos:
        return Answered(problems=found.problems).report()
    answering = _answering(options)

    def answer(one: "Found", said: Callable[[str], None]) -> list[str]:
        made = answering(photos.read(one.read()))
        line = {"file": one.name}
        if options.action != "recognise":
            line["result"] = str(options.out / one.result)
            photos.write(options.out / one.result, made.result)
        text = json.dumps(line | made.figures)
        print(text, flush=True)
        if collection:
            collection.add(text, made)
        return made.remarks

    answered = answer_all(found, options.out or Path(), answer)
    if collection and answered.photos:
        shown = collection.save()
        if shown < len(answered.photos):
            warn(f"{collection.picture} shows the first {shown:,} of {len(answered.photos):,} photos")
        print(collection.picture.resolve(), file=sys.stderr)
    return answered.report()


def _answering(options: Namespace) -> "Callable[[Photo], Answer]":
    """What makes the answer to a photo, on a GPU if there is one."""
    from scalegan.faces.answers import changed, recognised
    from scalegan.faces.models import face_model
    from scalegan.faces.squares import Squares, crop_of
    from scalegan.pictures.attributes import check_names

    device = devices.available()
    model = face_model(options.run, options.action != "recognise", device)
    values = getattr(options, "values", {})
    check_names("--set", values, model.names)
    detect = None
    if not options.aligned:
        from scalegan.faces.detection import Detector

        detect = Detector(device)
    squares = Squares(model.about["spec"]["shape"], options.crop or crop_of(model.about), detect)
    if options.action == "recognise":
        return lambda photo: recognised(model, squares, photo)
    embedding = _embedding(device)
    return lambda photo: changed(model, squares, values, embedding, photo)


def _embedding(device: "torch.device") -> "Embedding | None":
    """What measures identity distances; a warning says why there are none."""
    from scalegan.faces.identity import Embedding

    try:
        return Embedding(device)
    except UserError as error:
        warn(f"no identity distances: {error}")
        return None


def _generate(options: Namespace) -> int:
    from scalegan.averages.label_summary import having, with_attributes
    from scalegan.checkpoints import exports, store
    from scalegan.data.spec import Spec
    from scalegan.faces.models import check_attributes, names_of
    from scalegan.games.stargan.labels import with_values
    from scalegan.pictures.attributes import check_names
    from scalegan.pictures.samples import sample_path, write_samples

    generator = exports.load_generator(options.run)
    check_attributes(options.run, generator.about)
    spec, names, stored = Spec.of(generator.about["spec"]), names_of(generator.about), generator.about.get("labels")
    check_names("--attributes", options.values, names)
    records = having(stored, spec, {names.index(name): value for name, value in options.values.items()})

    def labels_of(numbers: Sequence[int]) -> "Tensor":
        return with_values(with_attributes(records, spec, numbers, []), names, options.values)

    def draw(part: slice) -> "Tensor":
        return exports.sample(generator, options.seeds[part], labels_of(options.seeds[part]), psi=1.0)

    weights = {f"{part}/{name}": tensor for part, module in generator.parts.items()
               for name, tensor in module.state_dict().items()}
    device = devices.available()
    made_with = [store.digest(weights), options.values, device.type]
    generator.to(device)
    write_samples(options.out, options.seeds, draw, made_with, _COLUMNS)
    for first in range(0, len(options.seeds), _AT_ONCE):
        part = options.seeds[first : first + _AT_ONCE]
        for seed, row in zip(part, labels_of(part).tolist()):
            print(json.dumps({"seed": seed, "result": str(sample_path(options.out, seed)),
                              "attributes": dict(zip(names, row))}))
    print((options.out / "grid.png").resolve(), file=sys.stderr)
    if not stored:
        warn(f"{options.run} does not say how attributes are distributed, so those not named are 0")
    return 0
