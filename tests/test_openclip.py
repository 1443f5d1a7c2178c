"""CLIP models of open_clip: found, filled whole, fed as they want, and what they say where that cannot be."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_clip import (
    ARCHITECTURE,
    CONTEXT,
    DIM,
    PREPROCESSING,
    SIDE,
    open_clip,
    save_clip_folder,
    tiny_clip,
    tiny_clip_checkpoint,
    tiny_clip_folder,
)
from torch_operators import torch

from simsearch import images, vectors
from simsearch.encoders.base import TextEncoder
from simsearch.encoders.registry import load_encoder, location_of
from simsearch.errors import EmbeddingError, EncoderError, QueryError
from simsearch.records import Preprocessing

NOISE = np.random.default_rng(5).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
WORDS = ["a stormy sea at dusk", "ships", "Ein Stillleben mit Äpfeln", "1642"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clip_folder(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(f"clip:{folder}")


def refused(location):
    with pytest.raises(EncoderError) as caught:
        load_encoder(location)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what it computes --------------------------------------------------------------------------------------------------


def test_pictures_and_texts_are_embedded_as_open_clip_does_it(encoder):
    network = tiny_clip()
    mean, std = (torch.tensor(PREPROCESSING[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        shown = network.encode_image((torch.from_numpy(NOISE).permute(0, 3, 1, 2) / 255 - mean) / std, normalize=True)
        read = network.encode_text(open_clip.tokenize(WORDS), normalize=True)
    assert np.abs(encoder.embed_images(NOISE) - shown.numpy()).max() < 1e-5
    assert np.abs(encoder.embed_texts(WORDS) - read.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, Preprocessing(SIDE, "crop", "bicubic", open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)),
        (PREPROCESSING, Preprocessing(SIDE, "crop", "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))),
        (
            {"mean": 0.5, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"},
            Preprocessing(SIDE, "squash", "bilinear", (0.5,) * 3, (0.5,) * 3),
        ),
        (
            {"mean": [0] * 3, "std": [1] * 3, "interpolation": "random", "resize_mode": "longest"},
            Preprocessing(SIDE, "pad", "bicubic", (0,) * 3, (1,) * 3),
        ),
    ],
)
def test_its_own_preprocessing_is_kept_in_our_words(given, rule, tmp_path):
    assert load_encoder(f"clip:{tiny_clip_folder(tmp_path, preprocessing=given)}").info.preprocessing == rule


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_a_painting_is_fitted_as_open_clip_fits_it(mode, tmp_path, gallery):
    encoder = load_encoder(f"clip:{tiny_clip_folder(tmp_path, preprocessing=PREPROCESSING | {'resize_mode': mode})}")
    path = sorted(gallery.rglob("*.jpg"))[0]
    with Image.open(path) as image:
        wide = image.convert("RGB").resize((150, 90))
    theirs = open_clip.image_transform(
        SIDE, False, PREPROCESSING["mean"], PREPROCESSING["std"], mode, PREPROCESSING["interpolation"]
    )
    with torch.no_grad():
        expected = tiny_clip().encode_image(theirs(wide)[None], normalize=True).numpy()
    ours = encoder.embed_images(images.fit(images.Picture(wide, *wide.size), encoder.info.preprocessing)[None])
    assert (ours @ expected.T).item() > 0.999


def test_the_text_tower_is_seen_from_its_class(encoder):
    assert isinstance(encoder, TextEncoder)
    assert encoder.context_length == CONTEXT


def test_a_text_that_is_too_long_is_cut_with_a_warning(encoder, monkeypatch):
    heard = []
    monkeypatch.setattr(encoder, "notice", heard.append)
    long = "dog " * 90
    rows = encoder.embed_texts(["dog", long, "dog " * 75])
    assert heard == [
        f"the text '{('dog ' * 10).strip()}...' has 92 tokens, {encoder.info.name} reads 77; the rest was left out"
    ]
    assert np.abs(rows[1] - rows[2]).max() < 1e-6  # 75 words and the two marks are all that it reads


def test_without_a_listener_it_warns_as_python_does(folder):
    with pytest.warns(UserWarning, match="92 tokens"):
        load_encoder(f"clip:{folder}").embed_texts(["dog " * 90])


@pytest.mark.parametrize("texts", [[""], ["ships", " \n"]])
def test_an_empty_text_is_refused(encoder, texts):
    with pytest.raises(QueryError, match=r"^an empty text asks for nothing; write what the pictures should show$"):
        encoder.embed_texts(texts)


def test_a_lone_text_is_not_taken_for_its_letters(encoder):
    with pytest.raises(TypeError):
        encoder.embed_texts("ships")


def test_weights_that_are_not_finite_are_an_error_of_the_embedding(tmp_path):
    network = tiny_clip()
    with torch.no_grad():
        network.text_projection[0, 0] = torch.nan
    found = load_encoder(f"clip:{save_clip_folder(network, tmp_path / 'broken')}")
    assert np.isfinite(found.embed_images(NOISE)).all()
    with pytest.raises(EmbeddingError, match=r"^clip-broken-[0-9a-f]{8}: embedding 0 holds a number that is not fin"):
        found.embed_texts(["ships"])


# -- who it is ---------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_weights_whatever_file_they_are_in(encoder, folder, tmp_path):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    found = load_encoder(f"clip:{architecture}?weights={weights}")
    assert found.info.digest == encoder.info.digest
    assert (found.info.name, encoder.info.name) == (f"clip-tiny-{found.info.digest[:8]}",) * 2
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    torch.save(tiny_clip().state_dict(), tmp_path / "pickled" / "open_clip_pytorch_model.bin")
    again = load_encoder(f"clip:{tmp_path / 'pickled'}")
    assert again.info.digest == encoder.info.digest
    assert (again.embed_images(NOISE) == encoder.embed_images(NOISE)).all()


def test_other_weights_or_another_number_of_heads_are_another_encoder(encoder, folder, tmp_path):
    other = load_encoder(f"clip:{tiny_clip_folder(tmp_path / 'tiny', seed=1)}")
    assert other.info.digest != encoder.info.digest
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["heads"] = 4
    (tmp_path / "tiny" / "open_clip_config.json").write_text(json.dumps(config))
    assert load_encoder(f"clip:{tmp_path / 'tiny'}").info.digest not in (other.info.digest, encoder.info.digest)


def test_it_is_found_again_from_anywhere(folder, encoder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = load_encoder("clip:tiny")
    assert location_of(found) == f"clip:{folder}"
    assert found.info == encoder.info


def test_weights_of_a_published_name_may_lie_in_a_file(tmp_path, monkeypatch, hub_folder):
    config = tmp_path / "ViT-tiny.json"
    config.write_text(json.dumps(ARCHITECTURE))
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"ViT-tiny": ARCHITECTURE})
    published = open_clip.pretrained._PRETRAINED["ViT-B-32"]["openai"] | {"hf_hub": "org/tiny/"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-tiny", {"openai": published})
    _, weights = tiny_clip_checkpoint(tmp_path)
    local = load_encoder(f"clip:ViT-tiny/openai?weights={weights}")
    assert local.info.name == f"clip-ViT-tiny-openai-{local.info.digest[:8]}"
    downloaded(hub_folder, "org/tiny", tiny_clip_folder(tmp_path / "files"))
    found = load_encoder("clip:ViT-tiny/openai")
    assert found.info.name == "clip-ViT-tiny-openai"
    assert location_of(found) == "clip:ViT-tiny/openai"
    assert found.info.digest == local.info.digest
    plain = load_encoder(f"clip:ViT-tiny?weights={weights}")  # without the tag it is built as the name alone says
    assert (published["quick_gelu"], plain.info.digest != local.info.digest) == (True, True)


# -- the hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """An empty folder in which the hub's client looks for what it downloaded; it may not go online."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def downloaded(hub, repository, files):
    """Lays files down as the hub's client leaves them."""
    place = hub / f"models--{repository.replace('/', '--')}"
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    for path in files.iterdir():
        (place / "snapshots" / ("0" * 40) / path.name).write_bytes(path.read_bytes())


