"""Shows runs, checkpoints and exports on a page in the browser: samples, walks between them, mixed styles, directions
with sliders, projections of photos, photos turned into images, faces, and the training images nearest to samples.

RUN may also be a folder of runs. Several are shown side by side, and one in training is drawn anew with every
checkpoint. Below what is shown stand the commands that make it. The page writes nothing into the runs, asks nothing of
other machines, and is for this machine's browsers alone; from another, forward the port: ssh -L 8000:localhost:8000
SERVER.

Needs the extra 'explore': pip install 'scalegan[explore]'.
"""

from pathlib import Path

from scalegan.errors import UserError
from scalegan.support.arguments import verb_parser, warn, whole

_PORTS = range(7860, 7960)


def main(arguments: list[str]) -> int:
    parser = verb_parser("explore", __doc__,
                         "explore runs/digits",
                         "explore runs/ faces.safetensors",
                         "explore runs/faces --port 8000 --no-browser")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                        help="run folder, checkpoint, exported .safetensors, or a folder of runs")
    parser.add_argument("--port", type=whole(1, 65535), help=f"of the page (default: the first free one from "
                        f"{_PORTS[0]} on)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    options = parser.parse_args(arguments)
    runs, problems = _named(options.runs)
    for problem in problems:
        warn(problem)
    try:
        from scalegan.explore.serving import serve
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("gradio", "gradio_client"):
            raise
        raise UserError("the page needs Gradio: pip install 'scalegan[explore]'") from None
    return serve(runs, options.port, _PORTS, not options.no_browser)


def _named(given: list[Path]) -> tuple[dict[str, str], list[str]]:
    """Paths by name, and what is wrong with those that are neither runs nor exports.

    Raises:
        UserError: if none is.
    """
    from scalegan.checkpoints.hub import located
    from scalegan.cluster.status import runs_of

    found, problems = [], []
    for path in map(Path, map(located, given)):
        if path.is_file() or (path / "COMPLETE").exists():
            found.append(path)
            continue
        try:
            found += runs_of(path)
        except UserError as error:
            problems.append(str(error) if path.exists() else f"{path} does not exist")
    if not found:
        raise UserError(problems[0])
    names = [path.resolve().name for path in found]
    return {str(path) if names.count(name) > 1 else name: str(path) for path, name in zip(found, names)}, problems
