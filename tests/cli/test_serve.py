"""`adapter serve`: what it refuses, and a real server until Ctrl-C."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

VERSION1 = Path(__file__).parents[1] / "data" / "version1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --images"),
        (["--images", "a", "--shards", "b"], "either --images"),
        (["--shards", VERSION1 / "cache", "--root", "missing"], "no such folder"),
        (["missing", "--shards", VERSION1 / "cache"], "missing"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(adapter, tmp_path, options, message):
    code, _, err = adapter("serve", *options, "--state", tmp_path / "state")
    assert code == 1
    assert message in err


def test_the_page_is_served_until_it_is_stopped(tmp_path):
    photos = shutil.copytree(VERSION1 / "photos", tmp_path / "photos")
    words = ["serve", VERSION1 / "run", "--shards", VERSION1 / "cache", "--root", photos]
    words += ["--port", "0", "--state", tmp_path / "state"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.adapter", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/api/state")
        assert json.loads(connection.getresponse().read())["photos"] == 14
        connection.close()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert "Traceback" not in err
    assert str(tmp_path / "state") in err
