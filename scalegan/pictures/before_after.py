"""A page that shows photos before and after, one above the other with a slider between them."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from scalegan.support.files import write_whole

_STYLE = """body { font: 14px system-ui, sans-serif; margin: 24px; color: #222; background: #fff; }
.photos { display: flex; flex-wrap: wrap; gap: 24px; }
figure { margin: 0; max-width: min(100%, 960px); }
.pair { position: relative; line-height: 0; }
.pair img { width: 100%; }
.pair img.after { clip-path: inset(0 0 0 var(--at, 50%)); }
.pair img.before { position: absolute; inset: 0; height: 100%; clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0); }
input { width: 100%; margin: 6px 0 0; }
figcaption { overflow-wrap: anywhere; }"""


def save(path: Path, title: str, pairs: Sequence[tuple[str, Path, Path]]) -> None:
    """Writes the page.

    Args:
        pairs: a name, and the pictures before and after; the page refers to them where they are.
    """
    figures = "\n".join(_figure(name, _address(before, path), _address(after, path)) for name, before, after in pairs)
    write_whole(path, f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{escape(title)}</h1>
<p>Move the slider: before on its left, after on its right. A name opens the result at its full size.
</p><div class="photos">
{figures}
</div></body></html>
""".encode(errors="replace"))      # names of files need not be text


def _figure(name: str, before: str, after: str) -> str:
    label = escape(f"how much of {name} to show before", quote=True)
    # The picture after is the larger one, where a network enlarges; the one before covers it.
    return (f'<figure><div class="pair"><img src="{after}" alt="after" loading="lazy">'
            f'<img class="before" src="{before}" alt="before" loading="lazy"></div>'
            f'<input type="range" min="0" max="100" value="50" aria-label="{label}" '
            "oninput=\"this.previousElementSibling.style.setProperty('--at', this.value + '%')\">"
            f'<figcaption><a href="{after}">{escape(name)}</a></figcaption></figure>')


def _address(picture: Path, page: Path) -> str:
    return quote(os.fsencode(os.path.relpath(picture.resolve(), page.resolve().parent)))
