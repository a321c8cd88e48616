"""Signals: a flag for the first one, what would have been without us for the second."""

import os
import signal
import threading

import pytest

from featcache.stopping import StopRequest, handlers_kept, stopped_by_sigterm


def test_signal_handlers_of_the_program_stay():
    def mine(*_):
        pass

    signal.signal(signal.SIGTERM, mine)
    try:
        with stopped_by_sigterm():
            assert signal.getsignal(signal.SIGTERM) == mine
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    thread = threading.Thread(target=lambda: stopped_by_sigterm().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number):
    signal.signal(number, signal.default_int_handler)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == signal.default_int_handler


def test_handlers_that_a_library_takes_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before
