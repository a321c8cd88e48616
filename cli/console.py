"""What both command lines share: output for people, one-line errors, what a signal means.

Results go to standard output; progress and messages to standard error. Text of users (names of
files, prompts, reasons) is printed as it is: never as markup, never as emoji codes.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

DEBUG = "FEATCACHE_DEBUG"  # set to anything: errors come with their traceback
STOPPED = 130  # exit code after Ctrl-C or SIGTERM


class _Commands(TyperGroup):
    """Commands that say what to do after Ctrl-C; Typer would only set an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("stopped; run the same command again to go on", code=STOPPED)


def make_app(summary: str) -> typer.Typer:
    """Return a Typer application with this project's habits."""
    app = typer.Typer(
        help=summary,
        cls=_Commands,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", is_eager=True, callback=_version, help="Show the version and exit."
            ),
        ] = False,
    ) -> None:
        pass

    return app


def _version(asked: bool) -> None:
    """Print the versions that a bug report needs."""
    if not asked:
        return
    from featcache.versions import package_version

    names = ("featcache", "torch", "open_clip_torch", "h5py", "pyarrow")
    typer.echo(", ".join(f"{name} {package_version(name)}" for name in names))
    raise typer.Exit


def run(app: typer.Typer) -> None:
    """Run an application; every error becomes a message and an exit code, none a traceback.

    SIGTERM ends a command as Ctrl-C does. With ``FEATCACHE_DEBUG`` set, errors show where they
    come from.
    """
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        fail(_told(error), code=_code(error))
    finally:
        _flush()


def fail(message: str, code: int = 1) -> None:
    """Print a message to standard error and leave with an exit code."""
    from rich.text import Text

    errors().print(Text.assemble(("error:", "bold red"), " ", message), soft_wrap=True)
    sys.exit(code)


def out() -> Console:
    """Return the console of standard output."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty(), markup=False, emoji=False, highlight=False)


def errors() -> Console:
    """Return the console of standard error."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def say(message: str) -> None:
    """Print a line for people to standard error."""
    errors().print(message, soft_wrap=True)


def command(*parts: str | Path | Sequence[str | Path]) -> str:
    """Write a command that a shell takes as it is.

    Args:
        *parts: Words; a sequence gives several, an empty one none.
    """
    words: list[str] = []
    for part in parts:
        words += [str(part)] if isinstance(part, (str, Path)) else map(str, part)
    return shlex.join(words)


def say_next(*parts: str | Path | Sequence[str | Path]) -> None:
    """Print the command that comes next, ready to paste; arguments as those of `command`."""
    say(f"next: {command(*parts)}")


def again(**changes: str | Path | bool) -> str:
    """Write the command of this process, with other options.

    Args:
        **changes: Name of an option to its value; True for one that has none.
    """
    program = Path(sys.argv[0])
    name = program.stem if program.stem != "__main__" else program.parent.name
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    words = ["torchrun", "--nproc-per-node", str(processes), "-m", f"cli.{name}"]
    by_torchrun = processes > 1 and "--processes" not in sys.argv
    words = [*(words if by_torchrun else [name]), *sys.argv[1:]]
    for option, value in changes.items():
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            words += [flag] if flag not in words else []
        elif flag not in words and not any(word.startswith(f"{flag}=") for word in words):
            words += [flag, str(value)]
    return shlex.join(words)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to standard output; columns whose cells are numbers are aligned right."""
    from rich.table import Table

    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for number, name in enumerate(columns):
        numeric = rows and all(isinstance(row[number], (int, float)) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(_cell, row))
    out().print(grid)


def size(number: float) -> str:
    """Write a number of bytes for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Write a time for people: 1 h 02 min, 3 min 20 s, 4.2 s."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{seconds:.1f} s"


def options(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """Parse ``name=value`` options."""
    parsed = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{flag} {pair}: expected name=value")
        parsed[name.replace("-", "_")] = value
    return parsed


def _writable(stream: TextIO | None) -> TextIO:
    """Let a stream take every text: UTF-8 in files and pipes, escapes where a terminal cannot.

    A stream that the shell has closed (``>&-``) is replaced by one that drops everything.
    """
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        encoding = None if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace")
    return stream


def _flush() -> None:
    """Write what is left; a reader that has gone, such as ``head``, is no error."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python flushes again when it ends, and would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            fail(f"standard output: {error.strerror}")


def _told(error: Exception) -> str:
    """Say in words what went wrong."""
    from adapter.errors import AdapterError
    from featcache.errors import FeatcacheError

    if isinstance(error, (FeatcacheError, AdapterError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}"
    if isinstance(error, OSError):
        return str(error)
    if isinstance(error, UnicodeError):  # of an argument; files are read with messages of their own
        return f"text that is not UTF-8: {error}; write it in UTF-8"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch
        return f"out of memory: choose a smaller --batch-size ({error})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error}\n"
        f"This is an error in the program ({Path(last.filename).name}, line {last.lineno}), or an "
        f"input that it does not know. Run the same command with {DEBUG}=1 in front of it, and "
        "report what it prints."
    )


def _code(error: Exception) -> int:
    """Return the exit code of an error: a launcher tells those of lost connections from others."""
    from adapter.errors import PeerError
    from adapter.training.launch import LOST

    return LOST if isinstance(error, PeerError) else 1


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
