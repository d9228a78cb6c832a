"""Imports point one way: the layout of DESIGN.md, held by reading every module's imports, also those inside of functions."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import executor

PACKAGE = Path(executor.__file__).parent
# From the inside out. A part imports from its own layer and those above it in this list, and from nowhere else.
LAYERS = (
    {
        "",
        "units",
        "model",
        "errors",
        "states",
        "toml_lines",
        "settings",
        "config",
        "faults",
        "log",
        "outcomes",
        "paths",
        "percentile",
        "programs",
        "status",
    },
    {"network", "chainstate", "risk", "wallet", "journal"},
    {"stages"},
    {"gate", "life", "trade"},
    {"desk", "recovery", "recording", "rpc", "ops", "watching"},
    {"supervisor"},
    {"cli", "__main__"},
)
LOCALNET = "localnet"
LOCALNET_MAY_USE = {"", "units", "errors", "log", LOCALNET}
LOCALNET_IS_USED_BY = {"cli", LOCALNET}


def _module_name(file: Path) -> str:
    parts = ("executor", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module_name(file): ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py") if not file.stem.endswith(("_pb2", "_grpc"))
}


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of ours that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (name if (name := f"{module}.{alias.name}") in MODULES else module for alias in node.names)


IMPORTS = {
    name: {imported for imported in _imports(tree) if imported.split(".")[0] == "executor"} for name, tree in MODULES.items()
}


def _part(module: str) -> str:
    """The name below executor/ that a module belongs to; "" is the package itself."""
    return [*module.split("."), ""][1]


def _pairs() -> Iterator[tuple[str, str]]:
    return ((importer, imported) for importer, all_imported in IMPORTS.items() for imported in all_imported)


def test_every_module_has_its_layer() -> None:
    """Whatever is added to the package takes a place in the order."""
    assert {_part(module) for module in MODULES} <= set.union(*LAYERS) | {LOCALNET}


def test_imports_point_one_way() -> None:
    """No layer knows one that is built on it."""
    depth = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    assert not [
        f"{importer} imports {imported}"
        for importer, imported in _pairs()
        if LOCALNET not in (_part(importer), _part(imported)) and depth[_part(importer)] < depth[_part(imported)]
    ]


def test_localnet_and_daemon_do_not_know_each_other() -> None:
    """The localnet shares no encoder, decoder or constant of a trade with the daemon, and only the command line starts it."""
    assert not [
        f"{importer} imports {imported}"
        for importer, imported in _pairs()
        if (_part(importer) == LOCALNET and _part(imported) not in LOCALNET_MAY_USE)
        or (_part(imported) == LOCALNET and _part(importer) not in LOCALNET_IS_USED_BY)
    ]


def test_no_module_imports_itself_through_others() -> None:
    """There is an order in which the modules can be read, each after what it uses."""
    try:
        list(graphlib.TopologicalSorter(IMPORTS).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_imports_are_absolute() -> None:
    """A relative import would escape this test."""
    relative = [
        name for name, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative
