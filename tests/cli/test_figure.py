from __future__ import annotations

import pytest
from typer.testing import CliRunner

from adapter.recipes.figures import FIGURES
from cli.console import make_app
from cli.figure import EXAMPLES, figure


@pytest.fixture
def app():
    app = make_app("test")
    app.command("other")(lambda: None)  # with one command only, Typer would leave its name out
    app.command("figure", help=EXAMPLES)(figure)
    return app


def test_the_list_names_every_figure_and_its_data(app):
    result = CliRunner().invoke(app, ["figure", "--list"])
    assert result.exit_code == 0
    for name in FIGURES:
        assert f"{name}  " in result.output
    assert "Figure 9 of arXiv 2412.06760v3; needs coco-rem, lvis" in result.output


def test_without_data_it_says_what_to_download(app, tmp_path):
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, ["figure", "tmcr-figure5", *options])
    assert result.exit_code == 3
    assert "AVA" in result.output
    assert not (tmp_path / "out" / "figures").exists()


def test_a_figure_is_asked_for(app):
    assert CliRunner().invoke(app, ["figure"]).exit_code == 2
    both = CliRunner().invoke(app, ["figure", "figure4", "--miniature", "--data", "x"])
    assert both.exit_code == 2
