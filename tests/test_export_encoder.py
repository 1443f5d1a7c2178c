"""``simsearch export-encoder``: a folder that says what the network says, however its weights are kept, or none."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import onnx
import pytest
from exported_runs import FIGURES, PARTS, by_network, drawn_pictures, fitted, run_of, small_cnn
from labelled_works import indexed, painted

from simsearch import open_collection, vectors
from simsearch.classifier.finetune import export
from simsearch.classifier.finetune.export import export_encoder
from simsearch.classifier.finetune.finished import home_of, run_folder
from simsearch.classifier.finetune.network import load_network
from simsearch.classifier.finetune.recipe import Distill, Neck, Recipe
from simsearch.cli import main
from simsearch.commands import export_encoder as command_module
from simsearch.encoders.export import folder as model_folder
from simsearch.encoders.export import graph, quantise
from simsearch.encoders.export.folder import Exported, Wishes
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.encoders.registry import load_encoder
from simsearch.errors import EncoderError, TrainingError


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A folder with a collection of 120 painted pictures."""
    folder = tmp_path_factory.mktemp("studio")
    painted(folder)
    return indexed(folder)


@pytest.fixture(scope="module")
def cnn(studio):
    """A finished run of a small CNN, in the collection."""
    return small_cnn(studio / ".simsearch" / "finetune")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return drawn_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def exported(cnn, tmp_path_factory):
    """What `simsearch export-encoder ... --json` says of the small CNN, checked on pictures of its collection."""
    folder = tmp_path_factory.mktemp("models") / "small"
    out = io.TextIOWrapper(io.BytesIO())
    with pytest.raises(SystemExit) as left, redirect_stdout(out), redirect_stderr(io.StringIO()) as err:
        main(["export-encoder", str(cnn), str(folder), "--check", "12", "--resize", "pad", "--json"])
    assert not left.value.code, err.getvalue()
    out.seek(0)
    (line,) = out.read().splitlines()
    said = json.loads(line)
    assert (said["folder"], said["quantised"]) == (str(folder), None)
    return Exported(folder, said["card"], said["bytes"])


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_card_says_what_was_trained_and_how_it_agrees(exported, cnn):
    card = json.loads((exported.folder / "card.json").read_text())
    assert card == exported.card
    digest = OnnxEncoder(exported.folder).info.digest
    assert (card["name"], card["revision"], card["dim"], card["input_size"]) == ("small", digest[:12], 40, 32)
    assert (card["resize"], card["interpolation"], card["storage"]) == ("pad", "bicubic", "float32")
    assert card["pooling"] == (
        "the mean of the last map; semantic, 24 numbers of length 1; instance, 16 numbers of length 0.4"
    )
    assert (card["backbone"], card["figures"], card["steps"]) == ("cnn:3", FIGURES, 3)
    assert card["base_weights"] == {"from": "none", "sha256": "none"}
    assert card["recipe"]["parts"][1] == {"name": "instance", "dim": 16, "weight": 0.4}
    assert card["agreement"] == {
        "count": 12, "images": "of the collection", "least_cosine": pytest.approx(1, abs=1e-5),
        "mean_cosine": pytest.approx(1, abs=1e-5), "needed": 0.999,
    }  # fmt: skip
    assert exported.bytes == (exported.folder / "image.onnx").stat().st_size
    assert sorted(path.name for path in exported.folder.iterdir()) == ["card.json", "image.onnx"]


def test_the_folder_is_an_encoder_and_embeds_pictures(exported, pictures, cnn):
    encoder = load_encoder(str(exported.folder))
    pixels = fitted(pictures, encoder)
    assert (encoder.embed_images(pixels) * by_network(load_network(cnn), pixels)).sum(1).min() > 0.99999


def test_no_place_of_the_machine_it_was_trained_on_is_in_the_card():
    recipe = Recipe(
        name="r", backbone="cnn:3", weights="/home/ada/base.safetensors", parts=PARTS,
        distill=(Distill("/home/ada/teacher.npz"), Distill("dinov2")),
    )  # fmt: skip
    said = export._portable(export.as_data(recipe))
    assert said["weights"] == "base.safetensors"
    assert [d["teacher"] for d in said["distill"]] == ["teacher.npz", "dinov2"]
    assert json.loads(json.dumps(said)) == said


