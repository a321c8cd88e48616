"""Wheel and sdist: built, installed into an environment of their own, and tried."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*words, cwd):
    """Give a command that has to end well; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with wheel and sdist of what git holds."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, names):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    return folder


def test_the_wheel_works_in_an_environment_of_its_own(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 16 * 2**20
    venv.create(tmp_path / "venv", with_pip=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    # The dependencies are those of this environment, but not its copy of this project.
    (packages,) = {path for path in map(Path, sys.path) if path.name == "site-packages"}
    (site / "tested.pth").write_text(f"{packages}\n")
    bin_ = tmp_path / "venv" / "bin"
    run(bin_ / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    where = run(
        bin_ / "python",
        "-c",
        "import adapter, cli, featcache; print(featcache.__file__)",
        cwd=tmp_path,
    )
    assert where.startswith(str(site))
    run(bin_ / "featcache", "extract", "--dataset", "demo", "--root", "images", "--out", "cache",
        "--limit", "24", "--backbone", "drawn-scenes-clip", cwd=tmp_path)  # fmt: skip
    run(bin_ / "adapter", "train", "--shards", "cache", "--out", "run", "--steps", "2",
        "--width", "16", "--set", "model.prompt_tokens=2", cwd=tmp_path)  # fmt: skip
    run(bin_ / "adapter", "report", "run", "--root", "images", cwd=tmp_path)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_both_hold_what_they_need_and_no_more(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"adapter", "cli", "featcache"}
    for suffix in (".safetensors", ".css", ".j2", "py.typed"):
        assert any(name.endswith(suffix) for name in inside), suffix
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("LICENSE") for name in names)
    assert any(name.endswith("README.md") for name in names)
