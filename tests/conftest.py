"""Every test computes with one thread and has no deadline, however pytest is called.

The last bits of features depend on the number of threads, some tests compare bytes with those of a
child process, and a child that is forked from a process with OpenMP threads hangs.
"""

import os

import hypothesis

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in child processes

# Speed is shown in benchmarks: a test that waits for a busy disk has not failed.
hypothesis.settings.register_profile("featcache", deadline=None)
hypothesis.settings.load_profile("featcache")
