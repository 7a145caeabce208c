"""The site: built without a warning, whole, and without anything from the network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalegan.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="Material for MkDocs is not installed (extra docs)")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
                          cwd=ROOT, env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "HOME": str(tmp_path)},
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    docs = ROOT / "docs"
    assert {path.relative_to(docs).with_suffix(".html").as_posix() for path in docs.rglob("*.md")} <= pages.keys()
    resource = r'<(?:script|img|link rel="(?:stylesheet|icon|preconnect)")[^>]*(?:src|href)="(https?:[^"]*)'
    assert not {name: found for name, page in pages.items() if (found := re.findall(resource, page))}
    assert all(f'id="{verb}"' in pages["reference/commands.html"] for verb in VERBS)
    assert all(f'id="{path.stem}"' in pages["reference/recipes.html"] for path in (ROOT / "recipes").glob("*.yaml"))
    assert all(f'id="scalegan.{name}"' in pages["reference/api.html"] for name in ("load", "games.base.Game.make"))
    assert (tmp_path / "search" / "search_index.json").stat().st_size > 100_000
