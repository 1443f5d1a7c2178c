"""Running a network of torch: where, in which numbers, how many pictures at once, and what happens when memory ends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simsearch.encoders.base import Pixels, check_pixels
from simsearch.encoders.running import Running
from simsearch.errors import EmbeddingError, EncoderError
from simsearch.records import EncoderInfo, Preprocessing
from simsearch.vectors import Rows, unit_rows

BATCHES = {"cuda": 256, "mps": 32}
CPU_BATCH = 16
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What devices say that raise no error of their own for it."""


class Runner:
    """A device with its precision and its batch size, which is halved when memory runs out."""

    def __init__(self, running: Running) -> None:
        """Raises EncoderError for a device that is not there."""
        self.device = chosen_device(running.device)
        self.precision = chosen_precision(running.precision, self.device)
        self.batch_size = running.batch_size or BATCHES.get(self.device.type, CPU_BATCH)
        cuda: Any = torch.cuda
        self._copies = cuda.Stream(self.device) if self.device.type == "cuda" else None

    def placed(self, tower: nn.Module) -> nn.Module:
        """A network on the device, in evaluation mode, its convolutions in the order in which pictures come."""
        tower = tower.eval().to(self.device)
        return tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def outputs(
        self, tower: Callable[[Tensor], Tensor], inputs: Tensor, what: str, notice: Callable[[str], None]
    ) -> npt.NDArray[np.float32]:
        """What a network gives for inputs (n, ...) on the CPU, n at least 1: (n, ...) float32, in their order.

        On CUDA the next batch is copied while one is computed. Where memory runs out, the batch is halved, which
        `notice` says of so many `what` ("images"), and the work goes on. Raises EncoderError where one is too many.
        """
        found: list[Tensor] = []
        done = 0
        part: Tensor | None
        ahead: Tensor | None = None
        with torch.inference_mode(), self._numbers():
            while done < len(inputs):
                size = self.batch_size
                try:
                    part = self._here(ahead if ahead is not None else self.copied(inputs[done : done + size]))
                    after = inputs[done + size : done + 2 * size]
                    ahead = self.copied(after) if self._copies is not None and len(after) else None
                    found.append(tower(part).float())
                    done += size
                    continue
                except RuntimeError as error:
                    if not _memory_ended(error):
                        raise
                # outside of the handler, whose error holds on to what the network had in hand
                part = ahead = None
                self._halve(min(size, len(inputs) - done), what, notice)
            return torch.cat(found).cpu().numpy()

    def copied(self, part: Tensor) -> Tensor:
        """A batch on the device, or on its way there: pinned and copied beside what is computed, on CUDA."""
        if self._copies is None:
            return part.to(self.device)
        with torch.cuda.stream(self._copies):
            return part.pin_memory().to(self.device, non_blocking=True)

    def _here(self, part: Tensor) -> Tensor:
        """The batch, once its copy is there."""
        if self._copies is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_stream(self._copies)
            part.record_stream(stream)
        return part

    def _halve(self, tried: int, what: str, notice: Callable[[str], None]) -> None:
        if tried == 1:
            raise EncoderError(
                f"{self.device} has too little memory for this network, even for one at a time; free some, give "
                "--device cpu, or take a smaller network"
            )
        self.batch_size = tried // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        notice(
            f"{self.device} ran out of memory with {tried} {what} at once; going on with {self.batch_size} "
            f"(--batch {self.batch_size} says so from the start)"
        )

    @contextmanager
    def _numbers(self) -> Iterator[None]:
        """The precision, and on CUDA only those algorithms that give the same numbers each time."""
        with ExitStack() as stack:
            if self.device.type == "cuda":
                exact = self.precision == "fp32"
                flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=not exact
                )
                stack.enter_context(flags)
            if self.precision in DTYPES:
                stack.enter_context(torch.autocast(self.device.type, DTYPES[self.precision]))
            yield


class TorchEncoder:
    """An encoder of pictures whose network runs in torch. The network is in memory from the beginning."""

    def __init__(self, tower: nn.Module, info: EncoderInfo, location: str, runner: Runner) -> None:
        """`tower` gives features (n, dim) of normalised pixels (n, 3, size, size) float32."""
        self.info = info
        self.location = location
        self.runner = runner
        self.notice: Callable[[str], None] = warnings.warn
        self.tower = runner.placed(tower)
        self._normalise = Normalise(info.preprocessing).to(runner.device)

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once; less after memory has run out."""
        return self.runner.batch_size

    def embed_images(self, pixels: Pixels) -> Rows:
        """Unit rows (n, dim) float32 for sRGB pixels (n, size, size, 3) uint8.

        Raises EmbeddingError where the network gives a number that is not finite.
        """
        check_pixels(pixels, self.info)
        if not len(pixels):
            return np.empty((0, self.info.dim), np.float32)
        given = np.ascontiguousarray(pixels)
        if not given.flags.writeable:  # torch shares the memory, and warns of what it might write there
            given = given.copy()
        found = self.runner.outputs(self._of_pixels, torch.from_numpy(given), "images", self._say)
        return self._unit(found)

    def copy_in(self, pixels: Pixels) -> None:
        """Brings pixels to the device and waits until they are there, which is what `simsearch bench` measures."""
        self.runner.copied(torch.from_numpy(np.array(pixels)))
        if self.runner.device.type == "cuda":
            torch.cuda.synchronize(self.runner.device)

    def _of_pixels(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.tower(self._normalise(pixels))
        return features

    def _unit(self, found: npt.NDArray[np.float32]) -> Rows:
        try:
            return unit_rows(found, self.info.dim)
        except EmbeddingError as error:
            way = "; fp16 may be too narrow for this network: try --precision fp32"
            raise EmbeddingError(
                f"{self.info.name}: {error}{way if self.runner.precision == 'fp16' else ''}"
            ) from error

    def _say(self, sentence: str) -> None:
        self.notice(sentence)


class Normalise(nn.Module):
    """Pixels (n, size, size, 3) uint8 as a network wants them, (n, 3, size, size) float32, where they are."""

    scale: Tensor
    shift: Tensor

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        # (x / 255 - mean) / std as one multiplication and one addition
        std, mean = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (rule.std, rule.mean))
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """They keep their order in memory, channels last."""
        return pixels.permute(0, 3, 1, 2).float() * self.scale - self.shift


def chosen_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises EncoderError with those there are for one that torch does not know or cannot use here.
    """
    there = _devices()
    if name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(f"torch cannot use a device {name!r} here; there are auto, {', '.join(there)}") from error
    if device.type not in ("cuda", "mps", "cpu"):
        raise EncoderError(f"a device {name!r} gives no numbers; there are auto, {', '.join(there)}")
    return device


def chosen_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; ``auto`` takes fp32, and on CUDA bf16 where the device computes in it, else fp16."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _devices() -> list[str]:
    there = ["cuda"] if torch.cuda.is_available() else []
    return [*there, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _memory_ended(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error).lower() for text in NO_MEMORY)
