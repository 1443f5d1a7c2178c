"""What became of a network that was exported, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import IO, Any

from simsearch.show.numbers import decimals
from simsearch.show.text import harmless


def show_exported(done: Mapping[str, Any], out: IO[str]) -> None:
    """The folder, the encoder in it, how it agrees with the network, and what int8 arithmetic would change."""
    card = done["card"]
    agreement = card["agreement"]
    lines = [
        ("encoder", f"{card['name']}@{card['revision']}, {card['dim']} numbers"),
        ("sees", f"{card['input_size']} x {card['input_size']} pixels, {card['resize']}"),
        ("weights", f"{card['parameters']:,} in {_megabytes(done['bytes'])}, kept as {card['storage']}"),
        ("agreement", f"cosine {agreement['least_cosine']:.4f} or more, {agreement['mean_cosine']:.4f} on average, on "
                      f"{agreement['count']:,} images {agreement['images']}"),
    ]  # fmt: skip
    if "text_agreement" in card:
        lines += _texts(done, card)
    if done["quantised"]:
        lines += _quantised(done["quantised"])
    lines += [("saved", done["folder"]), ("now", f"simsearch index FOLDER --encoder {quote(done['folder'])}")]
    for name, text in lines:
        out.write(f"{name:<11} {harmless(text)}\n")


def _texts(done: Mapping[str, Any], card: Mapping[str, Any]) -> list[tuple[str, str]]:
    agreement = card["text_agreement"]
    return [
        ("reads", f"texts of {card['context_length']} tokens; {card['text_parameters']:,} weights in "
                  f"{_megabytes(done['text_bytes'])}"),
        ("agreement", f"cosine {agreement['least_cosine']:.4f} or more, {agreement['mean_cosine']:.4f} on average, on "
                      f"{agreement['count']:,} texts"),
    ]  # fmt: skip


def _quantised(tried: Mapping[str, Any]) -> list[tuple[str, str]]:
    (plain, int8), (size, smaller) = tried["images_per_s"], tried["bytes"]
    change = "kept" if tried["kept"] else "not kept; --keep-quantised would"
    lines = [
        ("int8", f"{int8:.1f} images/s beside {plain:.1f}, {_megabytes(smaller)} beside {_megabytes(size)}: {change}")
    ]
    said = [f"{_figure(name)} {decimals(after)} beside {decimals(before)}" for name, (before, after)
            in tried["likeness"].items()]  # fmt: skip
    if said:
        lines.append(("", f"{', '.join(said)}, on {tried['works']:,} works held out"))
    return lines


def _figure(name: str) -> str:
    kind, _, other = name.partition("_p10")
    return f"{kind} P@10{' of other artists' if other else ''}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
