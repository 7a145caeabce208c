"""What the answers to several photos leave in a folder, beside a file for each: their lines, and a picture."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scalegan.faces import sheets
from scalegan.faces.answers import Answer
from scalegan.pictures import photos
from scalegan.pictures.photos import Found
from scalegan.support.files import write_whole


class Collection:
    """Collects the lines of all answers, and of the first ones the pictures, as many as make one of moderate size.

    Raises:
        UsageError: if something in the folder could overwrite one of the photos.
    """

    def __init__(self, folder: Path, found: Sequence[Found]) -> None:
        self.picture, self.lines = (photos.apart(folder, name, found) for name in ("picture.png", "faces.jsonl"))
        beside = [one._replace(result=PurePosixPath(self.picture.name)) for one in found[:1]]
        photos.check_apart([*found, *beside], [folder])
        self._lines: list[str] = []
        self._shown: list[Answer] = []

    def add(self, line: str, answer: Answer) -> None:
        self._lines.append(line)
        if len(self._shown) < sheets.most_shown(len(answer.result), len(answer.pictures)):
            self._shown.append(answer)

    def save(self) -> int:
        """Writes both files; returns how many answers the picture shows."""
        self.lines.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.lines, "".join(f"{line}\n" for line in self._lines))
        columns = defaultdict(list)
        for answer in self._shown:
            for name, square in answer.pictures.items():
                columns[name].append(square)
        if len(columns) == 1:
            chances = [answer.figures["attributes"] for answer in self._shown]
            sheets.save_recognised(self.picture, columns["photo"], chances)
        else:
            sheets.save_beside(self.picture, columns)
        return len(self._shown)
