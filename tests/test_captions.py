"""Sentences made of labels."""

import numpy as np
import pytest

from simsearch.captions import (
    COMPOSED,
    TEMPLATES,
    caption,
    fields_of,
    filled,
    fitting,
    fullest,
    prompts,
    sentences,
    spoken,
)
from simsearch.records import Artwork, Label

MONET = {"style": "Impressionism", "genre": "landscape", "artist": "claude-monet"}


def drawn(said, count=60, **more):
    return {caption(said, np.random.default_rng(seed), **more) for seed in range(count)}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Art_Nouveau_Modern", "Art Nouveau Modern"),
        ("claude-monet", "claude monet"),
        ("Jean-Baptiste Corot", "Jean-Baptiste Corot"),
        ("  still_life ", "still life"),
    ],
)
def test_a_label_becomes_words(value, words):
    assert spoken(value) == words


@pytest.mark.parametrize("kind", ["style", "genre", "artist", "kind", "material"])
def test_a_label_is_asked_for_by_an_ensemble_of_sentences(kind):
    asked = prompts(kind, "Old_Gold")
    assert len(asked) == len(set(asked)) >= 3
    assert all("Old Gold" in text and "{" not in text for text in asked)


def test_ones_own_templates_replace_the_ensemble():
    assert prompts("style", "Abstract", ["a {} print"]) == ["an Abstract print"]


def test_an_article_fits_what_follows():
    assert prompts("genre", "interior")[0] == "an interior"
    assert prompts("genre", "portrait")[0] == "a portrait"
    assert filled("a {style} {genre}", {"style": "Art_Deco", "genre": "poster"}).text == "an Art Deco poster"


def test_a_caption_tells_of_known_labels_only():
    for text in drawn(MONET):
        assert text
        assert "{" not in text
    assert any("Impressionism" in text and "landscape" in text and "claude monet" in text for text in drawn(MONET))
    for text in drawn({"style": "Impressionism", "genre": "", "artist": ""}):
        assert "Impressionism" in text
    assert drawn({"style": "", "genre": ""}) == {""}


def test_the_same_seed_draws_the_same_caption():
    one, other = (caption(MONET, np.random.default_rng(4)) for _ in range(2))
    assert one == other


def test_a_work_is_told_by_what_was_said_of_it_not_by_predictions():
    work = Artwork("s", "1", labels=(Label("style", "Baroque"), Label("genre", "portrait", origin="predicted")))
    assert all("Baroque" in text and "portrait" not in text for text in drawn(work))


def test_the_fullest_caption_says_which_labels_it_tells():
    templates = sentences(["style", "genre", "artist"])
    all_of_it = fullest(MONET, templates)
    assert all_of_it is not None
    assert all_of_it.text == "an Impressionism landscape by claude monet"
    assert set(all_of_it.kinds) == {"style", "genre", "artist"}
    less = fullest(MONET | {"artist": ""}, templates)
    assert less is not None
    assert less.kinds == ("style", "genre")
    assert fullest({"style": ""}, templates) is None


def test_sentences_need_no_other_kinds():
    for template in sentences(["genre", "material"]):
        assert set(fields_of(template)) <= {"genre", "material"}
    assert fitting({"genre": "", "material": "oil"}, sentences(["genre", "material"])) == [
        template.replace("{}", "{material}") for template in TEMPLATES[""]
    ]
    assert set(COMPOSED) <= set(sentences(["artist", "genre", "style"]))
