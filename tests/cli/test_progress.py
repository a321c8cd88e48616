"""Progress on a terminal and, line by line, elsewhere."""

import io
import re
import time

import pytest
from rich.console import Console

import cli.progress
from adapter.settings import TrainEvent
from cli.extract import shown_on
from cli.progress import Bars, Job, Lines, progress, working
from cli.training import Display
from featcache.extraction.counting import ExtractEvent


def test_a_job_tells_counts_speed_and_time_left():
    job = Job(name="extracting", unit="images", before=100, started=time.monotonic() - 10)
    job.done, job.total, job.note = 300, 1300, "2 failed"
    assert re.fullmatch(
        r"extracting: 300 of 1,300 images, (20\.0|19\.9) images/s, 50\.\d s left, 2 failed",
        job.line(),
    )


def test_earlier_work_that_is_found_later_says_nothing_of_the_speed():
    with progress() as display:
        display.show("cells", 1, 90, unit="cells", before=1)
        display.show("cells", 40, 90, unit="cells", before=40)
        job = display.jobs["cells"]
        assert (job.speed, job.left) == (0, "")
        display.show("cells", 41, 90, unit="cells", before=40)
        job.started = time.monotonic() - 100
        assert job.left == "1 h 21 min left"


@pytest.mark.parametrize(
    ("unit", "done", "total", "line"),
    [
        ("", 0, None, "x"),
        ("images", 0, 5, "x: 0 of 5 images"),
        ("images", 0, 1, "x: 0 of 1 image"),
        ("bytes", 0, 2.5e9, "x: 0 B of 2.5 GB"),
    ],
)
def test_a_job_that_begins(unit, done, total, line):
    assert Job(name="x", unit=unit, done=done, total=total).line() == line


def test_a_job_that_is_done_has_no_time_left():
    job = Job(name="x", unit="bytes", done=10_000, total=10_000, started=time.monotonic() - 2)
    assert re.fullmatch(r"x: 10\.0 kB of 10\.0 kB, \d\.\d kB/s, 2\.\d s so far", job.line())


def test_without_a_terminal_lines_come_at_the_start_and_by_the_clock(monkeypatch, capsys):
    monkeypatch.setattr(cli.progress, "INTERVAL", 0.05)
    with progress() as display:
        assert isinstance(display, Lines)
        display.show(":smile:", 0, 8, unit="steps")
        display.show(":smile:", 4, 8, unit="steps", note="loss 0.5")
        time.sleep(0.3)  # nothing is told meanwhile, as in a slow step
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == ":smile:: 0 of 8 steps"
    assert 2 < len(lines) < 9
    assert all("4 of 8 steps" in line and "loss 0.5" in line for line in lines[1:])
    assert all(line.count("left") == 1 for line in lines[1:])


def test_work_without_counts_is_told_too(monkeypatch, capsys):
    monkeypatch.setattr(cli.progress, "INTERVAL", 0.05)
    with working("loading [x]"):
        time.sleep(0.12)
    assert set(capsys.readouterr().err.splitlines()) == {"loading [x]"}


def test_a_job_may_begin_anew(capsys):
    with Lines() as lines:
        lines.show("training", 9, 9)
        lines.forget("training")
        lines.show("training", 0, 9)
    assert capsys.readouterr().err.splitlines() == ["training: 9 of 9", "training: 0 of 9"]


def test_bars_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, emoji=False, markup=False)
    monkeypatch.setattr(cli.progress, "errors", lambda: console)
    with progress() as display:
        assert isinstance(display, Bars)
        display.show("reading :smile: [x]", 20, 40, unit="images", before=10, note="[red]")
        display.show("reading :smile: [x]", 40, 40, unit="images", note="[red]")
        display.show("gone", 1, 2)
        display.forget("gone")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).rstrip().splitlines()[-1]
    assert "reading :smile: [x]" in last
    assert "40 of 40 images" in last
    assert "[red]" in last


@pytest.mark.parametrize(("step_seconds", "told"), [(3.7, True), (0.001, False)])
def test_a_long_training_is_announced(capsys, step_seconds, told):
    values = {"step_seconds": step_seconds, "seconds": 1000 * step_seconds}
    values |= {"parameters": 41_000_000, "width": 768}
    with progress() as display:
        Display(display)(TrainEvent(kind="estimate", step=0, steps=1000, values=values))
    words = " ".join(capsys.readouterr().err.split())
    expected = "41 M parameters on a CPU: about 3.7 s a step, so about 1 h 01 min for 1,000 steps"
    assert (expected in words) is told
    assert ("--width 192" in words) is told


def test_a_long_extraction_is_announced_once_after_its_first_shard(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("cli.extract.time.monotonic", lambda: now)

    def tell(show, done, kind="shard", total=100_512, resumed=256):
        show(ExtractEvent(kind=kind, done=done, failed=0, total=total, resumed=resumed))

    with progress() as display:
        show = shown_on(display)
        tell(show, 256, "start")
        now = 64.0
        tell(show, 512)
        now = 128.0
        tell(show, 768)
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("images/s so far") == 1
    assert "4.0 images/s so far, so about 6 h 56 min for the other 100,000 images" in told
    with progress() as display:
        show = shown_on(display)
        tell(show, 0, "start", resumed=0)
        now += 64
        tell(show, 256, total=2000, resumed=0)
    assert "so far, so about" not in capsys.readouterr().err
