"""A process with torch and the tiny backbone loaded; it forks writers that get killed.

    python crash_worker.py CONFIG

Each line of standard input is ``{"out": folder, "images": folder | null, "at": k | null, "after":
seconds | null}``: extract the images into a cache, or compact it where there are none, with SIGKILL
in the middle of the k-th call that changes the disk, or after some time. Each line of standard
output is ``{"status": exit status, "calls": number or null}``.
"""

import contextlib
import json
import os
import signal
import sys
import time
from itertools import count

CHANGES = ("write", "fsync", "replace", "unlink", "mkdir")


def write(out: str, images: str | None, backbone: object) -> None:
    from featcache.datasets import open_dataset
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig
    from featcache.maintenance.compact import compact_cache

    if images is None:
        compact_cache(out)
        return
    config = ExtractConfig(views=("original", "hflip"), batch_size=2, workers=1, shard_size=3)
    extract(open_dataset("table", images), out, backbone, config)


def kill_at(number: int | None) -> count:
    """Count calls that change the disk, and be killed in the middle of one."""
    calls = count()

    def killing(name, function):
        def call(*args, **kwargs):
            if next(calls) == number:
                if name == "write":
                    function(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, killing(name, getattr(os, name)))
    return calls


def main() -> None:
    from featcache.backbone import BackboneSpec, load_backbone

    (config,) = sys.argv[1:]
    backbone = load_backbone(BackboneSpec(model_config=config, pretrained="seed:0"))
    import featcache.extraction.extract
    import featcache.maintenance.compact  # noqa: F401  so that the children need not

    for line in sys.stdin:
        order = json.loads(line)
        read, answer_to = os.pipe()
        child = os.fork()
        if child == 0:
            calls = kill_at(order["at"])
            write(order["out"], order["images"], backbone)
            with contextlib.suppress(BrokenPipeError), os.fdopen(answer_to, "w") as stream:
                stream.write(str(next(calls)))
            os._exit(0)
        os.close(answer_to)
        if order["after"] is not None:
            time.sleep(order["after"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        with os.fdopen(read) as stream:
            calls_made = stream.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"status": status, "calls": int(calls_made) if calls_made else None}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