def test_a_model_of_the_hub_that_was_downloaded_needs_no_connection(hub_folder, folder, encoder):
    downloaded(hub_folder, "ada/tiny-clip", folder)
    found = load_encoder("clip:hf-hub:ada/tiny-clip")
    assert found.info.name == "clip-ada-tiny-clip"
    assert location_of(found) == "clip:hf-hub:ada/tiny-clip"
    assert (found.embed_texts(WORDS) == encoder.embed_texts(WORDS)).all()


def test_weights_that_cannot_be_fetched_say_what_was_wanted_where_it_was_looked_for_and_the_way_out(hub_folder):
    files = "open_clip_model.safetensors or open_clip_pytorch_model.bin"
    assert refused("clip:ViT-B-32/laion2b_s34b_b79k") == (
        f"the weights of clip:ViT-B-32/laion2b_s34b_b79k cannot be had: {files} of "
        f"laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not in {hub_folder}, and https://huggingface.co gave nothing "
        "(offline mode is on); go online, or get the file elsewhere and write "
        "clip:ViT-B-32/laion2b_s34b_b79k?weights=FILE"
    )
    assert refused("clip:hf-hub:ada/tiny-clip").endswith(
        "go online, or get open_clip_config.json and open_clip_model.safetensors elsewhere, put both into a folder and "
        "write clip:FOLDER"
    )


