"""The hub's own client against a small hub on loopback, which keeps data sets in memory."""

import base64
import hashlib
import json
import threading
from urllib.parse import unquote

import huggingface_hub
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from featcache.errors import TransferError
from featcache.transfer import store as storing
from featcache.transfer.check import verify_remote
from featcache.transfer.copy import copy_cache

PLACE = "hf://datasets/somebody/features/small"
API = "/api/datasets/somebody/features"
FILES = "/datasets/somebody/features/resolve/main/"


class Hub:
    """What the client needs of the hub: a repository's facts, its tree, its files, and commits."""

    def __init__(self):
        self.files = {}
        self.refused = 0  # commits that meet another one, as on the hub
        self.lock = threading.Lock()

    @Request.application
    def __call__(self, request):
        path = unquote(request.path)
        with self.lock:
            if path.startswith(FILES):
                return self._file(request, path.removeprefix(FILES))
            if not path.startswith(API):
                return _missing("RepoNotFound")
            action, _, rest = path.removeprefix(API).lstrip("/").partition("/")
            name = f"_{action}".replace("-", "_") if action else "_facts"
            return getattr(self, name)(request, rest)

    def _facts(self, request, rest):
        return _json({"id": "somebody/features", "sha": "0" * 40, "siblings": [], "tags": []})

    _revision = _facts

    def _tree(self, request, rest):
        folder = rest.removeprefix("main").strip("/")
        below = f"{folder}/" if folder else ""
        names = {n.removeprefix(below).split("/")[0] for n in self.files if n.startswith(below)}
        if not names:
            return _missing("EntryNotFound")
        return _json([self._entry(below + name) for name in sorted(names)])

    def _paths_info(self, request, rest):  # clients before 1.0 ask for it
        asked = request.get_json()["paths"] if request.is_json else request.form.getlist("paths")
        there = [n for n in asked if any(f == n or f.startswith(f"{n}/") for f in self.files)]
        return _json([self._entry(name) for name in there])

    def _entry(self, name):
        if name not in self.files:
            return {"type": "directory", "path": name, "oid": "0" * 40}
        content = self.files[name]
        digest = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": name, "size": len(content), "oid": digest}

    def _preupload(self, request, rest):
        names = [file["path"] for file in request.get_json()["files"]]
        modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
        return _json({"files": modes})

    def _commit(self, request, rest):
        if self.refused:
            self.refused -= 1
            return _json({"error": "A commit has happened since."}, status=412)
        for line in request.get_data().splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "deletedFile":
                del self.files[value["path"]]
        url = f"{request.host_url}datasets/somebody/features/commit/{'1' * 40}"
        return _json({"commitUrl": url, "commitOid": "1" * 40, "success": True})

    def _file(self, request, name):
        if name not in self.files:
            return _missing("EntryNotFound")
        response = Response(self.files[name])
        response.headers["ETag"] = f'"{hashlib.sha1(self.files[name]).hexdigest()}"'
        response.headers["X-Repo-Commit"] = "1" * 40
        return response.make_conditional(
            request, accept_ranges=True, complete_length=len(self.files[name])
        )


def _json(value, status=200):
    return Response(json.dumps(value), status, content_type="application/json")


def _missing(code):
    return Response(code, 404, {"X-Error-Code": code})


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    hub = Hub()
    server = make_server("127.0.0.1", 0, hub, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (huggingface_hub.constants, huggingface_hub.file_download):  # older clients' copy
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "of-a-test")
    monkeypatch.setattr(storing, "PAUSE", 0.01)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    yield hub
    huggingface_hub.HfFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
    thread.join()


def test_there_and_back(small_cache, tmp_path, hub, contents):
    copy_cache(small_cache, PLACE, workers=2)
    assert "small/cache.json" in hub.files
    assert "small/.copying" not in hub.files
    assert verify_remote(PLACE).ok
    copy_cache(PLACE, tmp_path / "back", workers=2)
    assert contents(tmp_path / "back") == contents(small_cache)


def test_commits_that_meet_others_are_made_again(small_cache, hub):
    hub.refused = 3
    copy_cache(small_cache, PLACE, workers=1)
    assert not hub.refused
    assert verify_remote(PLACE).ok


def test_a_flipped_byte_is_noticed(small_cache, tmp_path, hub):
    copy_cache(small_cache, PLACE, workers=1)
    content = bytearray(hub.files["small/shards/00001.h5"])
    content[len(content) // 2] ^= 1
    hub.files["small/shards/00001.h5"] = bytes(content)
    (damage,) = verify_remote(PLACE).damages
    assert damage.file == "shards/00001.h5"
    with pytest.raises(TransferError, match=r"shards/00001.h5 is not what its cache.json says"):
        copy_cache(PLACE, tmp_path / "back", workers=1)
    assert not (tmp_path / "back/cache.json").exists()
