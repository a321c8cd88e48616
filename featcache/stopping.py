"""What SIGTERM and Ctrl-C mean to work that must not end in the middle of something."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


class StopRequest:
    """Turns SIGTERM and SIGINT into a flag while the context is open.

    The second signal of a kind acts as it would have without us, so an impatient second Ctrl-C
    still interrupts. Outside the main thread, where Python allows no handlers, it stays unset.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: object) -> None:
        self.requested = True
        signal.signal(number, self._before[number])


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run like Ctrl-C does: threads are joined, temporary files removed.

    A handler that the program has set itself stays; so do those of other threads than the main.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not ours:
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Give SIGTERM and SIGINT the handlers back that a library takes away from them inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
