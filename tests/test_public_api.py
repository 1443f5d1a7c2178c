"""What `import simsearch` offers: every name, lazily, and as its docstring shows it."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import simsearch
from simsearch import Artwork, Filters, Hit, Prediction, errors, images
from simsearch.commands import common


def run_python(code, cwd, **options):
    asked = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(asked, cwd=cwd, capture_output=True, text=True, check=True, **options).stdout


@pytest.mark.parametrize("name", simsearch.__all__)
def test_every_public_name_can_be_imported_and_has_a_docstring(name):
    thing = getattr(simsearch, name)
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("simsearch.")
    assert name in dir(simsearch)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'simsearch' has no attribute 'simlar'"):
        simsearch.simlar  # noqa: B018


def test_names_for_type_checkers_are_those_that_can_be_imported():
    tree = ast.parse(Path(simsearch.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    declared = {}
    for node in checked.body:
        assert isinstance(node, ast.ImportFrom)
        declared |= {alias.asname: f"{node.module}.{alias.name}" for alias in node.names}
    assert sorted(declared) == simsearch.__all__
    for name, home in declared.items():
        module, _, attribute = home.rpartition(".")
        assert getattr(importlib.import_module(module), attribute) is getattr(simsearch, name)


def test_importing_simsearch_imports_no_numpy(tmp_path):
    said = run_python("import simsearch, sys; print(*sys.modules)", tmp_path).split()
    assert [name for name in said if name.partition(".")[0] == "simsearch"] == ["simsearch"]
    assert {"numpy", "sqlalchemy", "PIL", "click", "onnxruntime", "faiss"}.isdisjoint(said)


def test_the_errors_that_callers_catch_cost_no_numpy(tmp_path):
    said = run_python("import sys; from simsearch import SimsearchError; print(*sys.modules)", tmp_path).split()
    assert {"numpy", "sqlalchemy", "PIL"}.isdisjoint(said)


def test_the_example_of_the_docstring_runs_as_it_stands(tmp_path, flag, tiny_network):
    (tmp_path / "pictures").mkdir()
    for code in ("rrrr", "rrry", "gggg"):
        flag(code).save(tmp_path / "pictures" / f"{code}.png")
    (tmp_path / "pictures" / "artworks.csv").write_text("path,title\nrrry.png,Rust\nrrrr.png,Red\n")
    flag("rrrr", (32, 32)).save(tmp_path / "painting.jpg", quality=100, subsampling=0)
    with simsearch.open_collection(tmp_path / "pictures", write=True) as collection:
        model = str(tiny_network(tmp_path / "model"))
        simsearch.index_folders(collection, [tmp_path / "pictures"], simsearch.Options(encoder=model))
    blocks = simsearch.__doc__.split("\n\n")
    example = textwrap.dedent("\n\n".join(block for block in blocks if block.startswith("    ")))
    lines = [line.split(" ", 1) for line in run_python(example, tmp_path).splitlines()]
    assert [title for _, title in lines] == ["Red", "Rust", "None"]
    assert [float(score) for score, _ in lines] == pytest.approx([1.0, 5 / 6, -1 / 3], abs=0.01)


def test_similar_gives_frozen_hits_that_are_ready_for_json(flags):
    with simsearch.open_collection(flags.folder) as collection:
        hits = simsearch.similar(collection, flags.path("red"), k=2, filters=Filters(where="style = 'Striped'"))
    assert [type(hit) for hit in hits] == [Hit, Hit]
    assert isinstance(hits[0].artwork, Artwork)
    assert (hits[0].rank, hits[0].score, hits[0].percentile) == (1, 0.833333, 90.91)
    assert (hits[1].artwork.artist, hits[1].artwork.extra) == ("Bo Banner", {"shelf": "A3"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        hits[0].score = 1.0
    assert hits[0].to_dict()["title"] == "Rust\nand \x1b[31mgold"


def test_similar_takes_paths_ids_bytes_mixes_and_regions(flags):
    red = flags.path("red")
    with simsearch.open_collection(flags.folder) as collection:
        by_path = simsearch.similar(collection, red, k=20)
        assert simsearch.similar(collection, str(red), k=20) == by_path
        assert simsearch.similar(collection, flags.id["red"], k=20) == by_path
        by_bytes = simsearch.similar(collection, red.read_bytes(), k=20)
        assert [hit.artwork for hit in by_bytes[1:]] == [hit.artwork for hit in by_path]
        mixed = simsearch.similar(collection, red, flags.id["sun"], minus=[flags.path("dusk")], k=1)
        assert mixed[0].artwork.name == "Dune"
        part = simsearch.similar(collection, flags.path("ember"), region="0%,0%,50%,100%", k=1)
        assert (part[0].artwork.name, part[0].score) == ("Red", 1.0)


def test_classify_gives_frozen_predictions_with_their_evidence(flags):
    with simsearch.open_collection(flags.folder) as collection:
        (said,) = simsearch.classify(collection, flags.path("red"), labels=["style"], voters=3)
    assert isinstance(said, Prediction)
    assert (said.kind, said.value, said.votes, said.of, said.share) == ("style", "Striped", 3, 3, 1.0)
    assert [hit.artwork.id for hit in said.neighbours] == [flags.id[stem] for stem in ("rust", "ember", "dune")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        said.value = "Plain"


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        (lambda c: simsearch.similar(c), errors.QueryError, "no query"),
        (lambda c: simsearch.similar(c, 1, k=0), errors.QueryError, "k is 0"),
        (lambda c: simsearch.similar(c, 4711), errors.ArtworkNotFoundError, "no artwork 4711"),
        (lambda c: simsearch.similar(c, b""), errors.ImageError, "0 bytes"),
        (lambda c: simsearch.similar(c, b"text"), errors.ImageError, "not an image"),
        (lambda c: simsearch.similar(c, 1, filters=Filters(where="x = 1")), errors.WhereError, "not a column"),
        (lambda c: simsearch.similar(c, 1, filters=Filters(exclude_same=["mood"])), errors.QueryError, "'mood'"),
        (lambda c: simsearch.similar(c, 1, encoder="clip"), errors.EncoderError, "no embeddings by 'clip'"),
        (lambda c: simsearch.classify(c, 1, top=0), errors.QueryError, "both start at 1"),
        (lambda c: simsearch.classify(c, 1, labels=["mood"]), errors.QueryError, "no work .* has a label 'mood'"),
    ],
)
def test_what_is_refused_raises_an_error_of_ours(flags, question, error, words):
    with simsearch.open_collection(flags.folder) as collection, pytest.raises(error, match=words) as caught:
        question(collection)
    assert isinstance(caught.value, simsearch.SimsearchError)


def test_a_collection_is_found_upward_from_the_working_directory(flags, monkeypatch):
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)
    monkeypatch.chdir(flags.folder / "art" / "warm")
    with simsearch.open_collection() as collection:
        assert collection.folder == flags.folder / ".simsearch"


def test_no_collection_is_an_error_of_ours(tmp_path):
    with pytest.raises(errors.CollectionNotFoundError, match="there is no collection at"):
        simsearch.open_collection(tmp_path)


def test_every_error_has_one_place_in_the_tree_of_its_module():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    shown = re.findall(r"^ {4}[ │├└─]*(\w+Error)\b", errors.__doc__, re.MULTILINE)
    assert sorted(shown) == sorted(c.__name__ for c in classes)
    assert all(issubclass(c, simsearch.SimsearchError) for c in classes)


def test_the_package_is_marked_as_typed():
    assert (Path(simsearch.__file__).parent / "py.typed").is_file()


def test_the_command_line_has_the_pixel_cap_of_the_library():
    assert common.MAX_PIXELS == images.DEFAULT_MAX_PIXELS