def test_a_hub_that_cannot_be_reached_is_said_at_once(hub_folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "and http://127.0.0.1:9 gave nothing (no connection); go online" in refused("clip:ViT-B-32/openai")


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("clip:vit-b32/openai", "open_clip has no model 'vit-b32'; did you mean ViT-B-32 or "),
        ("clip:zzz/openai", "open_clip has no model 'zzz'; open_clip.list_models() tells what there is"),
        ("clip:ViT-B-32/laion2b_s34b", "ViT-B-32 has no weights 'laion2b_s34b'; did you mean laion2b_s34b_b79k"),
        (
            "clip:ViT-L-14-336/zzz",
            "ViT-L-14-336 has no weights 'zzz'; there are openai, or name a file with clip:ViT-L",
        ),
        ("clip:ViT-L-14-336", "clip:ViT-L-14-336 names no weights: there are openai; write clip:ViT-L-14-336/TAG, or"),
    ],
)
def test_unknown_models_and_weights_suggest_the_nearest(location, says):
    assert refused(location).startswith(says)


def test_a_checkpoint_of_another_architecture_names_the_first_tensors_that_differ(tmp_path):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    wider = ARCHITECTURE | {"text_cfg": ARCHITECTURE["text_cfg"] | {"layers": 3}, "embed_dim": 24}
    architecture.write_text(json.dumps(wider))
    message = refused(f"clip:{architecture}?weights={weights}")
    assert message.startswith(f"{weights} does not fit tiny: of 74 tensors, 12 missing (transformer.resblocks.2.ln_1.")
    assert "2 of another shape (text_projection, 32 x 16 in the file and 32 x 24 in the network; visual.proj" in message
    assert message.endswith("; take the weights of this very architecture")


@pytest.mark.parametrize("lost", ["logit_scale", "visual.proj", "token_embedding.weight"])
def test_no_tensor_keeps_its_random_number(lost, tmp_path):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    torch.save({name: value for name, value in tiny_clip().state_dict().items() if name != lost}, weights)
    assert f"of 62 tensors, 1 missing ({lost}); take" in refused(f"clip:{architecture}?weights={weights}")


class Pickled:
    """Writes a file when it is read back."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_nothing_pickled_is_run(tmp_path):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    torch.save({"state_dict": tiny_clip().state_dict(), "run": Pickled(tmp_path / "ran")}, weights)
    message = refused(f"clip:{architecture}?weights={weights}")
    assert message.startswith(f"{weights} is damaged or holds more than tensors (")
    assert message.endswith("save its state_dict as .safetensors where you trust it")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("data", [b"", b"no weights at all", None], ids=["empty", "text", "half"])
def test_a_damaged_checkpoint_is_named(name, data, tmp_path):
    folder = tiny_clip_folder(tmp_path / "tiny")
    _, pickled = tiny_clip_checkpoint(tmp_path)
    whole = (pickled if name == "w.pt" else folder / "open_clip_model.safetensors").read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if data is None else data)
    message = refused(f"clip:{tmp_path / 'tiny.json'}?weights={tmp_path / name}")
    assert message.startswith(f"{tmp_path / name} ")
    assert "cannot be read as a" in message or "is damaged or holds more than tensors" in message


def test_files_that_are_not_there_are_named(tmp_path):
    assert refused(f"clip:{tmp_path / 'gone'}").startswith(f"there is no folder {tmp_path / 'gone'}; ")
    assert refused(f"clip:{tmp_path}").startswith(f"there is no {tmp_path / 'open_clip_config.json'}, which says what")
    folder = tiny_clip_folder(tmp_path / "tiny")
    weights = folder / "open_clip_model.safetensors"
    assert refused(f"clip:ViT-B-32?weights={folder}").startswith(f"{folder} is a folder; weights= takes a .safetensors")
    weights.unlink()
    assert refused(f"clip:{folder}").startswith(f"{folder} holds no weights: neither open_clip_model.safetensors nor ")
    assert refused(f"clip:ViT-B-32?weights={weights}").startswith(f"{weights} is not there; weights= takes")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "is not the JSON file of a model: "),
        ("[]", "is no model of open_clip: it lacks embed_dim, vision_cfg, text_cfg"),
        ('{"model_cfg": {"embed_dim": 3}}', "is no model of open_clip: it lacks vision_cfg, text_cfg"),
    ],
)
def test_an_architecture_that_is_none_is_named(config, says, tmp_path):
    path = tiny_clip_folder(tmp_path) / "open_clip_config.json"
    path.write_text(config)
    assert refused(f"clip:{tmp_path}").startswith(f"{path} {says}")


def test_an_architecture_that_open_clip_cannot_build_is_named(tmp_path):
    architecture, weights = tiny_clip_checkpoint(tmp_path)
    architecture.write_text(json.dumps(ARCHITECTURE | {"vision_cfg": {"depth": 3}}))
    message = refused(f"clip:{architecture}?weights={weights}")
    assert message.startswith("open_clip cannot build tiny: ")
    assert message.endswith("; look at its architecture")


def test_rows_of_pictures_and_texts_can_be_mixed(encoder):
    parts = np.concatenate([encoder.embed_images(NOISE[:1]), encoder.embed_texts(WORDS[:1])])
    assert vectors.mix(parts).shape == (1, DIM)
