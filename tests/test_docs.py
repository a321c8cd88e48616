"""What the documentation names is there: tests, files, links, commands of the Makefile."""

import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import pytest

from featcache.backbone.spec import BackboneSpec
from featcache.datasets.records import Label
from featcache.images.preprocess import DecodedImage, Preprocessing

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = ("adapter.json", "adapter.safetensors")  # that look like names of Python
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def names_by_file() -> dict[str, set[str]]:
    """Names of the test functions of every test file, by the file's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        found.setdefault(path.name, set()).update(names)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_tests_that_are_named_exist(page):
    there, file = names_by_file(), ""
    # `test_x.py::test_y`, and `::test_y` for another one of the file named last.
    for named, test in re.findall(r"(test_\w+\.py)?(?:::(test_\w+))?", page.read_text("utf-8")):
        if named:
            file = named
            assert file in there
        if test:
            assert test in there[file], f"{file} has no {test}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_files_that_are_named_exist(page):
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:featcache|adapter|cli|benchmarks)/[\w/]*(?:\.py)?)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_targets_that_are_named_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", page.read_text("utf-8"))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_names_of_python_resolve(page):
    for name in re.findall(r"`((?:featcache|adapter|cli)(?:\.\w+)+)[(`]", page.read_text("utf-8")):
        if name in FILES:
            continue
        assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("kind", [Preprocessing, DecodedImage, BackboneSpec, Label])
def test_contracts_name_every_field(kind):
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (written,) = re.findall(rf"{kind.__name__}\((.*?)\)`", text, re.DOTALL)
    for field in fields(kind):
        assert re.search(rf"\b{field.name}\b", written), field.name
