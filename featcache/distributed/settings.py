"""How many workers, and of what kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from featcache.configuration import Configuration
from featcache.errors import ConfigError

LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(Configuration):
    """The workers of an extraction on Ray.

    Attributes:
        address: ``local`` to start Ray on this machine, ``auto`` for the cluster that this machine
            belongs to, or HOST:PORT of its head.
        actors: How many workers; None for as many as fit: one per GPU, or one per machine where
            there is none.
        gpus_per_actor: GPUs of a worker, a share of one such as 0.5 included; None for 1 where
            there are GPUs.
        cpus_per_actor: Processors of a worker, and its decoding threads; None for an equal share
            of its machine.
        patience: Seconds after which a worker that makes nothing is stopped, and its shard given
            to another.
    """

    _title: ClassVar[str] = "settings of the workers"

    address: str = LOCAL
    actors: int | None = None
    gpus_per_actor: float | None = None
    cpus_per_actor: int | None = None
    patience: float = 300.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "actors", "cpus_per_actor")
        gpus = self.gpus_per_actor
        if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
            raise ConfigError(
                f"gpus_per_actor is a share of one GPU or a whole number of them, not {gpus}"
            )
        if self.patience <= 0:
            raise ConfigError(f"patience is a number of seconds above 0, not {self.patience}")
