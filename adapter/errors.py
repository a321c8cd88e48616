"""Every error that adapter raises on purpose. One base class, as in featcache.errors.

Errors of caches, devices and backbones come from featcache and stay what they are: a caller that
wants them all catches ``(AdapterError, FeatcacheError)``.
"""

from featcache import errors as featcache_errors


class AdapterError(Exception):
    """Base of all errors that adapter raises on purpose."""


class ConfigError(AdapterError, featcache_errors.ConfigError):
    """A setting of the adapter has an impossible value, or two contradict each other."""


class CheckpointError(AdapterError, ValueError):
    """A checkpoint is damaged, incomplete, or not of the expected architecture."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint, or no run, at the given path."""


class LabelsError(AdapterError, ValueError):
    """The labels of a cache do not allow what was asked for."""


class TrainingError(AdapterError, RuntimeError):
    """Training cannot go on: the loss is not finite, a topology changed, and the like."""


class ProcessError(AdapterError, RuntimeError):
    """One of several processes that work together has died."""


class PeerError(ProcessError):
    """This process cannot go on, since it has lost its connection to one that has ended."""
