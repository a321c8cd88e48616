"""What the page can ask for, through the application itself."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapter.run import Run
from adapter.takeaway.log import ActionLog, undo
from adapter.takeaway.sidecars import photo_marks, plan_sidecars, write_sidecars
from adapter.takeaway.xmp import Marks


def weights(*pairs, **more):
    return {"weights": [{"wish": n, "weight": w} for n, w in pairs], **more}


def test_a_wish_gives_the_order_of_the_run(page, session, query):
    wish = page.wish(query)
    assert (wish["status"], wish["unit"], wish["done"]) == ("ready", True, 14)
    found = page.post("/api/order", weights((wish["number"], 1)))
    folder = session.engine.runs["ages"].folder
    ranking = Run.load(folder).rank(session.library.cache, query, device="cpu")
    assert found["rows"] == ranking.rows.tolist()
    turned = page.post("/api/order", weights((wish["number"], -1)))
    assert turned["rows"] == found["rows"][::-1]
    details = page.post(
        "/api/details", {"rows": found["rows"][:2], "order": weights((wish["number"], 1))}
    )
    assert [d["place"] for d in details] == [1, 2]
    assert details[0]["path"] == ranking.paths[0]
    assert details[0]["percentile"] == 100
    assert details[0]["wishes"][0]["score"] == pytest.approx(ranking.scores[0])
    assert details[0]["wishes"][0]["share"] == pytest.approx(details[0]["score"])


def test_wishes_are_kept_once_marked_as_untrained_and_removed(page, query):
    first, again = page.wish(query), page.wish(f"  {query} ")
    assert first["number"] == again["number"]
    page.post("/api/wishes/remove", {"number": first["number"]})
    assert page.get("/api/wishes").json() == []
    message = page.post("/api/wishes", {"text": "x", "source": "nothing"}, 409)["error"]
    assert "no run 'nothing'; there are ages" in message
    assert "not ready" in page.post("/api/order", weights((7, 1)), 409)["error"]


def test_any_sentence_is_encoded_on_the_spot(page):
    wish = page.wish("a sentence that no cache holds", "similarity")
    assert wish["status"] == "ready", wish
    assert "towers" in wish["note"]
    trained = page.wish("another sentence", "ages")
    assert "was not trained on the query" in trained["note"]
    assert not trained["unit"]
    rows = page.post("/api/order", weights((wish["number"], 0.5), (trained["number"], -0.5)))
    assert sorted(rows["rows"]) == list(range(14))


def test_two_opposite_sentences_rank_without_a_run(open_session, make_page):
    session = open_session(with_run=False)
    page = make_page(session)
    pair = {"text": "Good photo.", "source": "similarity", "opposite": " Bad  photo. "}
    assert ["Good photo.", "Bad photo."] in page.get("/api/state").json()["opposites"]
    number = page.post("/api/wishes", pair)["number"]
    wish = page.wait(number)
    assert (wish["status"], wish["opposite"]) == ("ready", "Bad photo."), wish
    assert page.post("/api/wishes", pair)["number"] == number
    turned = {"text": "Bad photo.", "source": "similarity", "opposite": "Good photo."}
    other = page.post("/api/wishes", turned)["number"]
    page.wait(other)
    scores = session.engine.wishes[number].scores
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores + session.engine.wishes[other].scores, 1)
    same = {"text": "a", "source": "similarity", "opposite": "a"}
    assert "two different sentences" in page.post("/api/wishes", same, 409)["error"]


def test_filters_and_folding(page, session, query):
    number = page.wish(query)["number"]
    page.post("/api/marks", {"row": 3, "stars": 4})
    page.post("/api/marks", {"row": 5, "flag": "pick"})
    assert page.post("/api/order", weights((number, 1), stars=4))["rows"] == [3]
    assert page.post("/api/order", weights((number, 1), flag="pick"))["rows"] == [5]
    assert len(page.post("/api/order", weights((number, 1), least=50))["rows"]) == 7
    counts = [
        len(page.post("/api/order", weights((number, 1), folder=n))["rows"])
        for n in range(len(session.library.folders))
    ]
    assert sum(counts) == 14
    everything = page.post("/api/order", weights((number, 1), fold=0.01, across=True))
    assert (len(everything["rows"]), everything["sizes"]) == (1, [14])
    best = page.post("/api/order", weights((number, 1)))["rows"][0]
    assert everything["rows"] == [best]
    apart = page.post("/api/order", weights((number, 1), fold=0.01))
    assert len(apart["rows"]) == len(session.library.folders)
    assert page.post("/api/order", weights((number, 1), after=time.time() + 9e6))["rows"] == []


def test_pictures_are_upright_jpegs_and_thumbnails_lie_elsewhere(page, session, photos, tmp_path):
    before = sorted(photos.rglob("*"))
    for row in range(3):
        small, large = page.get(f"/thumb/{row}"), page.get(f"/photo/{row}")
        for answer in (small, large):
            assert answer.headers["content-type"] == "image/jpeg"
            assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert sorted(photos.rglob("*")) == before
    assert len(list((tmp_path / "thumbnails").rglob("*.jpg"))) == 3
    (photos / session.library.paths[4]).write_bytes(b"broken now")
    assert page.get("/thumb/4").status_code == 404
    assert page.get("/thumb/99").status_code == 404


def test_each_mark_is_on_the_disk_and_undone(page, open_session, make_page):
    assert page.post("/api/marks", {"row": 2, "stars": 5}) == {"stars": 5, "flag": "none"}
    assert page.post("/api/marks", {"row": 2, "flag": "reject"})["flag"] == "reject"
    again = make_page(open_session())
    [photo] = again.post("/api/details", {"rows": [2]})
    assert (photo["stars"], photo["flag"]) == (5, "reject")
    assert again.post("/api/marks/undo", {}) == {"row": 2, "stars": 5, "flag": "none"}
    again.post("/api/marks/undo", {})
    assert again.post("/api/marks/undo", {}) == {"row": None}
    assert "no photo" in str(page.post("/api/marks", {"row": 14, "stars": 1}, 409))


def test_ratings_in_sidecars_are_read_on_start(open_session, make_page, photos, tmp_path):
    first = open_session()
    names = first.library.paths
    marks = {photos / names[1]: Marks(rating=3), photos / names[2]: Marks(rating=-1)}
    with ActionLog(tmp_path / "log") as log:
        write_sidecars(plan_sidecars(marks), log)
    (photos / f"{names[3]}.xmp").write_bytes(b"not xmp")
    page = make_page(open_session())
    found = page.post("/api/details", {"rows": [1, 2, 3]})
    assert [(d["stars"], d["flag"]) for d in found] == [(3, "none"), (0, "reject"), (0, "none")]
    assert "1 sidecar could not be read" in page.get("/api/state").json()["notes"][0]


def test_teaching_ends_in_an_order_with_its_agreement(page, session, query):
    taste = session.teacher.features[:, 0]
    for number in range(24):
        pair = page.post("/api/teach/next", {"question": query})
        assert pair["answered"] == number
        better = "left" if taste[pair["left"]] > taste[pair["right"]] else "right"
        answer = {k: pair[k] for k in ("left", "right", "drawn")}
        page.post("/api/teach/answer", {"question": query, "answer": better, **answer})
    page.post("/api/teach/undo", {})
    assert page.get("/api/teach/answers.csv").text.count("\n") == 24
    page.post("/api/teach/train", {"question": query})
    session.teacher.join()
    status = page.get("/api/teach/status").json()
    assert status["answers"] == 23, status
    assert set(status["agreement"]) == {"head", "taste", "ridge", "untrained"}
    assert all(a["count"] == 3 for a in status["agreement"].values())
    rows = page.post("/api/order", weights((status["wish"], 1)))["rows"]
    assert np.corrcoef(np.argsort(rows), -taste)[0, 1] > 0.3
    assert query in page.get("/api/state").json()["questions"]


def test_too_few_answers_and_answers_about_nothing_are_refused(page):
    assert "at least 8" in page.post("/api/teach/train", {"question": "q"}, 409)["error"]
    answer = {"question": "q", "left": 0, "right": 99, "answer": "left", "drawn": "random"}
    assert "no photo 99" in page.post("/api/teach/answer", answer, 409)["error"]
    answer["right"] = 0
    assert "with itself" in page.post("/api/teach/answer", answer, 409)["error"]
    assert page.post("/api/teach/undo", {})["left"] is None


def test_why_has_maps_for_runs_alone(page, query):
    number = page.wish(query)["number"]
    one = page.post("/api/why", {"wish": number, "first": 0})
    assert len(one["score"]) == len(one["looked"]) == one["side"] ** 2
    two = page.post("/api/why", {"wish": number, "first": 0, "second": 1})
    assert len(two["first"]) == len(two["second"]) == two["side"] ** 2
    assert max(map(abs, two["first"] + two["second"])) == pytest.approx(1)
    plain = page.wish("a photo", "similarity")["number"]
    assert "only wishes that a run" in str(page.post("/api/why", {"wish": plain, "first": 0}, 409))
    assert "no photo" in str(page.post("/api/why", {"wish": number, "first": 99}, 409))


def test_an_export_is_done_as_it_was_shown_and_undone(page, session, photos, query):
    number = page.wish(query)["number"]
    before = sorted(photos.rglob("*"))
    for kind in ("copy", "link", "xmp", "move"):
        body = {"kind": kind, "order": weights((number, 1)), "top": 3, "stars": "5:0"}
        plan = page.post("/api/take", body)
        assert plan["count"] == 3
        assert sorted(photos.rglob("*")) == before
        assert "changed since" in page.post("/api/take", body | {"confirm": "no"}, 409)["error"]
        done = page.post("/api/take", body | {"confirm": plan["token"]})
        if kind == "xmp":
            best = page.post("/api/order", weights((number, 1)))["rows"][0]
            assert photo_marks(session.library.file(best)).rating == 5
        assert undo(Path(done["log"])).left == {}
        assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_the_order_is_a_table(page, query, kind):
    number = page.wish(query)["number"]
    page.post("/api/marks", {"row": 3, "stars": 4})
    body = {"kind": kind, "order": weights((number, 1)), "top": 3}
    content = page.client.post("/api/take/table", json=body).content
    table = {
        "csv": lambda: list(csv.DictReader(io.StringIO(content.decode()))),
        "json": lambda: json.loads(content),
        "parquet": lambda: pq.read_table(io.BytesIO(content)).to_pylist(),
    }[kind]()
    best = page.post("/api/details", {"rows": page.post("/api/order", body["order"])["rows"]})
    assert [row["path"] for row in table] == [photo["path"] for photo in best[:3]]
    assert [int(row["place"]) for row in table] == [1, 2, 3]
    assert [int(row["stars"]) for row in table] == [photo["stars"] for photo in best[:3]]
    assert float(table[0][f"share of {query} by ages"]) == pytest.approx(float(table[0]["score"]))


def test_without_a_run_and_without_pictures_the_page_says_what_is_missing(open_session, make_page):
    page = make_page(open_session(root=None, with_run=False))
    notes = " ".join(page.get("/api/state").json()["notes"])
    assert "without --root" in notes
    assert "no run" in notes
    assert page.get("/thumb/0").status_code == 404
    assert "without --root" in page.post("/api/take", {"kind": "link"}, 409)["error"]
    assert len(page.post("/api/order", {})["rows"]) == 14
