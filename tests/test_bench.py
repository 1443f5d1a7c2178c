"""`simsearch bench` as a function: what is measured, what is proposed, and what is refused. No figure is asserted."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from simsearch.encoders.base import usable_cores
from simsearch.encoders.color import ColorEncoder
from simsearch.encoders.registry import load_encoder
from simsearch.encoders.running import Running
from simsearch.errors import EncoderError, QueryError, SourceError
from simsearch.indexer.bench import AGREEMENT, measure
from simsearch.indexer.workbench import PAINTED_SIZE, Workbench, device_of, paint, sample_of
from simsearch.show.bench import bound, proposal
from simsearch.throughput import Part, Settings, Throughput, Trial


@pytest.fixture(scope="module")
def art(tmp_path_factory):
    """Forty small pictures in two folders, and a file that is none."""
    folder = tmp_path_factory.mktemp("art")
    (folder / "inner").mkdir()
    for number in range(40):
        place = folder / "inner" if number % 2 else folder
        Image.new("RGB", (60 + number, 40), (6 * number, 90, 255 - 6 * number)).save(place / f"{number:02}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def found(art):
    return measure([art], "color", threads=2)


def test_every_part_is_measured_alone_and_all_together(found):
    assert [part.name for part in found.parts] == ["decode", "forward", "write"]  # nothing is copied on the processor
    assert all(part.seconds > 0 for part in (*found.parts, found.together))
    assert (found.images, found.left_out, found.painted) == (40, 1, False)
    assert found.settings == Settings(2, None, None)
    assert (found.device, found.cores, found.batch_size) == ("cpu", usable_cores(), ColorEncoder().batch_size)
    assert found.longest in found.parts
    assert found.allowed_s == pytest.approx(sum(part.seconds for part in found.parts))


def test_threads_are_tried_and_the_proposal_is_a_command(found, art):
    assert {trial.option for trial in found.trials} == {"threads"}
    tried = [int(trial.value) for trial in found.trials]
    assert tried == sorted({1, max(1, usable_cores() // 2), usable_cores(), 2 * usable_cores(), 2})
    assert found.proposed.threads in tried
    assert found.command[:5] == ("simsearch", "index", str(art), "--encoder", "color")
    assert (found.proposed_together is not None) == (found.proposed != found.settings)


def test_the_figures_are_json(found):
    values = json.loads(json.dumps(found.to_dict()))
    assert values["parts"]["decode"]["images_per_s"] == pytest.approx(found.images / found.parts[0].seconds, abs=0.051)
    assert list(values["parts"]) == ["decode", "forward", "write"]
    assert values["bound"] == found.longest.name
    assert values["command"][0] == "simsearch"
    assert values["settings"] == {"threads": 2, "precision": None, "batch": None}


def test_a_number_of_images_is_kept_to(art):
    found = measure([art / "inner"], images=5)
    assert (found.images, found.left_out) == (5, 0)
    assert found.encoder.startswith("color@")


def test_without_a_folder_pictures_are_painted_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    found = measure(images=3)
    assert (found.images, found.painted) == (3, True)
    assert "FOLDER" in found.command
    assert not list(tmp_path.iterdir())


def test_painted_pictures_are_jpeg_files_that_all_differ(tmp_path):
    jobs = paint(tmp_path, 3)
    assert len({job.path.read_bytes() for job in jobs}) == 3
    for job in jobs:
        with Image.open(job.path) as picture:
            assert (picture.format, picture.size) == ("JPEG", PAINTED_SIZE)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"there is no image in .*; name a folder that holds some"):
        measure([tmp_path])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="there is no folder"):
        measure([tmp_path / "nowhere"])


def test_files_that_all_give_no_picture_are_refused_with_a_reason(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(SourceError, match=r"none of 1 files gave a picture, the first: .*a\.png"):
        measure([tmp_path])


def test_an_unknown_encoder_is_refused(art):
    with pytest.raises(EncoderError, match="did you mean 'color'"):
        measure([art], "colour")


@pytest.mark.parametrize("images", [0, -3])
def test_less_than_one_image_is_refused(art, images):
    with pytest.raises(QueryError, match="above 0"):
        measure([art], images=images)


# -- the workbench -----------------------------------------------------------------------------------------------------


class Counting(ColorEncoder):
    """Notes how many pictures it gets."""

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size, self.given, self.lock = batch_size, [], threading.Lock()

    def embed_images(self, pixels):
        with self.lock:
            self.given.append(len(pixels))
        return super().embed_images(pixels)


def test_each_part_goes_through_every_image_in_batches_of_the_encoder(art):
    encoder = Counting(16)
    bench = Workbench.lay_out(encoder, sample_of([art]), 2)
    assert (len(bench.jobs), bench.pixels.shape) == (40, (40, 96, 96, 3))
    assert encoder.given == []
    bench.forward()
    assert encoder.given == [16, 16, 8]
    bench.together(2)
    assert encoder.given[3:] == [16, 16, 8]
    bench.decode(3)
    bench.write()
    assert len(encoder.given) == 6
    assert bench.copy() is None


def test_a_trial_of_the_network_ends_after_its_time(art):
    encoder = Counting(4)
    bench = Workbench.lay_out(encoder, sample_of([art]), 2)
    bench.forward(0)
    assert encoder.given == [4]


def test_a_sample_holds_every_image_of_its_folders_once_in_an_order_of_its_own(art):
    jobs = sample_of([art])
    names = [job.source_id for job in jobs]
    assert len(set(names)) == len(names) == 41
    assert names != sorted(names)
    assert names == [job.source_id for job in sample_of([art])]


def test_an_encoder_without_a_device_of_its_own_is_on_the_processor():
    assert device_of(load_encoder("color")) == "cpu"


# -- on torch ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from tiny_clip import tiny_clip_folder

    return f"clip:{tiny_clip_folder(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="module")
def on_torch(art, clip):
    return measure([art], clip, Running("cpu", batch_size=8), threads=1, images=20)


def test_precision_and_batch_size_of_a_network_on_torch_are_tried(on_torch):
    tried = {option: [t.value for t in on_torch.trials if t.option == option] for option in ("precision", "batch")}
    assert tried["precision"][0] == "fp32"
    assert set(tried["precision"]) <= {"fp32", "bf16", "fp16"}
    assert tried["batch"][0] == "8"
    assert on_torch.settings == Settings(1, "fp32", 8)
    assert on_torch.device == "cpu"


def test_a_precision_is_proposed_only_where_the_embeddings_stay_the_same(on_torch):
    cosines = {trial.value: trial.cosine for trial in on_torch.trials if trial.option == "precision"}
    assert cosines["fp32"] == pytest.approx(1, abs=1e-6)
    assert cosines[on_torch.proposed.precision] >= AGREEMENT


def test_the_command_keeps_what_was_asked_for_and_adds_what_differs(on_torch, clip):
    words = list(on_torch.command)
    assert words[words.index("--encoder") + 1] == clip
    assert words[words.index("--device") + 1] == "cpu"
    assert words[words.index("--batch") + 1] == str(on_torch.proposed.batch)
    assert ("--precision" in words) == (on_torch.proposed.precision != "fp32")


# -- in words ----------------------------------------------------------------------------------------------------------

PARTS = (Part("decode", 3.1), Part("forward", 2.0), Part("write", 0.4))
FIGURES = Throughput(
    encoder="color@1", device="cuda", cores=16, images=400, painted=False, left_out=0,
    settings=Settings(16, "bf16", 256), batch_size=256, parts=PARTS, together=Part("together", 4.0),
    trials=(Trial("batch", "256", 200.0),), proposed=Settings(16, "bf16", 256), proposed_together=None,
    command=("simsearch", "index", "my art"),
)  # fmt: skip


def test_what_bounds_a_device_of_its_own_is_the_longest_part():
    assert bound(FIGURES) == (
        "decode bounds: 3.10 of 4.00 s; the parts run side by side, which allows 3.10 s at best: "
        "78 % of that speed is reached"
    )


def test_on_the_processor_all_parts_share_the_cores():
    here = replace(FIGURES, device="cpu", cores=2, together=Part("together", 6.0))
    assert here.allowed_s == pytest.approx(5.5)
    assert bound(here) == (
        "decode bounds: 3.10 of 6.00 s; all parts share 2 cores, which allow 5.50 s at best: "
        "92 % of that speed is reached"
    )


def test_more_than_is_possible_is_called_a_disturbance():
    assert "other work disturbed the figures" in bound(replace(FIGURES, together=Part("together", 2.0)))


def test_a_proposal_says_what_it_gained():
    assert proposal(FIGURES) == (
        "proposed: 16 decoding threads, batches of 256, bf16, as measured; nothing that was tried is quicker by 5 %"
    )
    quicker = replace(FIGURES, proposed=Settings(32, "bf16", 64), proposed_together=Part("together", 2.0))
    assert proposal(quicker) == (
        "proposed: 32 decoding threads, batches of 64, bf16; together 200 images/s, 2.000 times as many"
    )


def test_images_a_second_are_images_by_seconds():
    assert Part("decode", 0.5).rate(100) == 200
    assert np.isfinite(Part("write", 0.0).rate(100))
