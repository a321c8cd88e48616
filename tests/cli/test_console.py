"""What is printed, whatever the text, the stream and the error."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from cli import console
from cli.console import command, fail, make_app, run, say, say_next, table
from featcache.errors import DatasetError


def leave_with(error, monkeypatch, capsys):
    """Run a program whose command raises; returns its exit code and standard error."""
    app = make_app("test")
    app.command("other")(lambda: None)  # with one command only, Typer would leave its name out

    @app.command("raise")
    def raises() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["program", "raise"])
    with pytest.raises(SystemExit) as leaving:
        run(app)
    return leaving.value.code, capsys.readouterr().err


def shell(line, **environment):
    """Run a line of bash with ``featcache`` as a function; returns the finished process."""
    function = f'featcache() {{ {shlex.quote(sys.executable)} -m cli.featcache "$@"; }}; '
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", function + line],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("text", [":smile: [bold]x[/bold] [/] \\[red]", "100 % {name} ü 図"])
def test_text_is_printed_as_it_is(text, capsys):
    say(text)
    table(text, [text], [[text]])
    found = capsys.readouterr()
    assert found.err == f"{text}\n"
    assert found.out.count(text) == 3
    with pytest.raises(SystemExit):
        fail(text)
    assert capsys.readouterr().err == f"error: {text}\n"


def test_commands_can_be_pasted(capsys):
    say_next("featcache", "extract", ["--root", "my photos"], [], "--prompt", "it's :x:")
    printed = capsys.readouterr().err
    assert printed.startswith("next: featcache extract --root ")
    words = shlex.split(printed.removeprefix("next: "))
    assert words == ["featcache", "extract", "--root", "my photos", "--prompt", "it's :x:"]
    assert command("a b") == "'a b'"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DatasetError("labels.csv, line 3: no number"), "error: labels.csv, line 3: no number"),
        (PermissionError(13, "Permission denied", "/x/y"), "error: /x/y: Permission denied"),
        (OSError("an odd disk"), "error: an odd disk"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogate"), "text that is not UTF-8"),
        (MemoryError(), "out of memory: choose a smaller --batch-size"),
        (KeyError("shape"), "KeyError: 'shape'"),
    ],
)
def test_every_error_is_a_message(error, message, monkeypatch, capsys):
    monkeypatch.delenv(console.DEBUG, raising=False)
    code, err = leave_with(error, monkeypatch, capsys)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert (console.DEBUG in err) == isinstance(error, KeyError)


def test_debugging_shows_where_an_error_comes_from(monkeypatch, capsys):
    monkeypatch.setenv(console.DEBUG, "1")
    code, err = leave_with(KeyError("shape"), monkeypatch, capsys)
    assert code == 1
    assert "Traceback" in err
    assert "in raises" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_what_to_do(number, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import time\nfrom cli.console import make_app, run\n"
        "app = make_app('test')\napp.command('other')(lambda: None)\n"
        "@app.command()\ndef wait() -> None:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "run(app)\n"
    )
    process = subprocess.Popen(
        [sys.executable, program, "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "error: stopped; run the same command again to go on\n"


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("featcache datasets --long | head -1", (0, 1, 141), b""),
        ("featcache datasets --long | true", (0, 1, 141), b""),
        ("featcache datasets >&-", (0,), b""),
        ("featcache datasets 2>&-", (0,), b""),
        ("featcache datasets > /dev/full", (1,), b"No space left on device"),
        ("featcache datasets nope > /dev/full", (1,), b"no data set 'nope'"),
    ],
)
def test_standard_output_may_be_closed_or_full(line, code, told):
    done = shell(line)
    assert done.returncode in code, done
    assert told in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_pipes_get_utf8_whatever_the_locale():
    """Also a file name that is no text at all is printed, escaped."""
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("featcache datasets Größe$'\\xff'", **settings)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Gr\\udcc3" in done.stderr  # Python took the argument for ASCII
    assert shell("featcache datasets Größe", LC_ALL="C.UTF-8").stderr.count("Größe".encode()) == 1
