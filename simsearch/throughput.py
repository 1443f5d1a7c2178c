"""What `bench` found of the speed of indexing: records that `indexer` fills and `show` draws."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PARTS = ("decode", "copy", "forward", "write")
PROCESSOR = "cpu"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of indexing, alone or together with the others, over all images of the measurement."""

    name: str
    seconds: float

    def rate(self, images: int) -> float:
        """Images a second."""
        return images / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Trial:
    """One value of an option, tried for a short time."""

    option: str
    """``threads``, ``precision`` or ``batch``."""
    value: str
    images_per_s: float
    cosine: float | None = None
    """The lowest of the embeddings with those of fp32, where the precision was tried."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How images are decoded and embedded. Precision and batch size are None where the encoder has but one way."""

    threads: int
    precision: str | None
    batch: int | None


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast this machine indexes with an encoder, what bounds it, and which options to index with."""

    encoder: str
    device: str
    """``cpu``, or what torch calls the device that the network runs on."""
    cores: int
    images: int
    painted: bool
    """The images were painted for the measurement, because no folder was named."""
    left_out: int
    """Files of the sample that gave no picture."""
    settings: Settings
    batch_size: int
    parts: tuple[Part, ...]
    """Those of PARTS that there are, in their order: nothing is copied for an encoder on the processor."""
    together: Part
    trials: tuple[Trial, ...]
    proposed: Settings
    proposed_together: Part | None
    """All parts together as proposed, where that differs from what was measured first."""
    command: tuple[str, ...]
    """Words of the command line that indexes as proposed."""

    @property
    def longest(self) -> Part:
        """The part that takes longest, which is what bounds the whole."""
        return max(self.parts, key=lambda part: part.seconds)

    @property
    def allowed_s(self) -> float:
        """Seconds at best: of the longest part, and on the processor, whose cores all parts share, of all together.

        Copying is a part of forward.
        """
        if self.device != PROCESSOR:
            return self.longest.seconds
        return sum(part.seconds for part in self.parts if part.name != "copy")

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with images a second beside seconds."""
        return asdict(self) | {
            "parts": {part.name: _figures(part, self.images) for part in self.parts},
            "together": _figures(self.together, self.images),
            "bound": self.longest.name,
            "allowed_s": round(self.allowed_s, 4),
            "trials": [asdict(trial) | {"images_per_s": round(trial.images_per_s, 1)} for trial in self.trials],
            "proposed_together": _figures(self.proposed_together, self.images) if self.proposed_together else None,
        }


def _figures(part: Part, images: int) -> dict[str, float]:
    return {"seconds": round(part.seconds, 4), "images_per_s": round(part.rate(images), 1)}
