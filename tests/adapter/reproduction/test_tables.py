from __future__ import annotations

import copy
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from adapter.reproduction.latex import escape, to_latex
from adapter.reproduction.tables import to_csv, to_html, to_markdown, write_index, write_tables
from adapter.reproduction.wording import QUICK, STAND_INS, better, signed, spread
from featcache.datasets.stand_in import NOTICE

ACCURACY = {
    "key": "accuracy",
    "title": "Accuracy",
    "unit": "%",
    "digits": 1,
    "higher_is_better": True,
}
MAE = {"key": "mae", "title": "MAE", "unit": "", "digits": 2, "higher_is_better": False}


def numbers(mean=None, std=None, printed=None, printed_std=None):
    difference = None if mean is None or printed is None else mean - printed
    return {
        "mean": mean,
        "std": std,
        "folds": 0 if mean is None else 5,
        "per_fold": [],
        "printed": printed,
        "printed_std": printed_std,
        "difference": difference,
    }


def row(key, kind, accuracy, mae, reason=""):
    ran = accuracy["mean"] is not None
    entry = {
        "status": "",
        "reason": "",
        "queries": 1,
        "folds_run": 5 if ran else 0,
        "seconds": [],
        "seconds_mean": 1.5 if ran else None,
        "device": ["cpu (x86_64)"] if ran else [],
        "metrics": {"accuracy": accuracy, "mae": mae},
    }
    return {
        "key": key,
        "title": f"Method <{key}>",
        "kind": kind,
        "reason": reason,
        "note": "One view." if key == "base" else "",
        "settings": None,
        "tasks": {"faces": entry},
    }


@pytest.fixture
def doc():
    return {
        "format": 2,
        "recipe": "mine",
        "title": "My table",
        "source": "Table 9",
        "quick": False,
        "stand_in": False,
        "created": "2026-01-01T00:00:00+00:00",
        "seeds": [0],
        "reference": "ours",
        "device": "a device",
        "machine": "a machine",
        "versions": {"torch": "2"},
        "notes": ["a note"],
        "tasks": [
            {
                "key": "faces",
                "title": "Faces",
                "split": "five folds",
                "folds": [0, 1, 2, 3, 4],
                "metrics": [ACCURACY, MAE],
                "status": "there",
                "stand_in": False,
                "root": "/data",
                "notes": ["leak: one"],
                "missing": [],
                "choices": ["zeros are left out."],
                "features": [
                    {
                        "name": "faces-b-p",
                        "images": 100,
                        "images_failed": 2,
                        "fingerprint": "f" * 32,
                        "backbone": {
                            "name": "b",
                            "pretrained": "p",
                            "projection": "clip",
                            "token_pool": 1,
                            "resize": "native",
                        },
                        "extraction_seconds": 3.0,
                    }
                ],
            }
        ],
        "rows": [
            row("quoted", "printed", numbers(printed=60.0, printed_std=2.0), numbers(printed=0.5)),
            row("base", "run", numbers(61.0, 1.0, 43.3, 3.6), numbers(0.45, 0.02, 0.80, 0.02)),
            row("other", "left out", numbers(), numbers(), "no text tower"),
            row("ours", "run", numbers(64.96, 1.0, 65.2, 2.9), numbers(0.37, 0.01, 0.36, 0.03)),
        ],
        "comparisons": [
            {
                "task": "faces",
                "metric": "mae",
                "row": "base",
                "reference": "ours",
                "difference": 0.08,
                "low": -0.01,
                "high": 0.17,
                "level": 0.95,
                "folds": 5,
                "images": 100,
                "within_noise": True,
            }
        ],
    }


def test_numbers_as_papers_write_them():
    assert spread(65.25, 2.91, ACCURACY) == "65.2 (2.9)"
    assert spread(0.365, None, MAE) == "0.36"
    assert spread(None, 1.0, MAE) == "–"
    assert signed(-1.25, MAE) == "−1.25"
    assert signed(0.5, ACCURACY) == "+0.5"


def test_a_difference_is_judged_by_direction_and_spread():
    assert better(5.0, 2.0, ACCURACY) == "better"
    assert better(-5.0, 2.0, ACCURACY) == "worse"
    assert better(0.1, 0.02, MAE) == "worse"
    assert better(-1.0, 2.0, ACCURACY) == "even"
    assert better(0.004, None, MAE) == "even"


