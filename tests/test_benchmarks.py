"""Benchmarks are run by hand; what they take from the packages is there all the same."""

import ast
import importlib
import runpy
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_imports_resolve(script):
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] not in ("featcache", "adapter", "cli"):
                continue
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_the_picture_of_the_demo_shows_every_image_of_the_first_screen(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    found = [{"path": "red.png", "predicted": 1.2, "true": 1.0}] * 2
    parts = {"highest": found, "middle": found, "lowest": found}
    row = {"query": "sort images by redness.", "srcc": 0.5, **parts}
    script = runpy.run_path(str(SCRIPTS[0].parent / "demo_picture.py"))
    picture = script["draw"]({"first_screen": [row, row]}, tmp_path)
    red = sum(count for count, color in picture.getcolors(1 << 20) if color == (255, 0, 0))
    assert red == 12 * script["SIDE"] ** 2
