import dataclasses
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import ClassVar

import numpy as np
import pytest

from adapter.evaluation.metrics import measure
from adapter.pages.page import QueryReport, gallery_page, metrics_table, report_page
from adapter.pages.scatter import scatter
from adapter.pages.thumbnails import Thumbnails, make_thumbnails


@pytest.fixture
def query():
    values = np.array([3.0, 1.0, 2.0, 5.0])
    scores = np.array([2.5, 1.5, 1.0, 4.0])
    return QueryReport(
        folder=0,
        dataset="set",
        task="task",
        query="sort images by <b>size</b>.",
        paths=["a.png", "b.png", "c.png", "d.png"],
        values=values,
        scores=scores,
        same_unit=True,
        metrics={"adapter": measure(values, scores), "ridge": measure(values, values)},
        shown="adapter",
    )


def test_report_shows_images_in_predicted_order_with_both_values(query):
    means = dict(query.metrics)
    nothing = Thumbnails()
    page = report_page("Title", "Lead", [query], means, {"made of": "<data>"}, nothing)
    section = page[page.index('id="q0"') :]
    captions = ["<b>4</b> <span>(5)", "<b>2.5</b> <span>(3)", "<b>1.5</b> <span>(1)"]
    places = [section.index(caption) for caption in captions]
    assert places == sorted(places)
    assert "&lt;b&gt;size&lt;/b&gt;" in page
    assert "<b>size</b>" not in page
    assert "&lt;data&gt;" in page


def test_report_limits_long_lists_and_keeps_both_ends(query):
    page = report_page("T", "L", [query], {}, {}, Thumbnails(), max_images=2)
    long_list = page[page.index("<details>") :]
    assert "2 images in predicted order" in long_list
    assert long_list.count("<figure>") == 2
    assert "<b>4</b>" in long_list
    assert "<b>1</b>" in long_list


def test_metrics_table_marks_the_best_of_each_column(query):
    table = metrics_table(query.metrics)
    (_, adapter), (_, ridge) = table.rows
    shown = dict(zip(table.columns, ridge, strict=True))
    assert (shown["SRCC"].text, shown["SRCC"].best) == ("1.000", True)
    assert (shown["MAE"].text, shown["MAE"].best) == ("0.000", True)  # less is better
    assert not any(cell.best for cell in adapter)


def test_gallery_is_in_the_order_of_scores():
    page = gallery_page("query", ["low.png", "high.png"], np.array([0.1, 0.9]), {}, Thumbnails())
    assert page.index("high.png") < page.index("low.png")


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([1, 2, 3], [10, 20, 30]), ([1, 1], [2, 2]), ([], []), ([1, 2], [float("nan"), 1])],
)
@pytest.mark.parametrize("same_unit", [True, False])
def test_scatter_is_well_formed_for_any_values(true, predicted, same_unit):
    svg = scatter(np.array(true, float), np.array(predicted, float), same_unit=same_unit)
    root = ElementTree.fromstring(svg)
    points = root.findall(".//circle")
    assert len(points) == np.isfinite(np.array(predicted, float)).sum()
    for point in points:
        assert 0 <= float(point.get("cx")) <= 260
        assert 0 <= float(point.get("cy")) <= 260


