"""Every test computes with one thread and has no deadline, however pytest is called.

The last bits of features depend on the number of threads, some tests compare bytes with those of a
child process, and a child that is forked from a process with OpenMP threads hangs.
"""

import os
import signal

import hypothesis
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in child processes

# Speed is shown in benchmarks: a test that waits for a busy disk has not failed.
hypothesis.settings.register_profile("featcache", deadline=None)
hypothesis.settings.load_profile("featcache")


@pytest.fixture(autouse=True)
def signals_as_before():
    """A command that runs in this process sets its own handlers: take them away again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
