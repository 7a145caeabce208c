"""`scalegan COMMAND`: the command line; every command is a module. None imports torch before it must."""

import os
import platform
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version

from scalegan import __version__
from scalegan.errors import UserError, one_line
from scalegan.support.output import outlive_readers

_LONGEST = 2000     # characters of a message
_ONLY_PRINT = ("recipes", "plan", "status", "inspect")      # and so end where nobody reads on; others finish their work
VERBS = {
    "train": ("scalegan.train", "train a recipe, or resume a run"),
    "recipes": ("scalegan.commands.recipes", "list the recipes"),
    "plan": ("scalegan.commands.plan", "memory, traffic and hours of recipes on 1 to 1,024 GPUs"),
    "prepare": ("scalegan.commands.prepare", "make shards of LSUN, CelebA, CIFAR-10 or your own images"),
    "preview": ("scalegan.commands.preview", "show what augmentation does to images of a dataset"),
    "evaluate": ("scalegan.commands.evaluate", "measure samples against real images: FID, KID, precision, recall, ..."),
    "probe": ("scalegan.commands.probe", "measure how well labels can be predicted from a run's features"),
    "sample": ("scalegan.commands.sample", "generate images with a run or an export"),
    "export": ("scalegan.commands.export", "write a run's networks to one safetensors file"),
    "push": ("scalegan.commands.push", "publish a run's networks with a model card on the Hugging Face Hub"),
    "convert": ("scalegan.commands.convert", "convert other implementations' checkpoints to exports"),
    "submit": ("scalegan.commands.submit", "submit a run or a sweep to SLURM"),
    "status": ("scalegan.commands.status", "show the status of runs"),
    "stop": ("scalegan.commands.stop", "save and stop runs"),
    "interpolate": ("scalegan.commands.interpolate", "interpolate between samples: an image strip, a GIF or a video"),
    "timelapse": ("scalegan.commands.timelapse", "show how a run's samples grew: a GIF or a video"),
    "directions": ("scalegan.commands.directions", "find directions in latents: attributes, SeFa, GANSpace"),
    "edit": ("scalegan.commands.edit", "move samples along directions, or add and subtract their latents"),
    "project": ("scalegan.commands.project", "find the latent of a photo"),
    "apply": ("scalegan.commands.apply", "turn photos into images with any run or export from image to image"),
    "colorize": ("scalegan.commands.colorize", "colour photos with a colorization run or export"),
    "upscale": ("scalegan.commands.upscale", "enlarge photos with an SRGAN run or a converted network"),
    "translate": ("scalegan.commands.translate", "give photos another domain (CycleGAN) or attributes (StarGAN)"),
    "faces": ("scalegan.commands.faces", "recognise, rebuild, transform and generate faces (iterative GAN)"),
    "explore": ("scalegan.commands.explore", "look at runs on a page: samples, walks, directions, photos"),
    "compare": ("scalegan.commands.compare", "compare runs side by side on one HTML page"),
    "monitor": ("scalegan.commands.monitor", "watch runs in the browser, also while they train"),
    "study": ("scalegan.commands.study", "compare objectives, on 2-D toys, by colouring photos, or on faces"),
    "inspect": ("scalegan.commands.inspection", "print what a checkpoint holds, with digests"),
}


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: scalegan COMMAND ...\n")
        for verb, (_, what) in VERBS.items():
            print(f"  {verb:<11} {what}")
        print("\n`scalegan COMMAND --help` explains a command with examples; `scalegan --version` prints versions.")
        print("First steps: `scalegan train recipe=quickstart`, then `scalegan sample runs/quickstart`.")
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"scalegan {__version__}, torch {version('torch')}, Python {platform.python_version()}")
        return 0
    if arguments[0] not in VERBS:
        from scalegan.support.names import did_you_mean

        print(f"scalegan: error: there is no command '{arguments[0]}' (`scalegan --help` lists them)"
              f"{did_you_mean(arguments[0], VERBS)}", file=sys.stderr)
        return 2
    if arguments[0] not in _ONLY_PRINT:
        outlive_readers()
    return run_verb(lambda rest: import_module(VERBS[arguments[0]][0]).main(rest), arguments[1:])


def run_verb(verb: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Runs a command; a user's mistake and Ctrl-C become one line and an exit code, without a stack trace."""
    for stream in (sys.stdout, sys.stderr):     # a file's name may have letters that the terminal lacks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if any(argument.startswith("hf://") for argument in arguments):
            from scalegan.checkpoints.hub import located

            arguments = [str(located(argument)) if argument.startswith("hf://") else argument
                         for argument in arguments]
        return verb(arguments)
    except UserError as error:
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not error.shared:
            where = "" if rank == "0" else f"rank {rank}: "
            print(f"scalegan: error: {where}{_shortened(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code
    except BrokenPipeError:     # as with `| head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{one_line(str(error.filename))}: " if error.filename else ""
        remedy = "; it is a file where a folder is needed, so name another" \
            if isinstance(error, (FileExistsError, NotADirectoryError)) and error.filename else ""
        print(f"scalegan: error: {where}{os.strerror(error.errno)}{remedy}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("scalegan: interrupted", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT


def _shortened(message: str) -> str:
    """One line: what a message quotes from a file or its name may hold line breaks, or be megabytes. The remedy stands
    at its end."""
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST // 2]} ... {message[-_LONGEST // 4:]}"
    return one_line(message)
