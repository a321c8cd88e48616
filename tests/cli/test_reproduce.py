from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cli.console import make_app
from cli.reproduce import EXAMPLES, reproduce

if TYPE_CHECKING:
    import typer


@pytest.fixture
def app() -> typer.Typer:
    app = make_app("test")
    app.command("other")(lambda: None)  # with one command only, Typer would leave its name out
    app.command("reproduce", help=EXAMPLES)(reproduce)
    return app


def test_the_list_names_recipes_and_their_data(app):
    result = CliRunner().invoke(app, ["reproduce", "--list"])
    assert result.exit_code == 0
    for expected in ("table1", "Adience", "HCI", "utkface", "Table 7"):
        assert expected in result.output


def test_without_data_it_says_what_to_download_and_where_to_put_it(app, tmp_path):
    options = ["--data", str(tmp_path / "no"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, ["reproduce", "table1", *options])
    assert result.exit_code == 3
    said = " ".join(result.output.split())
    assert "Tal Hassner" in said
    assert "fold_0_data.txt" in said
    assert "decade_database" in said
    assert (tmp_path / "out" / "results" / "table1.html").exists()


def test_a_recipe_is_asked_for(app):
    assert CliRunner().invoke(app, ["reproduce"]).exit_code == 2


def test_help_does_not_import_torch():
    code = (
        "import sys, cli.reproduce;"
        "from adapter.recipes import load_recipe;"
        "load_recipe('table1').to_quick();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
