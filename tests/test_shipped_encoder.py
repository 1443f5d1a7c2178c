"""The encoder that comes with simsearch: found by its name on every machine, and part of what is installed."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shipped_art import HEADS, head, shipped_art
from test_packaging import build, copy_of_the_project

from simsearch import Options, index_folders, open_collection, similar
from simsearch.classifier.head import save
from simsearch.classifier.shipped import shipped_heads
from simsearch.encoders import registry
from simsearch.encoders.color import ColorEncoder
from simsearch.encoders.onnx import OnnxEncoder
from simsearch.encoders.registry import load_encoder, location_of
from simsearch.errors import EncoderError, EncoderMismatchError, HeadError


@pytest.fixture
def models(tmp_path, tiny_network, monkeypatch):
    """A models folder with a small `art`, in place of that of this checkout."""
    monkeypatch.setattr(registry, "MODELS", shipped_art(tmp_path / "models", tiny_network))
    return tmp_path / "models"


@pytest.fixture
def pictures(tmp_path, flag):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for code in ("rrrr", "rrry", "bbbb"):
        flag(code).save(folder / f"{code}.png")
    return folder


# -- found by name -----------------------------------------------------------------------------------------------------


def test_art_is_the_model_folder_that_came_along(models, flag):
    encoder = load_encoder("art")
    assert isinstance(encoder, OnnxEncoder)
    assert (encoder.info.name, encoder.info.dim, encoder.folder) == ("art", 48, (models / "art").resolve())
    by_path = load_encoder(str(models / "art"))
    assert by_path.info == encoder.info
    pixels = np.asarray(flag("rgby"))[None]
    assert np.array_equal(by_path.embed_images(pixels), encoder.embed_images(pixels))


def test_it_is_found_again_by_its_name_and_a_folder_by_its_path(models):
    assert location_of(load_encoder("art")) == "art"
    assert location_of(load_encoder(str(models / "art"))) == str((models / "art").resolve())
    assert location_of(ColorEncoder()) == "color"


def test_a_folder_of_that_name_is_named_as_a_path(models, tiny_network, tmp_path, monkeypatch):
    tiny_network(tmp_path / "art", "other")
    monkeypatch.chdir(tmp_path)
    assert load_encoder("art").info.name == "art"
    assert load_encoder("./art").info.name == "other"


def test_a_checkout_without_the_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MODELS", tmp_path / "none")
    with pytest.raises(
        EncoderError, match=r"came without the encoder 'art': there is no .*none/art; install a release"
    ):
        load_encoder("art")


def test_a_shipped_folder_that_lost_its_network_says_so(models):
    (models / "art" / "image.onnx").unlink()
    with pytest.raises(EncoderError, match=r"models/art is no model folder: it has no image\.onnx"):
        load_encoder("art")


def test_what_is_said_to_be_built_in_can_be_loaded():
    assert registry.DEFAULT in registry.BUILT_IN
    for name in registry.BUILT_IN:
        assert load_encoder(name).info.name == name


# -- a collection ------------------------------------------------------------------------------------------------------


def test_a_collection_asks_for_it_by_name_wherever_both_are(models, pictures, tmp_path, flag, monkeypatch):
    with open_collection(tmp_path / "here", write=True) as collection:
        index_folders(collection, [pictures], Options(encoder="art"))
        assert collection.encoder_entry().location == "art"
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(models, tmp_path / "elsewhere" / "models")
    monkeypatch.setattr(registry, "MODELS", Path(moved))
    flag("rryy").save(tmp_path / "new.png")
    with open_collection(shutil.move(tmp_path / "here", tmp_path / "there")) as collection:
        hits = similar(collection, tmp_path / "new.png", k=2)
    assert [Path(hit.artwork.source_id).stem for hit in hits] == ["rrry", "rrrr"]


def test_another_release_of_it_is_refused_with_a_way_out(models, pictures, tmp_path, tiny_network, flag):
    with open_collection(tmp_path / "here", write=True) as collection:
        index_folders(collection, [pictures], Options(encoder="art"))
    tiny_network(models / "art", "art", "2", flipped=True)
    flag("rryy").save(tmp_path / "new.png")
    with (
        open_collection(tmp_path / "here") as collection,
        pytest.raises(EncoderMismatchError, match=r"made with art@1 .*, but art now holds art@2 .*index --encoder art"),
    ):
        similar(collection, tmp_path / "new.png")


# -- its heads ---------------------------------------------------------------------------------------------------------


def test_heads_come_in_the_order_of_answers_and_are_called_by_the_encoder(models):
    heads = shipped_heads(load_encoder("art").info)
    assert [(h.name, h.kind) for h in heads] == [
        ("art/style", "style"),
        ("art/genre", "genre"),
        ("art/artist", "artist"),
    ]
    assert heads[0].classes == ("Bluish", "Reddish")
    assert heads[0].trained_on.tolist() == [0, 1, 2]


def test_other_encoders_have_none(models):
    assert shipped_heads(ColorEncoder().info) == []
    assert shipped_heads(replace(load_encoder("art").info, digest="0" * 64)) == []
    assert shipped_heads(replace(load_encoder("art").info, name="arts")) == []


def test_a_head_made_for_other_weights_of_that_name_does_not_answer(models, tiny_network, tmp_path):
    other = OnnxEncoder(tiny_network(tmp_path / "other", "art", "2", flipped=True), "art")
    save(models / "art" / "heads", head("genre", HEADS["genre"], other))
    assert [h.kind for h in shipped_heads(load_encoder("art").info)] == ["style", "artist"]


def test_a_damaged_head_is_refused(models):
    (numbers,) = (models / "art" / "heads").glob("style-*.safetensors")
    numbers.write_bytes(numbers.read_bytes()[:-1])
    with pytest.raises(HeadError, match="is not the file that its card names"):
        shipped_heads(load_encoder("art").info)


# -- installed ---------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_model_and_its_heads(tmp_path, tiny_network):
    project = copy_of_the_project(tmp_path / "checkout")
    models = project / "simsearch" / "encoders" / "models"
    shutil.rmtree(models, ignore_errors=True)
    shipped_art(models, tiny_network)
    expected = {
        path.relative_to(project).as_posix(): path.read_bytes() for path in models.rglob("*.*") if path.is_file()
    }
    expected = {name: data for name, data in expected.items() if not name.endswith(".lock")}
    assert {name.rpartition("/")[2] for name in expected} >= {"image.onnx", "card.json", "style.json"}
    assert len(expected) == 2 + 2 * len(HEADS)
    with zipfile.ZipFile(build("wheel", project, tmp_path / "dist")) as file:
        held = {name: file.read(name) for name in file.namelist() if "/models/" in name and not name.endswith(".lock")}
    assert held == expected
    assert json.loads(held["simsearch/encoders/models/art/card.json"])["name"] == "art"
