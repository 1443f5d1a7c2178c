"""Words on an inverted file: how many lists they look into is measured, kept, and enough."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from flag_words import WORDS, add_words

from simsearch import Options, index_folders, open_collection
from simsearch.index.exact import search_rows
from simsearch.indexer.publish import RECALL_WANTED, sample_texts
from simsearch.indexer.run import rebuild

CODES = ["".join(code) for code in itertools.product("rgbymc", repeat=4)][::2]


@pytest.fixture(scope="module")
def many(tmp_path_factory, tiny_network, flag):
    """648 flags, each with its first colour in the title, in an inverted file, by a network that reads colours."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "art").mkdir()
    names = {letter: word for word, letter in WORDS.items()}
    lines = ["path,title"]
    for code in CODES:
        flag(code).save(folder / "art" / f"{code}.png")
        lines.append(f"{code}.png,{names[code[0]]} {code}")
    (folder / "art" / "artworks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    network = add_words(tiny_network(folder / "model"))
    with open_collection(folder, write=True) as collection:
        index_folders(collection, [folder / "art"], Options(encoder=str(network), index="ivf"))
    return folder


def test_words_look_into_as_many_lists_as_they_need(many):
    with open_collection(many) as collection:
        entry = collection.encoder_entry()
        generation = collection.catalog.generation(entry.number)
        index = collection.open_index(entry, generation)
        assert generation.parameters["text_probes"] == index.text_probes >= index.probes
        rows, ids = collection.catalog.embeddings(entry.number, 48)
        queries = collection.load(entry).embed_texts(sample_texts(collection))
        truth = search_rows(queries, rows, ids, 10)[1]

        def recall(**named):
            found = index.search(queries, 10, **named)[1]
            return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth.tolist(), found.tolist(), strict=True)])

        assert recall(of_text=True) >= min(RECALL_WANTED, 1.0) or index.text_probes == index.lists
        assert recall(of_text=True) >= recall()


def test_an_index_that_is_built_again_without_its_encoder_keeps_the_effort(many):
    with open_collection(many, write=True) as collection:
        entry = collection.encoder_entry()
        before = collection.catalog.generation(entry.number).parameters["text_probes"]
        rebuild(collection, entry)
        after = collection.catalog.generation(entry.number)
        assert after.parameters["text_probes"] == before > 0
        assert collection.open_index(entry, after).text_probes == before


def test_the_words_that_are_tried_are_those_of_the_collection(many):
    with open_collection(many) as collection:
        texts = sample_texts(collection)
    assert len(texts) == len(set(texts)) > 100
    assert "a painting" in texts
    assert any("magenta m" in text for text in texts)
