"""The parsers of commands, and types of their arguments, for argparse."""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter


def verb_parser(verb: str, description: str, *examples: str) -> ArgumentParser:
    """The parser of `scalegan COMMAND`, whose help ends with examples; these leave out the leading `scalegan`."""
    return ArgumentParser(prog=f"scalegan {verb}", description=description, epilog="\n".join(
        ["examples:", *(f"  scalegan {example}" for example in examples)]),
        formatter_class=RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 up to, but not including, 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"'{text}' is not a fraction of at least 0 and below 1")
    return value


def seeds(text: str) -> list[int]:
    """Whole numbers and ranges: '0-3,7' is [0, 1, 2, 3, 7]."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        found = [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]
    except ValueError:
        found = []
    if not found:
        raise ArgumentTypeError(f"'{text}' is not of the form 0-63 or 1,5,9")
    return found


def counts(text: str) -> list[int]:
    """Positive whole numbers: '1,8,64'."""
    parts = text.split(",")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"'{text}' is not a list of numbers such as 1,8,64")
    return [int(part) for part in parts]
