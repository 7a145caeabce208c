"""Captions for the images of a folder or zip, from a file of JSON lines."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data import text_encoders
from scalegan.data.captions import Captions
from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed, Source
from scalegan.errors import UsageError, UserError
from scalegan.support.names import did_you_mean

_FORM = '{"file": "a.png", "caption": "..."} or {"file": "a.png", "captions": ["...", "..."]}'


def captioned(source: Source, path: Path, encoder: str) -> tuple[Source, Captions]:
    """The source with a caption or several for each image, in place of its labels; and all captions.

    Args:
        path: JSON lines with the images' files, relative to the source, or their names where these are different.
        encoder: tfidf, minilm, or a file.

    Raises:
        UserError: if a line is not of that form, an image has no caption, or a caption no image.
    """
    if not isinstance(source, Listed):
        raise UsageError("--captions are for images in a folder or zip; leave it out, or use --kind folder")
    texts_of = {file: [] for file in source.files}
    names = names_of(source.files)
    for number, (file, texts) in enumerate(_lines(path), start=1):
        found = file_of(file, texts_of, names)
        if found is None:
            raise UserError(f"{path}, line {number}: {source.name} has no image {file}{did_you_mean(file, texts_of)}; "
                            "correct or remove the line")
        texts_of[found] += texts
    if missing := [file for file, texts in texts_of.items() if not texts]:
        raise UserError(f"{path} has no caption for {len(missing):,} of {len(texts_of):,} images, such as {missing[0]};"
                        " add some, or remove these images")
    counts = np.array([len(texts) for texts in texts_of.values()])
    texts = tuple(text for each in texts_of.values() for text in each)
    captions = encoded(texts, encoder)
    rows = np.stack([counts.cumsum() - counts, counts], 1).astype(np.int64)
    labels = LabelSchema("vectors", vectors=captions.digest(), dim=captions.vectors.shape[1])
    return replace(source, labels=labels, table=rows), captions


def encoded(texts: Sequence[str], encoder: str) -> Captions:
    """Texts with their vectors. Raises UserError if the encoder is missing, or cannot encode one."""
    chosen = text_encoders.fitted(encoder, texts)
    try:
        return Captions(tuple(texts), chosen.encode(texts), chosen.description)
    except ValueError as error:
        raise UserError(f"--text-encoder {encoder}: {error}; use minilm, or other captions") from error


def file_of(given: str, files: Container[str], names: Mapping[str, str]) -> str | None:
    """Which of a source's files somebody means, by its path, the end of that, or a longer path that ends so; None if
    there is no such file, or there are several of its name. b/1.png is not a/1.png."""
    if given in files:
        return given
    found = names.get(PurePosixPath(given).name)
    shorter, longer = sorted((f"/{given}", f"/{found}"), key=len)
    return found if longer.endswith(shorter) else None


def names_of(files: Sequence[str]) -> dict[str, str]:
    """Files by name, where no other has the same."""
    found: dict[str, str | None] = {}
    for file in files:
        name = PurePosixPath(file).name
        found[name] = None if name in found else file
    return {name: file for name, file in found.items() if file}


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Files and captions of all lines."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = list(file)      # str.splitlines would also break lines inside of texts, at U+2028 and the like
    except FileNotFoundError:
        raise UserError(f"--captions {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--captions {path} cannot be read ({error}); use JSON lines in UTF-8") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"{path}, line {number} is empty; remove it")
        try:
            tree = json.loads(line)
            texts = tree["captions"] if "captions" in tree else [tree["caption"]]
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
                raise TypeError("captions must be texts")
            file = tree["file"]
            if not isinstance(file, str):
                raise TypeError("file must be a text")
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}, line {number} is not of the form {_FORM} ({type(error).__name__}: {error})"
                            ) from error
        if not all(text.strip() for text in texts):
            raise UserError(f"{path}, line {number} has an empty caption for {file}; write one, or remove the line")
        found.append((file, texts))
    if not found:
        raise UserError(f"{path} has no captions; write lines such as {_FORM}")
    return found
