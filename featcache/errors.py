"""Every error that featcache raises on purpose.

One base class; each subclass also inherits the built-in error that it refines, so
``except FileNotFoundError`` keeps working. A message says what is wrong, where (file, shard,
row, value found and value expected), and what to do next.
"""


class FeatcacheError(Exception):
    """Base of all errors that featcache raises on purpose."""


class ConfigError(FeatcacheError, ValueError):
    """A setting has an impossible value, or two settings contradict each other."""


class CacheNotFoundError(FeatcacheError, FileNotFoundError):
    """No cache, or no complete cache, at the given path."""


class CacheFormatError(FeatcacheError, ValueError):
    """A file of the cache is damaged, unsafe, or not of the documented format."""


class FingerprintMismatchError(FeatcacheError, ValueError):
    """Two things with different features were used together: caches, checkpoints, settings."""


class FolderLockedError(FeatcacheError, BlockingIOError):
    """Another process is writing to the folder."""


class CacheLockedError(FolderLockedError):
    """Another process is writing to the cache."""


class TokensNotStoredError(FeatcacheError, LookupError):
    """The cache was made without patch tokens."""


class PromptNotFoundError(FeatcacheError, KeyError):
    """The cache holds no tokens for a prompt."""

    def __str__(self) -> str:
        """Return the message itself; KeyError would quote it."""
        return str(self.args[0]) if self.args else ""


class DiskSpaceError(FeatcacheError, OSError):
    """What is about to be written does not fit on the disk."""


class WriteError(FeatcacheError, OSError):
    """A file of the cache could not be written: an I/O error, a read-only disk, a size limit."""


class MappingError(FeatcacheError, OSError):
    """Features cannot be mapped: a limit on addresses, or a file system without mappings."""


class BackboneError(FeatcacheError, ValueError):
    """The backbone cannot be built as asked: name, weights, projection or tower."""


class ImageError(FeatcacheError, ValueError):
    """One image cannot be read; the message is the reason that the cache records."""


class DatasetError(FeatcacheError, ValueError):
    """A data set's files are not as documented."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A data set's folder, or a file that its reader needs, is missing."""


class TooManyFailuresError(FeatcacheError, RuntimeError):
    """More images failed than ``max_failures`` accepts."""


class WorkersError(FeatcacheError, RuntimeError):
    """The workers of an extraction cannot make what they should."""


class TransferError(FeatcacheError, OSError):
    """A file could not be copied to or from another place, or did not arrive as it was."""
