"""What ``similar`` finds, held by value against every pair and every work compared one by one."""

import itertools
import random
import shutil

import numpy as np
import pytest

import simsearch
from simsearch import Filters, Options, index_folders, open_collection, similar


def by_hand(query, rows, ids, k, leave_out):
    """The `k` nearest (id, cosine) of a row, all compared in double precision; of equal ones the lower id first."""
    cosines = rows.astype(np.float64) @ query.astype(np.float64)
    found = sorted((-round(float(c), 6), int(id)) for c, id in zip(cosines, ids, strict=True) if id not in leave_out)
    return [(id, -score) for score, id in found[:k]]


def agree(hits, expected):
    """Whether hits have the expected scores, each of them the right one of its work, to the last of six decimals."""
    true = dict(expected)
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=2e-6)
    for hit in hits:
        if hit.artwork.id in true:
            assert hit.score == pytest.approx(true[hit.artwork.id], abs=2e-6)
        else:  # a work that ties with the last one
            assert hit.score == pytest.approx(expected[-1][1], abs=2e-6)
    return True


@pytest.fixture(scope="module", params=["painted", "real"])
def pictures(request, gallery, real_works, tmp_path_factory, tiny_network):
    """The folder of a collection by the tiny network, of painted pictures and of real ones, and what it exports."""
    home = tmp_path_factory.mktemp(request.param)
    folder = home / "pictures"
    if request.param == "painted":
        shutil.copytree(gallery, folder)
    else:
        works = real_works(320)
        if not works:
            pytest.skip("the real pictures are not at hand")
        folder.mkdir()
        for work in works:
            (folder / f"{work.parent.name}-{work.name}").symlink_to(work)
    with open_collection(home, write=True) as collection:
        index_folders(collection, [folder], Options(encoder=str(tiny_network(home / "model"))))
    return home


@pytest.fixture(scope="module")
def exported(pictures, command):
    """(embeddings, ids) as `simsearch export` writes them."""
    command("export", "--embeddings", "all.npz", cwd=pictures)
    with np.load(pictures / "all.npz") as file:
        return file["embedding"], file["id"]


def test_hits_of_every_work_equal_a_ranking_by_hand(pictures, exported):
    rows, ids = exported
    with open_collection(pictures) as collection:
        assert len(ids) == collection.catalog.count()
        for row, id in zip(rows, ids.tolist(), strict=True):
            assert agree(similar(collection, id, k=10), by_hand(row, rows, ids, 10, {id}))


def test_hits_of_the_command_equal_a_ranking_by_hand(pictures, exported, command):
    rows, ids = exported
    place = len(ids) // 2
    records = command("similar", ids[place], "-k", 25, "--json", cwd=pictures).records
    expected = by_hand(rows[place], rows, ids, 25, {int(ids[place])})
    assert [r["score"] for r in records] == pytest.approx([score for _, score in expected], abs=2e-6)


def test_hits_of_mixes_and_filters_equal_a_ranking_by_hand(pictures, exported):
    rows, ids = exported
    choose = random.Random(5)
    with open_collection(pictures) as collection:
        for _ in range(20):
            first, second, minus = choose.sample(range(len(ids)), 3)
            mix = rows[first].astype(np.float64) + rows[second] - rows[minus]
            queries, asked = {int(ids[i]) for i in (first, second, minus)}, int(ids[minus])
            limit = int(choose.choice(ids))
            kept = ids <= limit
            expected = by_hand(mix / np.linalg.norm(mix), rows[kept], ids[kept], 10, queries)
            hits = similar(
                collection, int(ids[first]), int(ids[second]), minus=[asked], filters=Filters(where=f"id <= {limit}")
            )
            assert agree(hits, expected) if expected else hits == []


def test_a_percentile_is_the_share_of_all_pairs_that_score_lower(pictures, exported):
    rows, ids = exported
    pairs = [float(c) for i in range(len(ids)) for c in rows[i + 1 :].astype(np.float64) @ rows[i].astype(np.float64)]
    with open_collection(pictures) as collection:
        hits = similar(collection, int(ids[0]), k=len(ids))
    if len(pairs) <= 20_000:  # every pair is in the sample
        lower = [100 * np.mean(np.round(pairs, 6) < hit.score - 2e-6) for hit in hits]
        not_higher = [100 * np.mean(np.round(pairs, 6) < hit.score + 2e-6) for hit in hits]
        for hit, low, high in zip(hits, lower, not_higher, strict=True):
            assert low - 0.006 <= hit.percentile <= high + 0.006
    else:  # four times the standard error of a share of 20,000
        for hit in hits:
            share = np.mean(np.array(pairs) < hit.score)
            assert hit.percentile == pytest.approx(100 * share, abs=400 * max(share * (1 - share), 1e-4) ** 0.5 / 141)


def test_a_percentile_by_hand(flags, command, flag_cosine):
    pairs = [round(flag_cosine(a.code, b.code), 6) for a, b in itertools.combinations(flags.works, 2)]
    records = command("similar", flags.path("red"), "-k", 20, "--json", cwd=flags.folder).records
    assert len(pairs) == 55
    assert [r["percentile"] for r in records] == [
        round(100 * sum(pair < round(r["score"], 6) for pair in pairs) / 55, 2) for r in records
    ]
    assert records[-1]["percentile"] == 0.0


def test_a_collection_of_one_work_has_no_percentile(tmp_path, flag, tiny_network, command, snapshot):
    (tmp_path / "one").mkdir()
    flag("rrrr").save(tmp_path / "one" / "red.png")
    command("index", "one", "--encoder", tiny_network(tmp_path / "model"), cwd=tmp_path)
    (record,) = command("similar", "one/red.png", "--include-self", "--json", cwd=tmp_path).records
    assert record["percentile"] is None
    snapshot("similar_one_work.txt", command("similar", "one/red.png", "--include-self", cwd=tmp_path).out)
    assert command("similar", "one/red.png", cwd=tmp_path).out == "no work of the collection fits\n"


