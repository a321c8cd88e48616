"""The house: floors stand on lower ones, nothing runs in a circle, and the doors are labeled.

`FLOORS` is the order of docs/architecture.md, from the ground up. A module may import those of
its own floor and of lower ones, at run time, inside functions and for type checking alike.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import adapter
import featcache

ROOT = Path(__file__).parents[1]

FLOORS = (
    "featcache.errors",
    "featcache.versions",
    "featcache.wording",
    "featcache.configuration",
    "featcache.devices",
    "featcache.stopping",
    "featcache.images",
    "featcache.backbone",
    "featcache.storage.durable",  # whole files; all that write stand on it
    "featcache.datasets",
    "featcache.storage",
    "featcache.datasets.miniatures",
    "featcache.backbone.embedded.",  # how the embedded weights were made; nothing imports it
    "featcache.reading",
    "featcache.extraction",
    "featcache.distributed",
    "featcache.maintenance",
    "featcache.transfer",
    "featcache.torch",
    "featcache",
    "adapter.errors",
    "adapter.names",
    "adapter.settings",
    "adapter.record",
    "adapter.network",
    "adapter.data",
    "adapter.stacking",
    "adapter.convert",
    "adapter.stored",
    "adapter.evaluation",
    "adapter.publishing",
    "adapter.run",
    "adapter.training",
    "adapter.methods",
    "adapter.explain",
    "adapter.teaching",
    "adapter.takeaway",
    "adapter.serve",
    "adapter.pages",
    "adapter.reproduction.recipe",
    "adapter.reproduction.figure",
    "adapter.recipes",
    "adapter.reproduction",
    "adapter.figures",
    "adapter",
    "cli",
    "featcache.__main__",
    "adapter.__main__",
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages, by name."""
    packages = ("featcache", "adapter", "cli")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


@cache
def imports(module: str, *, only_run: bool = False) -> frozenset[str]:
    """What a module imports of ours, wherever in the file the import stands.

    Args:
        module: Its name.
        only_run: Leave out what is imported for the type checker alone.
    """
    tree = ast.parse(modules()[module].read_text("utf-8"))
    if only_run:
        tree = WithoutTypes().visit(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules() else str(node.module))
    return frozenset((found & modules().keys()) - {module})


class WithoutTypes(ast.NodeTransformer):
    """Removes ``if TYPE_CHECKING:``."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def floor(module: str) -> int:
    """Number of the floor on which a module stands: that of the longest name it begins with.

    A name that ends in a dot stands for what lies in a package, without its ``__init__``.
    """
    names = [n for n in FLOORS if module == n or module.startswith(f"{n.rstrip('.')}.")]
    return FLOORS.index(max(names, key=len))


@pytest.mark.parametrize("module", sorted(modules()))
def test_nothing_imports_upwards(module: str) -> None:
    above = {other for other in imports(module) if floor(other) > floor(module)}
    assert not above, f"{module} imports {', '.join(sorted(above))} of a higher floor"


def test_no_modules_import_each_other_in_a_circle() -> None:
    # For type checking, two files of one floor may name each other.
    graph = {module: imports(module, only_run=True) for module in modules()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_every_floor_is_there() -> None:
    assert {name.rstrip(".") for name in FLOORS} <= modules().keys()


@pytest.mark.parametrize("package", [featcache, adapter])
def test_the_package_shows_its_public_names_and_no_others(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    assert dir(package) == sorted(package.__all__)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_public_names() -> None:
    assert featcache.verify.__name__ == "verify_cache"
    assert featcache.list_datasets()[0] == "adience"
    assert adapter.train.__module__ == "adapter.training.train"
    assert featcache.__version__ == adapter.__version__ != ""


def test_importing_the_packages_is_quick() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'h5py', 'scipy', 'PIL'}"
    code = f"import sys, featcache, adapter; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["featcache", "adapter"])
def test_a_package_runs_as_its_command(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"], check=True, capture_output=True, text=True
    )
    assert f"python -m {package} [OPTIONS] COMMAND" in done.stdout
