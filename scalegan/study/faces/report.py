"""What the study writes: table.json, table.md, and picture.png with the pictures of all questions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw

from scalegan.pictures.grids import save_picture
from scalegan.study.faces.claims import Claim
from scalegan.study.faces.question import Question
from scalegan.study.tables import Rows, as_markdown
from scalegan.support.files import write_whole

_HEAD = 20      # pixels above each picture


def write(out: Path, preface: str, found: Mapping[str, tuple[Question, Rows, Sequence[Claim]]]) -> None:
    """Writes the tables of the questions.

    Args:
        preface: what all tables have in common.
        found: of each question its rows and the claims about them.
    """
    write_whole(out / "table.json", json.dumps(
        {name: {"rows": rows, "claims": [asdict(claim) for claim in claims]}
         for name, (_, rows, claims) in found.items()}, indent=1) + "\n")
    write_whole(out / "table.md", "\n".join([f"{preface}\n", *(_section(*each) for each in found.values())]))


def _section(question: Question, rows: Rows, claims: Sequence[Claim]) -> str:
    lines = "".join(f"{claim.line()}\n" for claim in claims)
    return f"## {question.title}\n\n{question.note}\n\n{as_markdown(rows, question.columns)}" + \
           (f"\nThe paper's claims, at this size:\n\n{lines}" if lines else "")


def join_pictures(path: Path, pictures: Mapping[str, Path]) -> None:
    """Saves pictures by their titles, one under another."""
    opened = {title: Image.open(each).convert("RGB") for title, each in pictures.items()}
    sheet = Image.new("RGB", (max(one.width for one in opened.values()),
                              sum(one.height + _HEAD for one in opened.values())), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for title, one in opened.items():
        draw.text((2, top + _HEAD - 4), title, "black", anchor="lb")
        sheet.paste(one, (0, top + _HEAD))
        top += one.height + _HEAD
    save_picture(sheet, path)