def test_works_of_the_collection_are_compared_where_there_are_enough(studio):
    rule = export.Preprocessing(16)
    with open_collection(studio) as collection:
        own, whose = export._pictures(collection, rule, 100, 0)
        more, mixed = export._pictures(collection, rule, 123, 0)
    none, painted_only = export._pictures(None, rule, 5, 0)
    assert (whose, mixed, painted_only) == ("of the collection", "of the collection and painted", "painted")
    assert (own.shape, more.shape, none.shape) == ((100, 16, 16, 3), (123, 16, 16, 3), (5, 16, 16, 3))
    assert np.array_equal(own, more[:100])
    assert np.array_equal(none[:3], more[120:])
    assert len({picture.tobytes() for picture in more}) == 123


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_disagrees_with_the_network_is_not_written(cnn, tmp_path, monkeypatch):
    def wrong(network, pixels):
        return vectors.unit_rows(by_network(network, pixels) + 0.05)

    monkeypatch.setattr(export, "_embedded", wrong)
    with pytest.raises(
        TrainingError, match=r"other embeddings than the network: cosine 0\.9\d+ in one of 3 images, 0\.999"
    ):
        export_encoder(cnn, tmp_path / "out" / "small", Wishes(check=3))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_least_cosine_is_that_of_the_storage():
    for storage, needed in (("float32", 0.999), ("float16", 0.999), ("int8", 0.995)):
        agreement = {"count": 2, "least_cosine": needed, "mean_cosine": 1.0}
        model_folder.check(agreement, storage)
        assert agreement["needed"] == needed
        for bad in (needed - 1e-6, float("nan")):
            with pytest.raises(
                TrainingError, match="take another" if storage == "float32" else "keep the weights as float32"
            ):
                model_folder.check({"count": 2, "least_cosine": bad, "mean_cosine": 1.0}, storage)


