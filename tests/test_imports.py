"""Dependencies point one way; checked on the source, not on what happens to be imported."""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from harness import ROOT

PACKAGE = ROOT / "scalegan"

# The layers of the package, from the bottom. A module may import from its own layer and from those below; the first
# matching pattern counts.
LAYERS = [
    ["support.*", "kernels.*", "losses", "divergences", "penalties", "randomness", "schedules", "errors", "data.spec",
     "data.colour", "data.derived", "data.pixels", "data.rendering", "data.vectors"],
    ["config.*", "games.table", "games.*.settings"],
    ["models.*", "augment.*"],
    ["games.*"],
    ["averages.*"],
    ["engines.*"],
    ["data.*"],
    ["checkpoints.*"],
    ["metrics.*", "pictures.*", "interop.*", "faces.*"],
    ["training.*", "study.*", "probing.*", "latents.*"],
    ["commands.*", "cluster.*", "explore.*", "monitor.*"],
    ["cli", "train", "evaluate", "__main__"],
]
VOCABULARY = set(LAYERS[0]) - {"support.*", "kernels.*"}
CHOOSERS = ("scalegan.models.families", "scalegan.models.image_to_image")
ENTRY_POINTS = {"__init__", "__main__", "cli", "train", "evaluate"}


def module_of(path: Path) -> str:
    """scalegan/data/manifest.py -> scalegan.data.manifest."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module of ours that a file imports at run time, including inside functions but not for type checking."""
    found = set()
    for node in _run_time_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = [ROOT.joinpath(*node.module.split("."), alias.name) for alias in node.names]
            modules = [i.with_suffix(".py").exists() or (i / "__init__.py").exists() for i in inner]
            found.update(f"{node.module}.{alias.name}" for alias, one in zip(node.names, modules) if one)
            if not all(modules):
                found.add(node.module)
    return {name for name in found if name.split(".")[0] in ("scalegan", "tools")}


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node outside `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            yield from _run_time_nodes(node)


IMPORTS = {module_of(path): imports_of(path) for path in sorted(PACKAGE.rglob("*.py"))}


def test_what_is_imported_exists() -> None:
    """Also in modules that no quick test imports."""
    missing = {(module, name) for module, names in IMPORTS.items() for name in names if name.startswith("scalegan.")
               and not (ROOT.joinpath(*name.split(".")).with_suffix(".py").exists()
                        or ROOT.joinpath(*name.split("."), "__init__.py").exists())}
    assert missing == set()


def layer_of(module: str) -> int:
    """The number of a module's layer."""
    name = module.removeprefix("scalegan.")
    if module == "scalegan":
        return 0
    for number, patterns in enumerate(LAYERS):
        if any(fnmatch(name, pattern) or f"{name}.*" == pattern for pattern in patterns):
            return number
    raise AssertionError(f"{module} is in no layer; add it to LAYERS in {Path(__file__).name}")


def imported_by(package: str) -> dict[str, set[str]]:
    """The imports of each module of a package."""
    return {module: IMPORTS[module] for module in IMPORTS if f"{module}.".startswith(f"scalegan.{package}.")}


@pytest.mark.parametrize("module", [module for module in IMPORTS if module != "scalegan"])
def test_nothing_imports_from_a_higher_layer(module: str) -> None:
    assert {name for name in IMPORTS[module] if layer_of(name) > layer_of(module)} == set()


@pytest.mark.parametrize("package", ["data", "games"])
def test_packages_with_modules_in_a_lower_layer_import_nothing_above_it(package: str) -> None:
    """Importing such a module runs the package's __init__ first."""
    assert all(layer_of(name) <= 1 for name in IMPORTS[f"scalegan.{package}"])


def test_only_entry_points_and_the_vocabulary_lie_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ENTRY_POINTS | {n for n in VOCABULARY if "." not in n}


def test_no_module_is_long() -> None:
    assert {path.name: n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 350} == {}


def test_games_know_no_engine_rank_or_file() -> None:
    for module, found in imported_by("games").items():
        assert all(layer_of(name) <= layer_of(module) for name in found), module
        assert not {"pathlib", "os"} & outside(module) or module == "scalegan.games.compiled", module


def outside(module: str) -> set[str]:
    """Packages that a module imports at its top level."""
    path = ROOT.joinpath(*module.split("."))
    path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    nodes = ast.parse(path.read_text()).body
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in found}


def test_the_schema_and_the_games_settings_import_no_torch() -> None:
    """Nor does anything that they import."""
    seen, waiting = set(), [module for module in IMPORTS if layer_of(module) == 1]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            assert "torch" not in outside(module), module
            waiting += IMPORTS[module]


def test_models_import_nothing_of_ours_but_layers_and_kernels() -> None:
    """Except `families` and `image_to_image`, which choose among them for a recipe."""
    for module, found in imported_by("models").items():
        own = ".".join(module.split(".")[:3])       # a family may be a folder
        layers = {name for name in found if name.startswith(("scalegan.models.layers", "scalegan.kernels", f"{own}."))}
        assert found - layers == set() or module in CHOOSERS, module


def test_interop_imports_models_alone() -> None:
    for module, found in imported_by("interop").items():
        assert all(layer_of(name) <= 2 or name.startswith("scalegan.interop") for name in found), module


def test_engines_know_no_file_format_and_data_no_engine_but_ranks() -> None:
    for module, found in imported_by("data").items():
        assert {name for name in found if name.startswith("scalegan.engines")} <= {"scalegan.engines.ranks"}, module


def test_preparing_knows_nothing_of_reading() -> None:
    for module, found in imported_by("data.preparing").items():
        assert not [name for name in found if name.startswith("scalegan.data.reading")], module


def test_imports_have_no_cycle() -> None:
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
    own = {part for module in IMPORTS for part in module.split(".")}
    assert own & set(sys.stdlib_module_names) == set()


def test_the_trainer_is_short_and_knows_no_mathematics() -> None:
    assert len((PACKAGE / "training/trainer.py").read_text().splitlines()) < 250
    assert not {name for name in IMPORTS["scalegan.training.trainer"]
                if name.split(".")[1] in ("losses", "penalties", "models")}