def test_markdown_table(doc):
    text = to_markdown(doc)
    lines = [line for line in text.splitlines() if line.startswith("| Method")]
    assert lines[0].startswith("| Method <quoted>, as printed | – | 60.0 (2.0) | – |")
    assert "61.0 (1.0) | 43.3 (3.6) | +17.7 | 0.45 (0.02) ≈ | 0.80 (0.02) | −0.35" in lines[1]
    assert lines[1].startswith("| Method <base> [1] |")
    assert lines[1].endswith("| 5 of 5 | 1.5 | CPU |")
    assert lines[2].endswith("| left out | – | – |")
    assert "**65.0 (1.0)** | 65.2 (2.9) | −0.2 | **0.37 (0.01)**" in lines[3]
    assert "5 of 5" in lines[3]
    assert "+0.08 | −0.01 to +0.17 | 5 | within noise" in text
    for expected in (
        "Method <other>: no text tower.",
        "[1] One view.",
        "Faces: zeros are left out.",
        "resize native",
        "a note",
        "leak: one",
        "f" * 32,
        "2 unreadable",
        "a device",
        "torch 2",
    ):
        assert expected in text


def test_markdown_columns_agree(doc):
    widths = {
        len(re.findall(r"(?<!\\)\|", line))
        for line in to_markdown(doc).split("## Differences")[0].splitlines()
        if line.startswith("|")
    }
    assert len(widths) == 1


class Checker(HTMLParser):
    """Notices tags that are not closed in order, and collects what loads from elsewhere."""

    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.external, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.external += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_loads_nothing(doc):
    text = to_html(doc)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.external == []
    assert "script" not in checker.tags
    assert "url(" not in text
    assert "@import" not in text
    assert "Method &lt;ours&gt;" in text
    assert "Method <ours>" not in text


def test_html_shows_the_paper_and_the_judgement(doc):
    text = to_html(doc)
    assert '<b class="better">+17.7</b>' in text
    assert '<b class="even">−0.2</b>' in text
    assert text.count('class="reference"') == 1
    assert 'title="no text tower"' in text


def test_quick_and_missing_are_said_in_the_title_and_in_place(doc):
    quick = copy.deepcopy(doc)
    quick["quick"] = True
    quick["tasks"][0].update(status="missing", missing=["put <it> there"])
    assert to_markdown(quick).startswith(f"# My table ({QUICK})")
    text = to_html(quick)
    assert f"<title>My table ({QUICK})</title>" in text
    assert "put &lt;it&gt; there" in text
    assert "Not run: the data are not there." in to_markdown(quick)


def test_a_table_of_stand_ins_says_so_first_and_in_every_format(doc, tmp_path):
    drawn = copy.deepcopy(doc) | {"stand_in": True, "quick": True}
    drawn["tasks"][0] |= {"stand_in": True, "title": "Faces (drawn stand-in)"}
    assert to_markdown(drawn).startswith(f"# My table ({STAND_INS})\n\n**{NOTICE}**\n")
    page = to_html(drawn)
    assert f"<title>My table ({STAND_INS})</title>" in page
    assert page.index(NOTICE) < page.index("<h1>")
    assert STAND_INS in to_latex(drawn)
    assert {line["stand_in"] for line in csv.DictReader(io.StringIO(to_csv(drawn)))} == {"true"}
    assert {line["stand_in"] for line in csv.DictReader(io.StringIO(to_csv(doc)))} == {"false"}
    for text in (to_markdown(drawn), page, to_latex(drawn)):
        assert "paper, on the real data" in text
        assert "ours, on stand-ins" in text or text is page
    assert all(path.name.startswith("mine-stand-in.") for path in write_tables(drawn, tmp_path))
    assert STAND_INS in write_index([drawn], tmp_path).read_text()


def test_files_are_written_whole(doc, tmp_path):
    paths = write_tables(doc, tmp_path / "results")
    assert [p.name for p in paths] == [f"mine.{e}" for e in ("md", "json", "html", "csv", "tex")]
    assert json.loads(paths[1].read_text()) == doc
    assert not list((tmp_path / "results").glob("*.tmp"))


def shown(text):
    """All numbers of a text, as they are written, with a plain minus."""
    return re.findall(r"[+-]?\d+\.\d+", text.replace("$-$", "-").replace("−", "-"))


