"""Benchmarks are run by hand; what they take from the packages is there all the same."""

import ast
import importlib
import json
import runpy
import subprocess
import sys
from importlib.util import find_spec
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
                part = hasattr(module, "__path__") and find_spec(f"{node.module}.{alias.name}")
                assert hasattr(module, alias.name) or part, f"{node.module} has no {alias.name}"


def test_the_picture_of_the_demo_shows_every_image_of_the_first_screen(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    found = [{"path": "red.png", "predicted": 1.2, "true": 1.0}] * 2
    parts = {"highest": found, "middle": found, "lowest": found}
    row = {"query": "sort images by redness.", "srcc": 0.5, **parts}
    script = runpy.run_path(str(SCRIPTS[0].parent / "demo_picture.py"))
    picture = script["draw"]({"first_screen": [row, row]}, tmp_path)
    red = sum(count for count, color in picture.getcolors(1 << 20) if color == (255, 0, 0))
    assert red == 12 * script["SIDE"] ** 2


@pytest.mark.slow
def test_every_part_for_a_gpu_runs(tmp_path):
    """On the CPU, with small sizes; what needs the released code is left out."""
    command = [sys.executable, SCRIPTS[0].parent / "gpu.py"]
    small = ["--device", "cpu", "--small", "--json", tmp_path / "gpu.json"]
    done = subprocess.run([*command, "all", *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("left out") == 1
    tables = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["tables"]
    assert len(tables) == 5
    again = subprocess.run([*command, "all", *small], capture_output=True, text=True, check=False)
    assert again.stdout.count("measured before") == 5
    listed = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
    assert "extract: 2 of 2 measured" in listed.stdout
    assert "released: 0 of 1 measured" in listed.stdout
