"""The cache of a frozen trunk: found by key, filled once, gone on with when interrupted; and the order of views."""

from dataclasses import replace

import numpy as np
import pytest
from painted_works import paint
from PIL import Image
from torch_operators import torch

from simsearch.classifier.finetune import trunk
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.backbones import load_backbone, normalised
from simsearch.classifier.finetune.batches import FromCache, FromFiles, epoch_order, fill_view, mixed, plain_order
from simsearch.classifier.finetune.recipe import Cache, Recipe
from simsearch.classifier.finetune.trunk import PLAIN_VIEW, Activations, pixels_of
from simsearch.errors import ImageError, TrainingError
from simsearch.images import decode, fit, read_bytes
from simsearch.records import Preprocessing
from simsearch.watch import silent

CPU = torch.device("cpu")
FORKED = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Python from 3.12 on warns of threads in a process that forks; torch has some."""
RECIPE = Recipe("cached", "timm:test_vit", input_size=32, cache=Cache(below=2, views=3), views=2, batch_size=4, seed=5)
KEYS = np.array([40, 2**64 - 1, 7, 12], np.uint64)


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("painted"), 12)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(1)
    return load_backbone(RECIPE).eval()


@pytest.fixture
def files(works, backbone):
    return FromFiles(works.paths, works.keys, RECIPE, backbone, CPU, workers=0)


@pytest.fixture
def opened(tmp_path):
    """Opens the cache in one folder, for activations of 3 numbers."""

    def opened(signature=None, keys=KEYS, shape=(3,)):
        return Activations(tmp_path / "cache", signature or {"trunk": "a"}, keys, shape)

    return opened


class Trunk:
    """Gives the first three pixels of each image, and counts the images that it was asked for."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def batches(self, left):
        for row in left:
            yield np.array([row]), torch.full((1, 3), float(row) + 0.5)

    def __call__(self, pixels):
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(int(pixels[0, 0]))
        return pixels


def to_plain(backbone, resize="squash"):
    return Preprocessing(32, resize, "bicubic", backbone.mean, backbone.std)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_found_by_their_keys_in_any_order_and_more_than_once(opened):
    cache = opened()
    assert cache.rows(KEYS).tolist() == [0, 1, 2, 3]
    assert cache.rows(np.array([12, 7, 12, 2**64 - 1], np.uint64)).tolist() == [3, 2, 3, 1]
    assert opened(keys=KEYS[[2, 0]]).rows(KEYS[[0, 2]]).tolist() == [0, 2], "fewer works find what is there"


def test_what_was_computed_is_read_again(opened):
    trunk = Trunk()
    opened().fill(1, np.array([3, 1]), trunk.batches, trunk)
    assert trunk.asked == [3, 1]
    again = opened()
    assert again.view(1).dtype == np.float16
    assert again.view(1).tolist() == [[0] * 3, [1.5] * 3, [0] * 3, [3.5] * 3], "rows that are not done hold zeros"
    assert again.view(2).tolist() == [[0] * 3] * 4
    again.fill(1, np.array([1, 3]), trunk.batches, trunk)
    assert trunk.asked == [3, 1], "nothing was missing"
    again.fill(1, np.arange(4), trunk.batches, trunk)
    assert trunk.asked == [3, 1, 0, 2]
    again.fill(2, np.array([1]), trunk.batches, trunk)
    assert trunk.asked[4:] == [1], "another view is another matter"


