"""Publishes the networks of a run, checkpoint or export on the Hugging Face Hub: model.safetensors, config.json, and a
model card (README.md) with data, recipe, digest and evaluations. `scalegan.load("hf://USER/NAME")` reads them.

No path of this machine is published, of the data only its name. The card leaves the licence to you, and says so until
you write it there; pushing again keeps what you wrote. Log in with `hf auth login` or HF_TOKEN. --to-folder writes the
same files to a folder instead, to be looked at or published elsewhere. Extra 'hub'.
"""

import tempfile
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.support.arguments import folder, verb_parser


def main(arguments: list[str]) -> int:
    parser = verb_parser("push", __doc__,
                         "push runs/digits --to-folder digits",
                         "push runs/digits user/digits")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("repository", nargs="?", metavar="USER/NAME", help="repository, which is made if need be")
    parser.add_argument("--to-folder", type=folder, metavar="DIR", help="write the files here, and upload nothing")
    parser.add_argument("--private", action="store_true", help="a repository that is made here is private")
    options = parser.parse_args(arguments)
    if (options.repository is None) == (options.to_folder is None):
        raise UsageError("name either USER/NAME to publish to, or a folder with --to-folder")
    if options.private and options.to_folder:
        raise UsageError("--private is for repositories, and --to-folder makes none; leave it out")

    from scalegan.checkpoints import exports, hub, package, store
    from scalegan.metrics import results

    before = hub.card_of(options.repository) if options.repository else ""
    source = options.run if options.run.is_file() else Path(hub.located(options.run))
    about_run = {}
    if not source.is_file():
        source = exports.newest(source)
        about_run = {"checkpoint": store.digest(store.read(source))}
    networks = exports.load_all(source)
    if about_run:
        images = next(iter(networks.values())).about["images"]
        about_run["results"] = [row for row in results.read(source.absolute().parent.parent)
                                if row.get("images") == images and not results.drawn_with(row)]
    if options.to_folder:
        package.write(networks, options.to_folder, **about_run)
        print(options.to_folder.resolve())
        return 0
    with tempfile.TemporaryDirectory() as made:
        package.write(networks, Path(made), repository=options.repository, before=before, **about_run)
        print(hub.upload(Path(made), options.repository, options.private))
    return 0
