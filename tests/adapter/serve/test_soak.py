"""Fifty requests a second for ten minutes: nothing fails, and the server's memory stays flat.

`make soak` does it for an hour: FEATCACHE_SOAK_SECONDS says for how long. Where the machine is too
busy for fifty a second, it takes longer: as many requests are sent.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

SECONDS = float(os.environ.get("FEATCACHE_SOAK_SECONDS", "600"))
RATE, CLIENTS = 50, 8
ROWS = 14
GROWTH = 16 << 20  # bytes between the second and the last fifth of the time
VERSION1 = Path(__file__).parents[2] / "data" / "version1"
STATUS = Path("/proc/self/status")


def memory(process):
    """Resident bytes of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def requests(number):
    """What is asked next: (method, path, body)."""
    row, weight = number % ROWS, (number % 21 - 10) / 10
    order = {"weights": [{"wish": 1, "weight": weight}], "fold": 0.9 if number % 3 else None}
    seen = {"question": "Which is better?", "left": row, "right": (row + 1) % ROWS}
    answer = {**seen, "answer": "left", "drawn": "random"}
    kinds = (
        ("POST", "/api/order", order),
        ("POST", "/api/details", {"rows": list(range(ROWS)), "order": order}),
        ("GET", f"/thumb/{row}", None),
        ("POST", "/api/order", order),
        ("POST", "/api/marks", {"row": row, "stars": number % 6}),
        ("GET", f"/photo/{row}", None),
        ("POST", "/api/details", {"rows": [row], "order": order}),
        ("POST", "/api/teach/answer", answer),
        ("POST", "/api/teach/next", {"question": "Which is better?"}),
        ("POST", "/api/teach/undo", {}),
        ("POST", "/api/take", {"kind": "xmp", "order": order, "stars": "5:50"}),
        ("GET", "/api/state", None),
        ("POST", "/api/marks/undo", {}),
        ("GET", "/thumb/99", None),  # not there
        ("POST", "/api/marks", {"row": -1}),  # refused
    )
    return kinds[number % len(kinds)]


def ask(port, numbers, start, seen):
    """Send requests at their time, one after the other; what is late is sent at once."""
    origin = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        for number in numbers:
            if number >= RATE * SECONDS:
                return
            wait = start + number / RATE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            method, path, body = requests(number)
            words = (method, path, None if body is None else json.dumps(body), origin)
            try:
                connection.request(*words)
                answer = connection.getresponse()
            except (BrokenPipeError, http.client.RemoteDisconnected):
                connection.close()  # the server closes what was idle for seconds, as for browsers
                connection.request(*words)
                answer = connection.getresponse()
            answer.read()
            seen[answer.status] += 1


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="there is no /proc to see memory in")
def test_memory_stays_flat(tmp_path):
    photos = shutil.copytree(VERSION1 / "photos", tmp_path / "photos")
    words = ["serve", VERSION1 / "run", "--shards", VERSION1 / "cache", "--root", photos]
    words += ["--port", "0", "--state", tmp_path / "state", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.adapter", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "home")},
    )
    seen = Counter()
    try:
        port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        make_wish(port)
        start = time.monotonic()
        clients = [
            threading.Thread(target=ask, args=(port, itertools.count(n, CLIENTS), start, seen))
            for n in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        sizes = []
        while any(client.is_alive() for client in clients):
            sizes.append(memory(process))
            time.sleep(min(1.0, SECONDS / 100))
        seconds = time.monotonic() - start
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    fifth = len(sizes) // 5
    early, late = (statistics.median(part) for part in (sizes[fifth : 2 * fifth], sizes[-fifth:]))
    print(
        f"\n{seen.total()} requests in {seconds:.0f} s ({seen.total() / seconds:.1f} a second): "
        f"{dict(seen)}; {early / 2**20:.1f} MB in the second fifth, {late / 2**20:.1f} in the last"
    )
    assert set(seen) == {200, 404, 422}, told
    assert "Traceback" not in told
    assert late - early < GROWTH
    assert seen.total() == RATE * SECONDS


def make_wish(port):
    """Rank by the run's query, and wait until that is done."""
    headers = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/json"}
    query = json.loads((VERSION1 / "run/eval.json").read_text())["queries"][0]["query"]
    body = json.dumps({"text": query, "source": "run"})
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("POST", "/api/wishes", body, headers)
        assert json.loads(connection.getresponse().read())["number"] == 1
        while True:
            connection.request("GET", "/api/wishes")
            [wish] = json.loads(connection.getresponse().read())
            if wish["status"] != "working":
                assert wish["status"] == "ready", wish
                return
            time.sleep(0.2)
