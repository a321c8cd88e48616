"""The documentation site: every page is in it, its links lead somewhere, it builds strictly."""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs")
spec = util.spec_from_file_location("hooks", ROOT / "docs" / "_site" / "hooks.py")
hooks = util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def pages(entries):
    """The pages of the navigation in mkdocs.yml, in order."""
    for entry in entries:
        for found in entry.values():
            if isinstance(found, str):
                yield found
            else:
                yield from pages(found)


def test_every_page_has_one_place_in_the_site():
    from mkdocs.utils.yaml import yaml_load

    with (ROOT / "mkdocs.yml").open() as file:
        listed = list(pages(yaml_load(file)["nav"]))
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    made = {*hooks.OUTSIDE.values(), "settings.md"} | {
        f"{kind}/{command}.md" for kind in ("help", "api") for command in ("featcache", "adapter")
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == written | made


@pytest.mark.parametrize(
    ("text", "source", "page", "expected"),
    [
        ("[a](docs/x.md#y)", "README.md", "index.md", "[a](x.md#y)"),
        ("![a](docs/images/x.png)", "README.md", "index.md", "![a](images/x.png)"),
        ("[a](../README.md)", "docs/x.md", "x.md", "[a](index.md)"),
        ("[a](../x.md)", "docs/b/y.md", "b/y.md", "[a](../x.md)"),
        ("[the card](../featcache/a.py)", "docs/x.md", "x.md", "the card (`featcache/a.py`)"),
        ("[a](https://a.org/b.md)", "docs/x.md", "x.md", "[a](https://a.org/b.md)"),
    ],
)
def test_links_are_moved(text, source, page, expected):
    assert hooks.moved(text, source, page) == expected


def test_every_setting_has_its_line():
    text = hooks.settings_page()
    for line in (
        "| `batch_size` | integer \\| null | `32` | Images per forward pass",
        "| `mean` | list of 3 numbers |  | Per-channel mean",
        "| `steps` | integer | `2000` | Updates. |",
    ):
        assert line in text
    cells = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(cells) > 60
    assert not [line for line in cells if line.endswith("|  |")], "a field without a docstring"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "adapter train" in (tmp_path / "site" / "help" / "adapter" / "index.html").read_text()
    assert "load_backbone" in (tmp_path / "site" / "api" / "featcache" / "index.html").read_text()