# -- works that are newer than the published index ---------------------------------------------------------------------


def interrupt_before_publishing(what, done, of):
    if what == "building the index":
        raise KeyboardInterrupt


@pytest.fixture(params=["exact", "ivf"])
def unpublished(request, tmp_path, flag, tiny_network):
    """300 flags, of which five were added, five removed and one changed after the index was published."""
    folder = tmp_path / "many"
    folder.mkdir()
    codes = ["".join(code) for code in itertools.product("rgbymc", repeat=4) if len(set(code)) > 1]
    for code in random.Random(3).sample(codes, 300):
        flag(code).save(folder / f"{code}.png")
    options = Options(encoder=str(tiny_network(tmp_path / "model")), index=request.param)
    with open_collection(tmp_path, write=True) as collection:
        index_folders(collection, [folder], options)
        generation = collection.catalog.generation(1)
        removed = sorted(path.stem for path in folder.iterdir())[100:105]
        for code in removed:
            (folder / f"{code}.png").unlink()
        for code in ("rrrr", "gggg", "bbbb", "wwww", "kkkk"):
            flag(code).save(folder / f"{code}.png")
        changed = sorted(path.stem for path in folder.iterdir())[200]
        flag("yyyy", (32, 32)).save(folder / f"{changed}.png")
        report = index_folders(collection, [folder], options, interrupt_before_publishing)
        assert (report.added, report.removed, report.changed, report.interrupted) == (5, 5, 1, True)
        assert collection.catalog.generation(1).folder == generation.folder
        assert generation.kind == request.param
        yield folder, collection, removed, changed


def test_works_added_after_a_publish_are_found(unpublished):
    folder, collection, _, _ = unpublished
    for code in ("rrrr", "wwww"):
        (hit,) = similar(collection, folder / f"{code}.png", k=1, filters=Filters(include_self=True))
        assert (hit.artwork.name, hit.score) == (f"{code}.png", 1.0)
    with_filter = Filters(where="path like '____.png'", include_self=True)
    assert similar(collection, folder / "gggg.png", k=1, filters=with_filter)[0].artwork.name == "gggg.png"


def test_works_removed_after_a_publish_are_not_found(unpublished, flag, tmp_path):
    _, collection, removed, _ = unpublished
    for code in removed:
        flag(code).save(tmp_path / "query.png")
        names = {hit.artwork.name for hit in similar(collection, tmp_path / "query.png", k=20)}
        assert names.isdisjoint(f"{code}.png" for code in removed)
        assert len(names) == 20


def test_a_work_changed_after_a_publish_is_found_as_it_is_now(unpublished, flag, tmp_path):
    _, collection, _, changed = unpublished
    flag("yyyy").save(tmp_path / "query.png")
    assert similar(collection, tmp_path / "query.png", k=1)[0].artwork.name == f"{changed}.png"
    flag(changed).save(tmp_path / "query.png")
    hits = similar(collection, tmp_path / "query.png", k=300)
    assert next(hit.score for hit in hits if hit.artwork.name == f"{changed}.png") < 1.0


def test_hits_beside_an_older_index_equal_a_ranking_by_hand(unpublished):
    _, collection, _, _ = unpublished
    entry = collection.encoder_entry()
    rows, ids = collection.catalog.embeddings(entry.number, entry.info.dim)
    if collection.catalog.generation(1).kind == "ivf":
        generation = collection.catalog.generation(1)
        collection.open_index(entry, generation).probes = generation.parameters["lists"]  # exact, for the comparison
    for place in range(0, len(ids), 29):
        hits = similar(collection, int(ids[place]), k=10)
        assert agree(hits, by_hand(rows[place], rows, ids, 10, {int(ids[place])}))
        (itself,) = similar(collection, int(ids[place]), k=1, filters=Filters(include_self=True))
        assert (itself.artwork.id, itself.score) == (ids[place], 1.0)


# -- several encoders --------------------------------------------------------------------------------------------------


def test_each_encoder_answers_for_the_works_that_it_has_seen(new_flags, command, tiny_network):
    other = tiny_network(new_flags.folder / "models" / "other", name="other", flipped=True)
    command("index", "more", "--encoder", other, cwd=new_flags.folder)
    ask = ("similar", new_flags.id["violet"], "-k", 20, "--json")

    def stems(*options):
        return [r["source_id"] for r in command(*ask, *options, cwd=new_flags.folder).records]

    assert stems("--encoder", "other") == ["dusk.png"]
    assert stems() == stems("--encoder", "other")  # the one indexed with last
    assert len(stems("--encoder", "tiny")) == 10
    assert stems("--encoder", new_flags.network) == stems("--encoder", "tiny")


def test_an_encoder_that_is_not_there_is_named_beside_the_ones_there_are(flags, command):
    done = command("similar", flags.id["red"], "--encoder", "tinny", cwd=flags.folder, status=1)
    assert "this collection has no embeddings by 'tinny'; did you mean 'tiny'?" in done.err
    done = command("similar", flags.id["red"], "--encoder", "color", cwd=flags.folder, status=1)
    assert "it has tiny; or run `simsearch index --encoder color`" in done.err


def test_bytes_are_a_query_of_the_python_interface(flags):
    with simsearch.open_collection(flags.folder) as collection:
        (hit,) = simsearch.similar(collection, flags.path("ember").read_bytes(), k=1)
    assert (hit.artwork.title, hit.score) == ("Ember", 1.0)