def test_thumbnails_leave_out_what_cannot_be_read(tmp_path):
    from PIL import Image

    Image.new("RGB", (30, 20), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    names = ["good.png", "bad.png", "../outside.png", "good.png"]
    pictures = make_thumbnails([tmp_path], [(0, name) for name in names])
    assert set(pictures.classes) == {(0, "good.png")}
    assert list(pictures.jpegs) == ["i0"]
    page = gallery_page("query", names[:2], np.array([1.0, 2.0]), {}, pictures)
    assert page.count("data:image/jpeg;base64,") == 1
    assert '<span class="pic i0" role="img" title="good.png"></span>' in page
    assert '<span class="pic none" title="bad.png">bad.png</span>' in page
    assert make_thumbnails([], [(0, "good.png")]).classes == {}


def test_text_of_users_is_never_markup(query):
    """Everywhere: title, lead, queries, tasks, methods, paths, facts."""
    evil = "<i title='x\">&amp;"
    odd = dataclasses.replace(
        query,
        query=evil,
        dataset=evil,
        task=evil,
        paths=[evil] * 4,
        metrics={evil: query.metrics["adapter"]},
        shown=evil,
    )
    report = report_page(evil, evil, [odd], odd.metrics, {evil: evil}, Thumbnails())
    gallery = gallery_page(evil, [evil], np.array([0.0]), {evil: evil}, Thumbnails())
    for page in (report, gallery):
        assert "<i " not in page
        assert "&lt;i title=&#39;x&#34;&gt;&amp;amp;" in page


def test_pages_are_well_formed(query):
    class Checker(HTMLParser):
        open: ClassVar[list[str]] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "circle", "path", "line"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            if tag not in ("circle", "path", "line"):
                assert self.open.pop() == tag

    pages = [
        report_page("T", "L", [query, query], query.metrics, {"a": "b"}, Thumbnails()),
        gallery_page("T", ["a", "b"], np.array([0.0, 1.0]), {"a": "b"}, Thumbnails()),
    ]
    for page in pages:
        checker = Checker()
        checker.feed(page)
        checker.close()
        assert checker.open == []
        assert page.startswith("<!doctype html>")


def test_queries_outside_the_mean_stand_in_a_table_of_their_own(query):
    alone = dataclasses.replace(query, query="never trained", compared=False)
    page = report_page("T", "L", [query, alone], {}, {}, Thumbnails())
    assert "Mean of 1 query" in page
    page = page[page.index("SRCC per query") :]
    mean, apart = 0, page.index("Queries outside the mean")
    assert mean < page.index('href="#q0"') < apart < page.index('href="#q1"')
    assert "outside the mean" not in report_page("T", "L", [query], {}, {}, Thumbnails())


def test_the_first_screen_shows_a_typical_query_of_each_of_the_largest_tasks(query):
    def asked(task, name, scores):
        found = {"adapter": measure(query.values, np.array(scores))}
        return dataclasses.replace(query, task=task, query=name, metrics=found)

    good, fair, bad = [3.0, 1, 2, 4], [3.0, 2, 1, 4], [1.0, 3, 2, 0]
    queries = [
        *(asked("one", f"one {n}", scores) for n, scores in enumerate((bad, good, fair))),
        asked("two", "two", good),
        asked("three", "three", good),
        asked("four", "four", good),
    ]
    page = report_page("T", "L", queries, {}, {}, Thumbnails())
    first = page[page.index('class="first"') : page.index("Mean of 6 queries")]
    assert first.count("<h3>") == 3
    assert "one 2" in first  # the median
    assert "four" not in first
    for name in ("highest", "middle", "lowest"):
        assert first.count(f"<p>{name}</p>") == 3
    assert first.index("<b>4</b> <span>(5)") < first.index("<b>1</b> <span>(2)")


def test_methods_are_explained_and_tasks_have_a_mean_and_a_ceiling(query):
    tied = dataclasses.replace(query, task="ties", values=np.array([1.0, 0, 0, 0]))
    about = {"adapter": "A small network.", "unused": "Not there."}
    page = report_page("T", "L", [query, tied], query.metrics, {}, Thumbnails(), about=about)
    assert "<dt>adapter</dt><dd>A small network.</dd>" in page
    assert "Not there." not in page
    table = page[page.index("Mean SRCC per task") : page.index("SRCC per query")]
    assert "<th>ceiling</th>" in table
    assert "<td>1.000</td></tr>" in table
    assert "<td>0.775</td></tr>" in table  # sqrt(1 - 24 / 60)