@pytest.mark.parametrize("flush_every", [1, 2, 20])
def test_an_interrupted_fill_goes_on_with_what_is_missing(opened, monkeypatch, flush_every):
    monkeypatch.setattr(trunk, "FLUSH_EVERY", flush_every)
    first = Trunk(fails_at=3)
    with pytest.raises(KeyboardInterrupt):
        opened().fill(0, np.arange(4), first.batches, first)
    assert first.asked == [0, 1, 2]
    second = Trunk()
    cache = opened()
    cache.fill(0, np.arange(4), second.batches, second)
    assert second.asked == [3]
    assert cache.view(0)[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_a_fill_tells_how_far_it_is(opened):
    told, trunk = [], Trunk()
    opened().fill(2, np.array([0, 2, 3]), trunk.batches, trunk, lambda *said: told.append(said))
    assert told == [("view 2", 1, 3), ("view 2", 2, 3), ("view 2", 3, 3)]


def test_another_signature_begins_anew_and_unknown_keys_get_rows(opened):
    trunk = Trunk()

    def asked(**changes):
        trunk.asked.clear()
        cache = opened(**changes)
        cache.fill(0, np.arange(len(cache.keys)), trunk.batches, trunk)
        return trunk.asked

    assert asked() == [0, 1, 2, 3]
    assert asked() == []
    assert asked(keys=KEYS[1:]) == [], "all are there"
    assert asked(signature={"trunk": "b"}) == [0, 1, 2, 3]
    assert asked(signature={"trunk": "b"}, keys=np.append(KEYS, np.uint64(99))) == [4]
    assert asked(signature={"trunk": "b", "how": (1, 2)}, keys=KEYS[:2]) == [0, 1]
    assert asked(signature={"trunk": "b", "how": (1, 2)}, keys=KEYS[:2]) == [], "a tuple is a list in JSON"


@pytest.mark.parametrize("more", [1, 7, 2000])
def test_a_cache_grows_by_what_it_lacks_and_keeps_what_was_computed(opened, more):
    trunk, keys = Trunk(), np.concatenate([KEYS, np.arange(100, 100 + more, dtype=np.uint64)])
    opened().fill(0, np.array([0, 2]), trunk.batches, trunk)
    grown = opened(keys=keys[::-1])
    assert len(grown.keys) == len(keys)
    assert grown.view(0).shape == (len(keys), 3)
    assert grown.keys[grown.rows(keys)].tolist() == keys.tolist()
    assert grown.rows(KEYS).tolist() == [0, 1, 2, 3], "what was there stays where it was"
    grown.fill(0, grown.rows(keys[[0, 1, -1]]), trunk.batches, trunk)
    assert trunk.asked == [0, 2, 1, int(grown.rows(keys[-1:])[0])]
    assert opened().view(0)[:3, 0].tolist() == [0.5, 1.5, 2.5]
    grown.fill(1, np.array([len(keys) - 1]), trunk.batches, trunk)
    assert len(opened().view(1)) == len(keys)


def test_growing_that_was_stopped_before_its_end_is_done_again(opened, tmp_path):
    trunk, keys = Trunk(), np.append(KEYS, np.uint64(99))
    opened().fill(0, np.arange(4), trunk.batches, trunk)
    before = (tmp_path / "cache" / "keys.npy").read_bytes()
    opened(keys=np.append(keys, np.uint64(100)))
    (tmp_path / "cache" / "keys.npy").write_bytes(before)  # the arrays had grown, the keys had not
    grown = opened(keys=keys)
    assert grown.view(0)[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 0, 0]
    grown.fill(0, np.arange(5), trunk.batches, trunk)
    assert trunk.asked[4:] == [4]


def test_a_cache_that_was_cut_short_while_it_was_made_begins_anew(opened, tmp_path):
    trunk = Trunk()
    opened().fill(0, np.arange(4), trunk.batches, trunk)
    for name, left in (("signature.json", b'{"tru'), ("signature.json", b""), ("signature.json", None)):
        path = tmp_path / "cache" / name
        path.write_bytes(left) if left is not None else path.unlink()
        assert opened().view(0).tolist() == [[0] * 3] * 4
    (tmp_path / "cache" / "view-1.part").write_bytes(b"x")  # of a file that was not made to its end
    trunk.asked.clear()
    opened().fill(1, np.arange(4), trunk.batches, trunk)
    assert trunk.asked == [0, 1, 2, 3]
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_disk_without_room_is_refused_before_anything_is_computed(opened):
    trunk, keys = Trunk(), np.arange(5, dtype=np.uint64)
    with pytest.raises(
        TrainingError, match=r"cache needs [\d.]+ GB for one view of the works and has [\d.]+ GB; make r"
    ):
        opened(keys=keys, shape=(2**40, 2**6)).fill(0, np.arange(5), trunk.batches, trunk)
    assert trunk.asked == []


def test_a_place_where_no_cache_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match=r"file/cache cannot hold the cache of activations: Not a directory"):
        Activations(tmp_path / "file" / "cache", {}, KEYS, (3,))


# -- views from it -----------------------------------------------------------------------------------------------------


