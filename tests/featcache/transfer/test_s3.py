"""A real S3 server on loopback, with faults: whatever it does, nothing false is ever accepted."""

import os
import random
import threading
import time

import pytest
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from featcache.errors import TransferError
from featcache.maintenance.verify import verify_cache
from featcache.transfer import store as storing
from featcache.transfer.check import verify_remote
from featcache.transfer.copy import copy_cache

PLACE = "s3://bucket/small"

# Of what lies below us: botocore and moto still use what Python will drop.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:moto.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning:aiohttp.*"),
]


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


class Faults:
    """The server, in front of which requests meet what a plan says of them."""

    def __init__(self, app):
        self.app = app
        self.plan = lambda environ: None
        self.met = []

    def __call__(self, environ, start_response):
        fault = self.plan(environ)
        if fault is None:
            return self.app(environ, start_response)
        self.met.append(fault)
        if fault in ("500 Internal Server Error", "503 Slow Down"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(fault, [("Content-Length", "0")])
            return [b""]
        if fault == "wait":
            time.sleep(1.5)
            return self.app(environ, start_response)
        assert fault == "cut"
        content = b"".join(self.app(environ, start_response))
        return self._cut(content)

    @staticmethod
    def _cut(content):
        yield content[: len(content) // 2]
        raise ConnectionAbortedError


@pytest.fixture(scope="module")
def server():
    app = Faults(DomainDispatcherApplication(create_backend_app))
    running = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    app.address = f"http://127.0.0.1:{running.server_port}"
    yield app
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def bucket(server, monkeypatch):
    """An empty bucket, and how to reach it, in the environment as a user has it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(storing, "PAUSE", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()
    server.plan, server.met = (lambda environ: None), []
    files = s3fs.S3FileSystem()
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")
    yield files
    server.plan = lambda environ: None
    s3fs.S3FileSystem.clear_instance_cache()


def test_there_and_back(small_cache, tmp_path, bucket, contents):
    copy_cache(small_cache, PLACE)
    assert verify_remote(PLACE).ok
    copy_cache(PLACE, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(small_cache)
    content = bytearray(bucket.cat_file("bucket/small/shards/00001.h5"))
    content[len(content) // 2] ^= 1
    bucket.pipe_file("bucket/small/shards/00001.h5", bytes(content))
    (damage,) = verify_remote(PLACE).damages
    assert damage.file == "shards/00001.h5"
    with pytest.raises(TransferError, match=r"shards/00001.h5 is not what its cache.json says"):
        copy_cache(PLACE, tmp_path / "other")
    assert not (tmp_path / "other/cache.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500 Internal Server Error", "503 Slow Down", "cut", "wait"])
@pytest.mark.parametrize("seed", range(3))
def test_faults_that_pass_are_survived(small_cache, tmp_path, bucket, server, contents, kind, seed):
    chance = random.Random(seed)
    server.plan = lambda environ: kind if chance.random() < 0.15 else None
    storing_tries = 0
    for _ in range(10):  # as a user gives the same command again
        storing_tries += 1
        try:
            copy_cache(small_cache, PLACE, workers=4)
            copy_cache(PLACE, tmp_path / "back", workers=4)
            break
        except TransferError:
            continue
    else:
        pytest.fail("ten commands were not enough")
    assert server.met
    assert contents(tmp_path / "back") == contents(small_cache)
    server.plan = lambda environ: None
    assert verify_remote(PLACE).ok
    assert verify_cache(tmp_path / "back").ok


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500 Internal Server Error", "cut"])
def test_faults_that_stay_are_told_and_leave_no_cache(
    small_cache, bucket, server, kind, monkeypatch
):
    monkeypatch.setattr(storing, "TRIES", 2)
    server.plan = lambda environ: kind if "labels.parquet" in environ["PATH_INFO"] else None
    with pytest.raises(TransferError, match=r"labels.parquet could not be copied"):
        copy_cache(small_cache, PLACE)
    server.plan = lambda environ: None
    assert not bucket.exists("bucket/small/cache.json")
