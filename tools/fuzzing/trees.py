"""Damage to what JSON and YAML hold: a value of another type, an absurd number, a key that is missing or twice there.

The tools work on text, since what is damaged here cannot always be held by a parser: a number of five thousand digits,
or the same key twice.
"""

import json
from random import Random
from typing import Any

#: Values to put in place of others, as JSON text.
WORDS = {
    "a null": "null", "true": "true", "a text": '"x"', "an empty text": '""', "a list": "[]",
    "a list of null": "[null]", "an object": "{}",
    "an object with a key": '{"name": 1}', "zero": "0", "minus one": "-1", "a half": "0.5",
    "NaN": "NaN", "infinity": "Infinity", "minus infinity": "-Infinity", "1e400": "1e400", "1e308": "1e308",
    "minus 1e308": "-1e308", "2^63": str(1 << 63), "2^64": str(1 << 64), "10^18": str(10**18),
    "10^5000": "1" + "0" * 5000,
    "5,000 digits as text": '"' + "9" * 5000 + '"', "a number as text": '"7"',
    "digits of another script": '"\\u0663"',
    "a lone surrogate": '"\\ud800"', "a zero byte": '"\\u0000"', "a line end": '"a\\nb"',
    "a path upwards": '"../../outside"', "an absolute path": '"/proc/self/mem"',
    "a long text": '"' + "x" * 100_000 + '"',
    "deep lists": "[" * 50_000 + "]" * 50_000, "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "lists 200 deep": "[" * 200 + "]" * 200, "a long list": "[" + "0," * 100_000 + "0]",
}
_MARK = "@mark@"
_TWICE = "@twice@"


def damaged(text: str, random: Random) -> tuple[str, str]:
    """JSON with one of its nodes damaged, and a phrase for what was done to it."""
    tree = json.loads(text)
    places = list(_places(tree))
    if not places or random.random() < 0.08:
        word = random.choice(list(WORDS))
        return WORDS[word], f"the whole is {word}"
    parent, key, where = random.choice(places)
    how = random.choice(["value"] * 6 + ["missing", "renamed", "twice"])
    if how == "missing" or (how != "value" and isinstance(parent, list)):
        del parent[key]
        return json.dumps(tree), f"{where} is missing"
    if how == "renamed":
        parent[f"{key} "] = parent.pop(key)
        return json.dumps(tree), f"{where} is called otherwise"
    word = random.choice(list(WORDS))
    if how == "twice":
        parent[_TWICE] = _MARK
        text = json.dumps(tree).replace(f'"{_TWICE}"', json.dumps(key))
        return text.replace(f'"{_MARK}"', WORDS[word]), f"{where} is there twice, once as {word}"
    parent[key] = _MARK
    return json.dumps(tree).replace(f'"{_MARK}"', WORDS[word]), f"{where} is {word}"


def _places(tree: Any, where: str = "") -> Any:
    """Every node below the root: what holds it, its key or number there, and its name."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key, f"{where}.{key}".lstrip(".")
        yield from _places(value, f"{where}.{key}")
