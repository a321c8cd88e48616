"""What both command lines share: output, progress, one-line errors.

Results go to standard output; progress and messages to standard error.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.progress import Progress


def make_app(summary: str) -> typer.Typer:
    """Return a Typer application with this project's habits."""
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Run an application; what is wrong with the input becomes one message and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        fail("stopped; run the same command again to go on", code=130)
    except Exception as error:
        if not _is_expected(error):
            raise
        fail(str(error))


def fail(message: str, code: int = 1) -> None:
    """Print a message to standard error and leave with an exit code."""
    errors().print(f"[bold red]error:[/] {_plain(message)}", soft_wrap=True)
    sys.exit(code)


def out() -> Console:
    """Return the console of standard output."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


def errors() -> Console:
    """Return the console of standard error."""
    from rich.console import Console

    return Console(stderr=True)


def say(message: str) -> None:
    """Print a line for people to standard error."""
    errors().print(_plain(message), soft_wrap=True, highlight=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to standard output; columns whose cells are numbers are aligned right."""
    from rich.table import Table

    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for number, name in enumerate(columns):
        numeric = rows and all(isinstance(row[number], (int, float)) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_plain(_cell(value)) for value in row))
    out().print(grid)


@contextmanager
def progress(*columns: str) -> Iterator[Progress]:
    """Show a progress bar on standard error.

    Args:
        *columns: Names of task fields to show behind the bar, such as ``rate``.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    fields = [TextColumn(f"{{task.fields[{name}]}}") for name in columns]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *fields,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=errors(),
        refresh_per_second=4,
        speed_estimate_period=60,
    ) as bar:
        yield bar


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


def _is_expected(error: Exception) -> bool:
    """Tell bad input and a failing machine from a mistake in this program."""
    from adapter.errors import AdapterError
    from featcache.errors import FeatcacheError

    return isinstance(error, (FeatcacheError, AdapterError, OSError))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(text: str) -> str:
    """Escape what rich would take for markup."""
    from rich.markup import escape

    return escape(text)
