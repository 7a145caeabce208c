"""Dependencies point one way; asserted from the source, not from what happens to be imported."""

import ast
import sys
from pathlib import Path

import pytest
from harness import ROOT

PACKAGE = ROOT / "scalegan"

# Levels from the bottom. A module may import its own level and those below.
BOTTOM = {"models", "losses", "divergences", "penalties", "augment", "randomness", "config", "keys", "errors",
          "schedules", "flops", "allocator", "signals"}
MIDDLE = {"games", "engines", "data", "ema", "checkpoint", "metrics", "stop_request", "runlog", "pictures",
          "environment", "runfolder", "optimizers", "standing", "liveness", "rollback", "vitals", "runlock", "shares",
          "replicas", "power_ema", "due", "utilisation", "update_trace"}
TRAINER = {"trainer"}


def module_of(path: Path) -> str:
    """scalegan.data.order of scalegan/data/order.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module of ours that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                if inner.with_suffix(".py").exists() or (inner / "__init__.py").exists():
                    found.add(f"{node.module}.{alias.name}")
    return {name for name in found if name.split(".")[0] == "scalegan" and "." in name}


SOURCES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = {module_of(path): imports_of(path) for path in SOURCES}


def part(module: str) -> str:
    """The part of the house a module belongs to: data of scalegan.data.order."""
    return module.split(".")[1] if "." in module else ""


def level(module: str) -> int:
    for number, names in enumerate((BOTTOM, MIDDLE, TRAINER)):
        if part(module) in names:
            return number
    return 3


@pytest.mark.parametrize("module", IMPORTS)
def test_nothing_imports_what_stands_above(module: str) -> None:
    if module == "scalegan":
        return
    assert {name for name in IMPORTS[module] if level(name) > level(module)} == set()


def test_games_know_no_engine_rank_or_file() -> None:
    for module in (m for m in IMPORTS if part(m) == "games"):
        assert {part(name) for name in IMPORTS[module]} <= BOTTOM | {"games"}


def test_models_import_nothing_of_ours_but_layers() -> None:
    for module in (m for m in IMPORTS if part(m) == "models"):
        assert {name for name in IMPORTS[module] if not name.startswith("scalegan.models.layers")} == set(), module


def test_engines_know_no_file_format_and_data_no_engine_but_ranks() -> None:
    for module in (m for m in IMPORTS if part(m) == "engines"):
        assert not {"data", "checkpoint", "metrics"} & {part(name) for name in IMPORTS[module]}, module
    for module in (m for m in IMPORTS if part(m) == "data"):
        assert {name for name in IMPORTS[module] if part(name) == "engines"} <= {
            "scalegan.engines", "scalegan.engines.ranks"}, module


def test_imports_make_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for name in IMPORTS.get(module, ()):
                visit(name, (*trail, module))
            done.add(module)

    for module in IMPORTS:
        if module != "scalegan":
            visit(module, ())


def test_no_module_has_a_name_of_the_standard_library() -> None:
    """Run as a file, `scalegan/train.py` has this folder first in sys.path."""
    own = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert own & set(sys.stdlib_module_names) == set()


def test_the_trainer_is_short_and_knows_no_mathematics() -> None:
    assert len((PACKAGE / "trainer.py").read_text().splitlines()) < 250
    assert {"losses", "penalties", "models"} & {part(name) for name in IMPORTS["scalegan.trainer"]} == set()
