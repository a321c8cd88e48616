"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards.

from featcache import Cache
cache = Cache.open("cache/ava")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.cache import Cache
    from featcache.extraction import ExtractConfig, extract

__all__ = ["Cache", "ExtractConfig", "extract"]


def __getattr__(name: str) -> Any:
    """Import the reader and the pipeline when they are first asked for (PEP 562)."""
    if name == "Cache":
        from featcache.cache import Cache

        return Cache
    if name in ("ExtractConfig", "extract"):
        from featcache import extraction as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