def expected_numbers(doc):
    """Every number that a table shows, written with its metric's decimals."""
    task = doc["tasks"][0]
    digits = {m["key"]: m["digits"] for m in task["metrics"]}
    found = []
    for row in doc["rows"]:
        for metric, numbers_ in row["tasks"]["faces"]["metrics"].items():
            values = [numbers_[key] for key in ("mean", "std", "printed", "printed_std")]
            found += [f"{value:.{digits[metric]}f}" for value in values if value is not None]
            # HTML shows a difference beside the paper's number, as the others do.
            if numbers_["difference"] is not None:
                found.append(f"{numbers_['difference']:+.{digits[metric]}f}")
    for c in doc["comparisons"]:
        found += [f"{c[key]:+.{digits[c['metric']]}f}" for key in ("difference", "low", "high")]
    return sorted(found)


def test_all_five_formats_hold_the_same_numbers(doc, tmp_path):
    expected = expected_numbers(doc)
    assert len(expected) == 3 + 10 + 10 + 3
    paths = {path.suffix: path.read_text("utf-8") for path in write_tables(doc, tmp_path)}
    assert expected_numbers(json.loads(paths[".json"])) == expected
    digits = {"accuracy": 1, "mae": 2}
    from_csv = []
    for line in csv.DictReader(io.StringIO(paths[".csv"])):
        for key in ("mean", "std", "paper", "paper_std"):
            from_csv += [f"{float(line[key]):.{digits[line['metric']]}f}"] if line[key] else []
        for key in ("difference_to_paper", "difference_to_reference", "low", "high"):
            from_csv += [f"{float(line[key]):+.{digits[line['metric']]}f}"] if line[key] else []
    assert sorted(from_csv) == expected
    seconds = ["1.5"] * 2
    markdown = paths[".md"].split("## Notes")[0]
    assert sorted(shown(markdown)) == sorted(expected + seconds)
    latex = "\n".join(x for x in paths[".tex"].splitlines() if not x.startswith("%"))
    assert sorted(shown(latex)) == sorted(expected + seconds)
    body = paths[".html"].split("<body>")[1].split('<ul class="notes">')[0]
    assert sorted(shown(re.sub("<[^>]*>", " ", body))) == sorted(expected + seconds)


def test_latex_needs_booktabs_and_escapes(doc):
    text = to_latex(doc)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert r"Method \textless{}ours\textgreater{}" in text
    assert r"\textbf{65.0 (1.0)}" in text
    assert r"0.45 (0.02)~$\approx$" in text
    assert r"\textsuperscript{1}" in text
    assert escape("50 % of a_b & {c}") == r"50 \% of a\_b \& \{c\}"
    widths = {line.count("&") for line in text.splitlines() if "Method" in line}
    assert widths == {0, 9, 5}  # a caption has none


def test_a_failed_cell_says_why(doc):
    failed = copy.deepcopy(doc)
    entry = failed["rows"][1]["tasks"]["faces"]
    entry.update(status="failed", reason="out of memory", folds_run=0, seconds_mean=None)
    entry["metrics"] = {"accuracy": numbers(), "mae": numbers()}
    assert "| failed |" in to_markdown(failed)
    assert "Failed: Method <base>, Faces: out of memory" in to_markdown(failed)
    assert 'title="out of memory"' in to_html(failed)
    assert "failed" in to_latex(failed)
    assert "out of memory" in to_csv(failed)


def test_the_index_leads_to_every_table(doc, tmp_path):
    other = copy.deepcopy(doc) | {"recipe": "other", "quick": True}
    other["tasks"][0]["status"] = "missing"
    text = write_index([doc, other], tmp_path).read_text("utf-8")
    assert 'href="mine.html"' in text
    assert 'href="other-quick.tex"' in text
    assert "2 of 2 fields" in text
    assert "data not there: Faces" in text


def test_a_table_leads_to_its_figures(doc, tmp_path):
    doc["figures"] = [{"name": "f1", "title": "Drawn"}, {"name": "f2", "title": "Not yet"}]
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "f1.html").write_text("x")
    text = write_tables(doc, tmp_path / "results")[2].read_text("utf-8")
    assert '<a href="../figures/f1.html">Drawn</a>' in text
    assert "Not yet (<code>adapter figure f2</code>)" in text
