"""What the site has beside docs/: a home page, the changelog, and the reference, made from the code (`make docs`)."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files

from scalegan.cli import VERBS
from scalegan.config import Recipe, help_pages
from scalegan.config.help import members_of

_COLUMNS = "100"
#: Where files outside docs/ are on the site.
_MOVED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
#: By section, its introduction and what it documents.
_API = {
    "Using networks": ("", ["scalegan.load", "scalegan.checkpoints.pretrained.Pretrained"]),
    "Writing a game": (
        "[The tutorial](../tutorials/write_a_game.md) writes one; [games](../games.md) explains all parts.",
        ["scalegan.games.base.Game", "scalegan.games.base.Phase", "scalegan.games.base.Batch",
         "scalegan.games.base.Sample", "scalegan.games.base.Export", "scalegan.games.base.Preview",
         "scalegan.data.spec.Spec", "scalegan.data.spec.Own", "scalegan.data.spec.PairedWith",
         "scalegan.randomness.Draws", "scalegan.games.sampling.latents", "scalegan.games.pool.Pool",
         "scalegan.games.adaptive_updates.AdaptiveUpdates", "scalegan.schedules.at"]),
    "Losses, networks and augmentation": (
        "`scalegan.losses.LOSSES` holds the losses of the [table](../games.md#objectives) by name.",
        ["scalegan.losses.AdversarialLoss", "scalegan.models.families.build", "scalegan.models.families.generator",
         "scalegan.models.families.discriminator", "scalegan.models.layers.tracked.Tracked",
         "scalegan.augment.choice.augment_of"]),
    "Metrics": ("A metric is a function of features or images ([steps](../architecture.md)).",
                ["scalegan.metrics.extractors.load", "scalegan.metrics.extractors.base.Extractor",
                 "scalegan.metrics.extractors.base.Features"]),
    "Errors": ("What a user can mend is one of these; commands print it in a line.",
               ["scalegan.errors.UserError", "scalegan.errors.UsageError", "scalegan.errors.RecipeError",
                "scalegan.errors.Diverged"]),
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not files of docs/."""
    pages = {site: (ROOT / source).read_text() for source, site in _MOVED.items()}
    pages |= {"reference/commands.md": "\n".join(commands()), "reference/keys.md": "\n".join(keys()),
              "reference/recipes.md": "\n".join(recipes()), "reference/api.md": "\n".join(api())}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Points links between docs/ and files outside it to where these are on the site."""
    up = "../" * page.file.src_uri.count("/")
    for source, site in _MOVED.items():
        markdown = re.sub(rf"\]\((\.\./)*{re.escape(source)}(#[^)]*)?\)", rf"]({up}{site}\2)", markdown)
    if page.file.src_uri in _MOVED.values():
        markdown = re.sub(r'(\]\(|src=")docs/', r"\1", markdown)
        # Whatever else lies in the repository has no page.
        markdown = re.sub(r"\[([^\]]+)\]\((?!http|#|pictures/)[^)]*?(?<!\.md)\)", r"\1", markdown)
    return markdown


def commands() -> Iterator[str]:
    """--help of each command."""
    yield "# Commands\n\nWhat `scalegan COMMAND --help` prints."
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for verb, text in zip(VERBS, pool.map(_help, VERBS)):
            yield f"\n## {verb}\n\n{VERBS[verb][1].capitalize()}.\n\n```text\n{text.rstrip()}\n```"


def keys() -> Iterator[str]:
    """Every key of a recipe, by group."""
    yield f"# Recipe keys\n\nWhat `scalegan train --help TOPIC` prints.\n\n```text\n{help_pages.overview()}\n```"
    for field in fields(Recipe):
        if members_of(field):
            yield f"\n## {field.name}\n\n```text\n{help_pages.page(field.name)}\n```"


def recipes() -> Iterator[str]:
    """Every recipe with its header."""
    yield "# Recipes"
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        yield f"\n## {path.stem}\n\n```yaml\n{path.read_text().rstrip()}\n```"


def api() -> Iterator[str]:
    """The classes and functions that users call, or write games with."""
    yield "# Python"
    for section, (introduction, names) in _API.items():
        yield f"\n## {section}\n\n{introduction}\n"
        yield from (f"::: {name}\n" for name in names)


def _help(verb: str) -> str:
    environment = {**os.environ, "COLUMNS": _COLUMNS, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "scalegan", verb, "--help"], check=True, capture_output=True,
                          text=True, env=environment).stdout
