"""Building blocks of the schema."""

from dataclasses import dataclass
from typing import Annotated, dataclass_transform
from unicodedata import category

from pydantic import AfterValidator, ConfigDict, Field


@dataclass_transform(frozen_default=True, kw_only_default=True)
def typed(kind: type) -> type:
    """Makes a frozen dataclass that pydantic validates when a TypeAdapter builds it. pydantic's own decorator would
    compile a validator for each class at import, which slows down every command."""
    kind.__pydantic_config__ = ConfigDict(extra="forbid")
    return dataclass(frozen=True, kw_only=True)(kind)


Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]       # all units cannot be dropped: what is kept is divided by 1 - p
RelativeLength = Annotated[float, Field(gt=0.005, lt=0.28)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


def printable(text: str) -> str:
    """The text itself. Raises ValueError if it has a line break or another control character."""
    if any(category(letter) == "Cc" for letter in text):
        raise ValueError("has a line break or another control character; remove it")
    return text


Text = Annotated[str, AfterValidator(printable)]
