from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cli.console import make_app
from cli.reproduce import EXAMPLES, reproduce
from featcache.datasets.miniatures import write
from featcache.datasets.stand_in import NOTICE

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


def test_all_tables_without_data_end_with_what_to_get_and_an_index(app, tmp_path):
    options = ["--data", str(tmp_path / "no"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, ["reproduce", "--all", *options])
    assert result.exit_code == 3
    said = " ".join(result.output.split())
    assert said.count("AVA is not complete in") == 1  # of many tables that need it
    index = (tmp_path / "out" / "results" / "index.html").read_text("utf-8")
    for name in ("table12", "clip-iqa-table5", "tmcr-table3"):
        assert f'href="{name}.html"' in index
        assert (tmp_path / "out" / "results" / f"{name}.tex").exists()


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


def test_without_data_the_table_runs_on_drawn_stand_ins_and_says_so(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEATCACHE_DATA", raising=False)
    drawn = tmp_path / "runs" / "table1-miniature"
    for name, images in {"adience": 40, "hci": 25}.items():  # smaller than it would draw itself
        write(name, drawn / "data" / name, images)
    options = ["--or-miniature", "--only", "ridge-pooled", "--device", "cpu"]
    result = CliRunner().invoke(app, ["reproduce", "table1", *options])
    assert result.exit_code == 0, result.output
    title = (drawn / "results" / "table1-stand-in.md").read_text().splitlines()[0]
    assert "drawn stand-ins, not the data sets" in title
    said = " ".join(result.output.split())
    last = said[said.index(NOTICE) :]
    for expected in ("Tal Hassner", "put it into data/adience", "historicalColor", "--data data"):
        assert expected in last
    assert not (tmp_path / "data").exists()


def test_with_data_nothing_is_drawn(app, tmp_path):
    write("hci", tmp_path / "hci", 25)
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "clip-iqa"]
    more = ["--or-miniature", "--device", "cpu", "--backbone", "drawn-scenes-clip"]
    result = CliRunner().invoke(app, ["reproduce", "table1", *options, *more])
    assert result.exit_code == 3, "Adience is not there"
    assert not (tmp_path / "out" / "data").exists()
    said = (tmp_path / "out" / "results" / "table1-stand-in.md").read_text()
    assert "HCI (drawn stand-in)" in said, "whoever gives a stand-in as data is told"


@pytest.mark.parametrize("more", [["--data", "."], ["--quick"]])
def test_drawn_data_go_without_other_data_and_have_few_steps(app, more):
    result = CliRunner().invoke(app, ["reproduce", "table1", "--miniature", *more])
    assert result.exit_code == 2
    assert f"leave out {more[0]}" in result.output