@pytest.mark.parametrize(
    ("wishes", "to", "said"),
    [
        (Wishes(), "there", "there is there already|is there already; name another folder"),
        (Wishes(quantise="collection"), "new", "there is no collection to calibrate by"),
        (Wishes(size=3), "new", r"cnn:3 takes no images of 3 x 3 pixels \(.*\); choose another --size"),
        (Wishes(), "file/below", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(cnn, tmp_path, wishes, to, said):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(TrainingError, match=said):
        export_encoder(cnn, tmp_path / to, wishes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_without_onnx_it_is_said_which_package_is_needed(cnn, tmp_path, monkeypatch):
    there = graph.find_spec
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name.startswith("onnx") else there(name))
    with pytest.raises(
        TrainingError, match=r"exporting needs onnx and onnxscript; run `pip install 'simsearch\[torch\]'`"
    ):
        export_encoder(cnn, tmp_path / "new")


def test_an_unfinished_run_and_one_that_is_not_there_are_named(studio, cnn, tmp_path, monkeypatch):
    home = studio / ".simsearch"
    (home / "finetune" / "begun").mkdir(exist_ok=True)
    assert run_folder("small", studio) == cnn
    assert run_folder(str(cnn)) == cnn
    assert home_of(cnn) == home
    with pytest.raises(TrainingError, match=r"there is no run 'smal' in .*; did you mean 'small'\?"):
        run_folder("smal", studio)
    with pytest.raises(TrainingError, match=r"'xyz' in .*; finished are small"):
        run_folder("xyz", studio)
    with pytest.raises(TrainingError, match=r"begun holds no finished run: it has no network\.json"):
        run_folder("begun", studio)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIMSEARCH_COLLECTION", raising=False)
    assert home_of(tmp_path) is None
    with pytest.raises(TrainingError, match="there is no folder small, and no collection in"):
        run_folder("small")


# -- int8 arithmetic ---------------------------------------------------------------------------------------------------


def test_int8_arithmetic_is_tried_beside_float32_and_kept_only_on_demand(cnn, studio, tmp_path):
    with open_collection(studio) as collection:
        made = [
            export_encoder(
                cnn,
                tmp_path / str(keep),
                Wishes(check=4, quantise="collection", keep_quantised=keep),
                collection=collection,
            )
            for keep in (False, True)
        ]
    plain, kept = made
    assert (plain.quantised.kept, kept.quantised.kept) == (False, True)
    assert plain.card["quantised"] == plain.quantised.to_dict()
    assert plain.quantised.works == kept.quantised.works == 28  # every fourth of the thirty rounds of each style
    assert set(plain.quantised.likeness) >= {"style_p10", "genre_p10", "style_p10_other"}
    for before, after in plain.quantised.likeness.values():
        assert abs(before - after) < 0.2
        assert 0 < before <= 1
    assert min(plain.quantised.images_per_s) > 0
    assert plain.quantised.bytes[1] < 0.4 * plain.quantised.bytes[0]
    assert (plain.bytes, kept.bytes) == plain.quantised.bytes
    held = [Counter(n.op_type for n in onnx.load(one.folder / "image.onnx").graph.node) for one in made]
    assert held[0]["QuantizeLinear"] == 0
    assert held[1]["QuantizeLinear"] > 2
    assert kept.card["arithmetic"] == "int8 (static)"
    assert 0.9 < kept.card["agreement"]["least_cosine"] < 1
    assert kept.card["revision"] == OnnxEncoder(kept.folder).info.digest[:12] != plain.card["revision"]
    assert sorted(path.name for path in kept.folder.iterdir()) == ["card.json", "image.onnx"]


def test_images_to_calibrate_by_are_asked_for(cnn, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainingError, match="none holds no image to calibrate by"):
        export_encoder(cnn, tmp_path / "new", Wishes(check=2, quantise=tmp_path / "none"))
    with pytest.raises(TrainingError, match="there is no image to calibrate int8 by"):
        quantise.quantise(tmp_path, np.empty((0, 8, 8, 3), np.uint8), export.Preprocessing(8), tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_exports_a_run_by_its_name(studio, cnn, tmp_path, command):
    done = command(
        "export-encoder", "small", tmp_path / "small art", "--name", "small-art", "--storage", "float16", "--check", 9,
        "--licence", "MIT", cwd=studio,
    )  # fmt: skip
    assert "Warning" not in done.err
    said = dict(line.split(maxsplit=1) for line in done.lines)
    card = json.loads((tmp_path / "small art" / "card.json").read_text())
    assert said["encoder"] == f"small-art@{card['revision']}, 40 numbers"
    assert said["sees"] == "32 x 32 pixels, squash"
    assert said["weights"].endswith("MB, kept as float16")
    assert said["agreement"] == "cosine 1.0000 or more, 1.0000 on average, on 9 images of the collection"
    assert said["saved"] == str(tmp_path / "small art")
    assert said["now"] == f"simsearch index FOLDER --encoder '{tmp_path / 'small art'}'"
    assert (card["licence"], card["agreement"]["count"]) == ("MIT", 9)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nothing", "new"], 1, "there is no run 'nothing'"),
        (["small", "new", "--keep-quantised"], 2, "--keep-quantised needs --quantise IMAGES"),
        (["small", "new", "--storage", "int4"], 2, "'int4' is not one of 'float32', 'float16', 'int8'"),
        (["small", "."], 1, "is there already; name another folder"),
    ],
)
def test_wrong_use_is_a_sentence(studio, cnn, arguments, status, said, monkeypatch, capsys):
    monkeypatch.chdir(studio)
    with pytest.raises(SystemExit) as left:
        main(["export-encoder", *arguments])
    assert left.value.code == status
    assert said in capsys.readouterr().err
    assert not (studio / "new").exists()


def test_the_command_and_the_library_agree_on_defaults():
    default = {p.name: p.default for p in command_module.export_encoder.params}
    wishes = Wishes()
    assert (default["check"], default["storage"]) == (wishes.check, wishes.storage) == (model_folder.CHECKED, "float32")
    fields = inspect.signature(Wishes).parameters
    assert set(fields) <= set(default)


def test_an_exported_folder_embeds_without_torch(exported, pictures, studio):
    code = f"""
import sys
from simsearch import images
from simsearch.encoders.registry import load_encoder
from pathlib import Path
encoder = load_encoder({str(exported.folder)!r})
picture = images.decode(Path({str(pictures[0])!r}).read_bytes(), "a picture")
rows = encoder.embed_images(images.fit(picture, encoder.info.preprocessing)[None])
print(rows.shape, "torch" in sys.modules, "onnx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 40) False False\n"


def test_a_network_that_cannot_be_read_is_an_encoder_error(exported, tmp_path):
    (tmp_path / "image.onnx").write_bytes((exported.folder / "image.onnx").read_bytes()[:-100])
    (tmp_path / "card.json").write_text((exported.folder / "card.json").read_text())
    with pytest.raises(EncoderError, match="is no network that onnxruntime can run"):
        OnnxEncoder(tmp_path).embed_images(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_conv_lstm_neck_is_exported_too(tmp_path):
    run = run_of(tmp_path / "lstm", backbone="cnn:3", input_size=32, neck=Neck("conv-lstm", 8))
    done = export_encoder(run, tmp_path / "out", Wishes(check=3, storage="int8"))
    assert done.card["agreement"]["least_cosine"] > 0.999
    assert done.card["pooling"].startswith("a ConvLSTM over three scales with self-attention; semantic")
