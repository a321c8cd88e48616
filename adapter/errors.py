"""Every error that adapter raises on purpose. One base class, as in featcache.errors."""


class AdapterError(Exception):
    """Base of all errors that adapter raises on purpose."""


class ConfigError(AdapterError, ValueError):
    """A setting has an impossible value, or two settings contradict each other."""


class CheckpointError(AdapterError, ValueError):
    """A checkpoint is damaged, incomplete, or not of the expected architecture."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint, or no run, at the given path."""


class LabelsError(AdapterError, ValueError):
    """The labels of a cache do not allow what was asked for."""


class TrainingError(AdapterError, RuntimeError):
    """Training cannot go on: the loss is not finite, a topology changed, and the like."""