def filled(folder, works, files, below=2, views=1, which=None):
    with torch.inference_mode():
        shape = files.backbone.lower(torch.zeros(1, 3, 32, 32), below).shape[1:]
    cache = Activations(folder, {"below": below}, np.unique(works.keys), shape)
    rows = cache.rows(works.keys)

    def trunk(pixels):
        with torch.inference_mode():
            return files.backbone.lower(pixels, below)

    for number in range(views + 1):
        chosen = np.arange(len(works)) if which is None else which
        fill_view(cache, rows, chosen, number, lambda order: (p for (p,) in files.batches(order)), trunk, silent)
    return cache, rows


def test_the_cache_holds_what_the_trunk_makes_of_the_plain_pictures(tmp_path, works, files, backbone):
    cache, rows = filled(tmp_path, works, files)
    plain = [fit(decode(read_bytes(path), str(path), side=32), to_plain(backbone)) for path in works.paths]
    with torch.inference_mode():
        wanted = backbone.lower(normalised(torch.from_numpy(np.stack(plain)), backbone), 2).numpy()
    assert wanted.shape == (12, 5, backbone.width)
    found = cache.view(PLAIN_VIEW)[rows]
    assert found == pytest.approx(wanted, rel=2**-10, abs=1e-3)
    assert np.abs(found - cache.view(1)[rows]).max() > 0.1, "the other view is another picture"


def test_views_from_the_cache_are_those_from_the_files_through_the_trunk(tmp_path, works, files, backbone):
    cache, rows = filled(tmp_path, works, files, views=2)
    order = [
        (np.array([3, 0, 11]), np.array([[0, 1, 2], [2, 0, 1]])),
        (np.array([5, 4]), np.array([[1, 1], [0, 2]])),
    ]
    taken = list(FromCache(cache, rows, 2, CPU).batches(order))
    assert [[tuple(view.shape) for view in batch] for batch in taken] == [
        [(3, 5, backbone.width)] * 2,
        [(2, 5, backbone.width)] * 2,
    ]
    for batch, pixels in zip(taken, files.batches(order), strict=True):
        for view, image in zip(batch, pixels, strict=True):
            with torch.inference_mode():
                assert torch.allclose(view, backbone.lower(image, 2), rtol=2**-10, atol=1e-3)
            assert view.dtype == torch.float32


def test_works_of_the_same_image_share_a_row(tmp_path, works, files):
    twice = works.take(np.ones(12, bool))
    twice.keys[5] = twice.keys[2]
    own = FromFiles(twice.paths, twice.keys, RECIPE, files.backbone, CPU, 0)
    cache, rows = filled(tmp_path, twice, own)
    assert len(cache.keys) == 11
    assert rows[5] == rows[2]
    first, second = next(iter(FromCache(cache, rows, 2, CPU).batches(plain_order(np.array([2, 5]), 2))))[0]
    assert torch.equal(first, second)


def test_only_what_is_asked_for_is_computed(tmp_path, works, files):
    cache, rows = filled(tmp_path, works, files, which=np.array([1, 4]))
    done = np.load(tmp_path / "view-0.done.npy")
    assert sorted(np.flatnonzero(done)) == sorted(rows[[1, 4]])
    assert (cache.view(0)[~done] == 0).all()


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_a_view_is_the_same_for_the_same_key_number_and_seed_wherever_the_file_lies(works, backbone, tmp_path):
    path = tmp_path / "elsewhere.png"
    path.write_bytes(works.paths[0].read_bytes())

    def seen(path=works.paths[0], key=9, number=1, seed=0):
        return pixels_of(path, key, number, Augment(), to_plain(backbone), seed)

    assert (seen() == seen(path=path)).all()
    for other in ({"key": 10}, {"number": 2}, {"seed": 1}):
        assert (seen() != seen(**other)).any()
    assert (seen(number=PLAIN_VIEW) == seen(number=PLAIN_VIEW, key=10, seed=4)).all()


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_views_of_an_encoder_that_cuts_or_pads_are_of_the_square_it_sees(resize, backbone, tmp_path):
    Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (40, 1, 3))).save(
        tmp_path / "wide.png"
    )
    off = Augment(crop=1, flip=0, colour=0, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0)
    to = to_plain(backbone, resize)
    plain, other = (pixels_of(tmp_path / "wide.png", 1, number, off, to, 0).astype(int) for number in (0, 1))
    squashed = pixels_of(tmp_path / "wide.png", 1, 1, off, to_plain(backbone), 0).astype(int)
    assert np.abs(plain - other).mean() < 3  # one is made in one step, the other in two
    assert np.abs(plain - squashed).mean() > 10


