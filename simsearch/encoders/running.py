"""How a network of torch is run: where, in which numbers, how many images at once."""

from __future__ import annotations

from dataclasses import dataclass

from simsearch.errors import EncoderError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Running:
    """Device, precision and batch size of a network of torch; encoders that need no torch pay no heed to it.

    Raises EncoderError for a precision that is none and for a batch of no image. Whether the device is there is seen
    when the network is loaded.
    """

    device: str = "auto"
    """``auto`` takes CUDA, then MPS, then the CPU; else a name of torch's: cpu, cuda, cuda:1, mps."""
    precision: str = "auto"
    """One of :data:`PRECISIONS`. ``auto``: fp32 on the CPU and on MPS; on CUDA bf16, or fp16 where it lacks that."""
    batch_size: int | None = None
    """Images at once; None takes what suits the device."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise EncoderError(f"there is no precision {self.precision!r}; give one of {', '.join(PRECISIONS)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise EncoderError(f"a batch size of {self.batch_size} holds no image; give a whole number above 0")
