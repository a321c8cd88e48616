"""The examples run as they stand, on fewer images."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(script, *options, cwd):
    """Run a script with warnings as errors; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", script, *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts(script, tmp_path):
    printed = run(script, "--images", "60", cwd=tmp_path)
    correlations = [float(number) for number in re.findall(r"-?\d\.\d{3}\b", printed)]
    assert correlations
    assert max(correlations) > 0.5  # something was learned, or known


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(notebook, tmp_path):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not any(cell.get("outputs") for cell in cells), "clear the outputs before a commit"
    small = code.replace("IMAGES, STEPS = 200, 150", "IMAGES, STEPS = 60, 60")
    assert small != code
    (tmp_path / "notebook.py").write_text(small, "utf-8")
    (correlation,) = re.findall(r"SRCC (-?\d\.\d\d)", run("notebook.py", cwd=tmp_path))
    assert float(correlation) > 0.3


def test_the_list_is_complete():
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert set(re.findall(r"\]\((\w+\.\w+)\)", text)) == {p.name for p in SCRIPTS + NOTEBOOKS}