@FORKED
def test_a_broken_file_is_named_by_whoever_reads_it(works, backbone, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(works.paths[0].read_bytes()[:200])
    paths = [*works.paths[:3], broken]
    said = []
    for workers in (0, 1):
        files = FromFiles(paths, works.keys[:4], RECIPE, backbone, CPU, workers)
        with pytest.raises(ImageError) as caught:
            list(files.batches(plain_order(np.arange(4), 2)))
        said.append((str(caught.value), caught.value.reason))
    assert said[0] == said[1]
    assert "broken.png" in said[0][0]
    assert "\n" not in said[0][0]


@FORKED
def test_workers_give_the_views_that_no_workers_give(works, backbone):
    order = epoch_order(np.arange(7), replace(RECIPE, cache=Cache()), 1, 2, 2)
    alone, shared = (
        list(FromFiles(works.paths, works.keys, RECIPE, backbone, CPU, workers).batches(order)) for workers in (0, 1)
    )
    assert all(
        torch.equal(a, b) for one, other in zip(alone, shared, strict=True) for a, b in zip(one, other, strict=True)
    )


# -- order -------------------------------------------------------------------------------------------------------------


def test_an_epoch_shows_every_work_once_and_no_view_twice_in_a_batch():
    order = epoch_order(np.arange(10, 20), RECIPE, 0, 0, 2)
    assert [len(works) for works, _ in order] == [4, 4, 2]
    assert sorted(np.concatenate([works for works, _ in order])) == list(range(10, 20))
    for works, numbers in order:
        assert numbers.shape == (2, len(works))
        assert (numbers[0] != numbers[1]).all()
        assert set(numbers.ravel().tolist()) <= {0, 1, 2, 3}, "the plain view and those that were made"
    seen = {
        n for epoch in range(9) for _, numbers in epoch_order(np.arange(9), RECIPE, 0, epoch, 2) for n in numbers.flat
    }
    assert seen == {0, 1, 2, 3}


def test_without_a_cache_every_view_is_new():
    recipe = replace(RECIPE, cache=Cache())
    seen = [
        int(number)
        for phase in range(2)
        for epoch in range(3)
        for number in epoch_order(np.arange(4), recipe, phase, epoch, 2)[0][1][:, 0]
    ]
    assert len(set(seen)) == 12
    assert PLAIN_VIEW not in seen


def test_the_order_goes_by_seed_phase_and_epoch():
    def order(seed=0, phase=0, epoch=0):
        found = epoch_order(np.arange(40), replace(RECIPE, seed=seed), phase, epoch, 2)
        return [(works.tolist(), numbers.tolist()) for works, numbers in found]

    assert order() == order()
    for other in ({"seed": 1}, {"phase": 1}, {"epoch": 1}):
        assert order() != order(**other)


def test_a_last_batch_of_one_is_left_out():
    assert [len(works) for works, _ in epoch_order(np.arange(9), RECIPE, 0, 0, 2)] == [4, 4]


def test_plain_batches_follow_the_works():
    order = plain_order(np.array([5, 3, 9]), 2)
    assert [(works.tolist(), numbers.tolist()) for works, numbers in order] == [
        ([5, 3], [[PLAIN_VIEW] * 2]),
        ([9], [[PLAIN_VIEW]]),
    ]


def test_mixed_views_say_what_they_are_made_of():
    view = torch.arange(5.0)[:, None, None] * torch.ones(5, 2, 3)
    for seed in range(5):
        found, shares = mixed(view, np.random.default_rng(seed))
        assert torch.allclose(found[:, 0, 0], shares @ torch.arange(5.0), atol=1e-6)
        assert torch.allclose(shares.sum(1), torch.ones(5))
        assert torch.allclose(shares.sum(0), torch.ones(5)), "each work is somebody's other once"
        assert (shares.diagonal() >= 0.5).all(), "the work itself is the larger part"
        assert ((shares > 0).sum(1) <= 2).all()
