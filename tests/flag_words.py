"""A model folder that reads words, its embeddings worked out by hand: a colour's name lies where its flag does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from conftest import COLOURS

WORDS = {"red": "r", "yellow": "y", "blue": "b", "cyan": "c", "magenta": "m", "black": "k", "white": "w", "green": "g"}
LENGTH = 6


def add_words(folder: Path) -> Path:
    """Gives a tiny network's folder a text tower: the sum of its words' colours, in each of the 4 x 4 cells."""
    import onnx
    import tokenizers
    from onnx import TensorProto, helper, numpy_helper

    places = {"[PAD]": 0, "[UNK]": 1} | {word: i for i, word in enumerate(WORDS, 2)}
    table = np.zeros((len(places), 48), np.float32)
    table[1] = 0.1 * (-1.0) ** np.arange(48)  # words that name no colour say little, but not nothing
    for word, letter in WORDS.items():
        table[places[word]] = np.repeat(np.array(COLOURS[letter]) / 127.5 - 1, 16)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["embedding"], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", LENGTH])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 48])
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
    graph = helper.make_graph(nodes, "words", [ids], [out], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "text.onnx")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(places, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card |= {"context_length": LENGTH, "pad_id": 0, "text_cleaning": "lower", "logit_scale": 10.0}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
