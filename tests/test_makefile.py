"""The Makefile and the commands say the same."""

import re
import shlex
import tomllib
from pathlib import Path

from cli.extract import DRAWN

TEXT = (Path(__file__).parents[1] / "Makefile").read_text("utf-8").replace("\\\n", "")


def recipe(target):
    """Command lines of a target, each as a list of words."""
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", TEXT, re.M)
    assert found, f"no target {target}"
    return [shlex.split(line) for line in found[1].splitlines()]


def test_the_demo_trains_as_the_extraction_advises():
    (train,) = [words for words in recipe("demo") if words[:2] == ["$(BIN)/adapter", "train"]]
    assert train[train.index("--resume") + 1 :] == DRAWN


def test_tests_and_linters_have_a_set_up_of_their_own():
    assert re.search(r"^demo: setup ", TEXT, re.M)
    for target in ("test", "test-slow", "lint", "format", "docs", "dist"):
        assert re.search(rf"^{target}: setup-dev ", TEXT, re.M), target


def test_the_oldest_torch_is_the_one_that_the_project_allows():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    (bound,) = [d for d in project["dependencies"] if d.startswith("torch>=")]
    (install,) = [words for words in recipe("test-oldest") if "lowest-direct" in words]
    assert bound.replace(">=", "==") + ".*" in install
    assert ".[test,tensorboard]" in install
