from __future__ import annotations

import os

import pytest

from adapter.errors import ConfigError
from adapter.serve.answers import Answer, AnswerBook
from adapter.serve.journal import Journal, JournalError
from adapter.serve.marks import Mark, MarkBook


def test_a_process_that_is_killed_anywhere_loses_at_most_the_last_event(tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.append({"kind": "x", "number": number, "text": "é\n"})
    assert journal.events == []  # nothing is kept of what was added
    journal.close()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in range(len(lines[0]) + len(lines[1]), len(whole)):
        path.write_bytes(whole[:length])
        again = Journal(path)
        assert [e["number"] for e in again.events] == [0, 1]
        again.append({"kind": "x", "number": 9})
        again.close()
        last = Journal(path)
        assert [e["number"] for e in last.events] == [0, 1, 9]
        last.close()


def test_damage_within_is_named_and_not_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.append({"kind": "x", "number": number})
    journal.close()
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":7'))
    with pytest.raises(JournalError, match="line 2: damaged"):
        Journal(path)


def test_what_cannot_be_written_is_not_there(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"kind": "a"})

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="space"):
            journal.append({"kind": "b"})
    journal.append({"kind": "c"})
    journal.close()
    again = Journal(tmp_path / "journal.jsonl")
    assert [e["kind"] for e in again.events] == ["a", "c"]
    again.close()


def test_marks_and_their_undo_survive(tmp_path):
    def book():
        return MarkBook(Journal(tmp_path / "m.jsonl"), {"b": Mark(stars=2)})

    first = book()
    first.set("a", stars=4)
    first.set("a", flag="pick")
    first.set("b", stars=5)
    assert first.undo() == "b"
    again = book()
    assert (again.of("a"), again.of("b")) == (Mark(stars=4, flag="pick"), Mark(stars=2))
    assert again.undo() == "a"
    assert again.of("a") == Mark(stars=4)
    assert again.undo() == "a"
    assert again.undo() is None
    with pytest.raises(ConfigError):
        again.set("a", stars=6)
    with pytest.raises(ConfigError):
        again.set("a", flag="maybe")


def test_answers_become_the_trainers_table(tmp_path):
    from adapter.data.comparisons import read_comparisons

    book = AnswerBook(Journal(tmp_path / "a.jsonl"))
    for answer in ("left", "skip", "equal", "right"):
        book.add(Answer(left="a", right="b", answer=answer, question="q, r", drawn="random"))
    assert book.undo().answer == "right"
    again = AnswerBook(Journal(tmp_path / "a.jsonl"))
    assert [a.answer for a in again.answers] == ["left", "skip", "equal"]
    (tmp_path / "a.csv").write_text(again.to_csv(), "utf-8")
    table = read_comparisons(tmp_path / "a.csv")
    assert table.shares.tolist() == again.table("q, r").shares.tolist() == [1.0, 0.5]
    assert len(again.table("other")) == 0
    with pytest.raises(ConfigError):
        book.add(Answer(left="a", right="a", answer="left", question="q", drawn="random"))
