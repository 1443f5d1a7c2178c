"""How networks of torch are run: device, precision, batches, and memory that runs out."""

import numpy as np
import pytest
from tiny_clip import SIDE, tiny_clip_folder
from torch_operators import torch

from simsearch.encoders.registry import load_encoder
from simsearch.encoders.running import Running
from simsearch.encoders.torch_run import Runner, chosen_device, chosen_precision
from simsearch.errors import EncoderError

NOISE = np.random.default_rng(8).integers(0, 256, (11, SIDE, SIDE, 3), np.uint8)
BEST = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    return f"clip:{tiny_clip_folder(tmp_path_factory.mktemp('clip') / 'tiny')}"


def test_auto_takes_the_best_device_there_is():
    assert chosen_device("auto").type == BEST
    assert Runner(Running()).device.type == BEST


@pytest.mark.parametrize("name", ["gpu", "cuda:7", "meta", "xla"])
def test_a_device_that_is_not_there_names_those_that_are(name, location):
    there = "auto, cpu" if BEST == "cpu" else f"auto, {BEST}, cpu"
    with pytest.raises(EncoderError) as refused:
        load_encoder(location, Running(device=name))
    assert repr(name) in str(refused.value)
    assert str(refused.value).endswith(f"; there are {there}")


def test_the_precision_goes_by_the_device():
    assert chosen_precision("auto", torch.device("cpu")) == "fp32"
    assert chosen_precision("auto", torch.device("mps")) == "fp32"
    assert chosen_precision("bf16", torch.device("cpu")) == "bf16"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_narrower_precision_gives_nearly_the_same_embeddings(precision, location):
    exact, narrow = (load_encoder(location, Running("cpu", name)) for name in ("fp32", precision))
    assert narrow.info == exact.info
    for wide, small in (
        (exact.embed_images(NOISE), narrow.embed_images(NOISE)),
        (exact.embed_texts(["ships", "a stormy sea"]), narrow.embed_texts(["ships", "a stormy sea"])),
    ):
        assert small.dtype == np.float32
        assert 0 < np.abs(wide - small).max() < 0.05
        assert (wide * small).sum(1).min() > 0.999


@pytest.mark.parametrize("size", [1, 4, 11, 200])
def test_the_batch_size_changes_nothing_but_the_pace(size, location):
    found = load_encoder(location, Running("cpu", batch_size=size))
    assert found.batch_size == size
    assert np.abs(found.embed_images(NOISE) - load_encoder(location).embed_images(NOISE)).max() < 1e-5


class Narrow(torch.nn.Module):
    """Doubles its input, but has no room for more than so many at once."""

    def __init__(self, room, error):
        super().__init__()
        self.room, self.error, self.taken = room, error, []

    def forward(self, x):
        if len(x) > self.room:
            raise self.error
        self.taken.append(len(x))
        return 2 * x


ENDED = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
}


@pytest.mark.parametrize("error", ENDED.values(), ids=ENDED)
def test_where_memory_runs_out_the_batch_is_halved_and_the_work_goes_on(error):
    runner, said, network = Runner(Running("cpu", batch_size=16)), [], Narrow(4, error)
    rows = torch.arange(22, dtype=torch.float32)[:, None]
    assert (runner.outputs(network, rows, "images", said.append) == 2 * rows.numpy()).all()
    assert network.taken == [4, 4, 4, 4, 4, 2]
    assert said == [
        "cpu ran out of memory with 16 images at once; going on with 8 (--batch 8 says so from the start)",
        "cpu ran out of memory with 8 images at once; going on with 4 (--batch 4 says so from the start)",
    ]
    assert runner.batch_size == 4


def test_fewer_inputs_than_the_batch_are_halved_themselves():
    runner, said, network = Runner(Running("cpu", batch_size=256)), [], Narrow(2, ENDED["cpu"])
    runner.outputs(network, torch.ones(6, 1), "texts", said.append)
    assert network.taken == [1] * 6 or network.taken == [2, 2, 2]
    assert said[0].startswith("cpu ran out of memory with 6 texts at once; going on with 3")


def test_memory_that_does_not_do_for_one_is_an_error():
    runner = Runner(Running("cpu", batch_size=4))
    with pytest.raises(EncoderError, match=r"^cpu has too little memory for this network, even for one at a time; fr"):
        runner.outputs(Narrow(0, ENDED["cpu"]), torch.ones(4, 1), "images", lambda said: None)


def test_another_error_of_the_network_is_not_taken_for_it():
    runner = Runner(Running("cpu", batch_size=4))
    with pytest.raises(RuntimeError, match="shapes"):
        runner.outputs(Narrow(0, RuntimeError("shapes differ")), torch.ones(4, 1), "images", lambda said: None)


@pytest.mark.skipif(BEST == "cpu", reason="torch has nothing but the CPU here")
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_faster_device_gives_what_the_cpu_gives(precision, location):
    fast, slow = load_encoder(location, Running(BEST, precision, 4)), load_encoder(location, Running("cpu"))
    tolerance = 1e-4 if precision == "fp32" else 0.05
    assert np.abs(fast.embed_images(NOISE) - slow.embed_images(NOISE)).max() < tolerance
    assert np.abs(fast.embed_texts(["ships", "sea"]) - slow.embed_texts(["ships", "sea"])).max() < tolerance
    assert (fast.embed_images(NOISE) == fast.embed_images(NOISE)).all()
