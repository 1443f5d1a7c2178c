"""What training a head and labelling a collection came to, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from simsearch.records import Estimate
from simsearch.show.numbers import counted, decimals, estimate
from simsearch.show.text import harmless


def show_trained(card: Mapping[str, Any], path: str, out: IO[str], options: str = "") -> None:
    """A head's card in a few lines: works, split, what was left out, held-out figures beside majority and chance.

    `options` are those by which other commands find its encoder, such as `` --encoder color``.
    """
    head = "" if card["name"] == card["kind"] else f" --head {card['name']}"
    works, figures = card["works"], card["held_out_figures"]
    top1, f1 = Estimate(*figures["top1"]), Estimate(*figures["macro_f1"])
    lines = [
        ("head", f"{card['name']} ({card['kind']}), {counted(len(card['classes']), 'class', 'classes')}"),
        ("encoder", f"{card['encoder']['name']}@{card['encoder']['revision']}, {card['encoder']['dim']} numbers"),
        ("trained on", counted(works["trained_on"], "work")),
        ("held out", f"{counted(works['held_out'], 'work')}, {_split(card['split'])}"),
        *(("left out", f"{counted(n, 'work')} {reason}") for reason, n in works["left_out"].items()),
        ("top-1", f"{estimate(top1)}, majority {decimals(figures['majority'])}, chance {decimals(figures['chance'])}"),
        ("macro F1", estimate(f1)),
    ]
    if card["pseudo_labels"]:
        lines.append(("self-taught", _gain(card["pseudo_labels"])))
    now = f"simsearch evaluate --label {card['kind']}{head}{options}, simsearch classify IMAGE{options}"
    lines += [("saved", path), ("now", now)]
    for name, text in lines:
        out.write(f"{name:<11} {harmless(text)}\n")


def _split(split: Mapping[str, Any]) -> str:
    if split["official"]:
        return "by the published split"
    whole = ", whole artists" if split["group_by"] == "artist" else ""
    return f"{split['share']:.0%} drawn with seed {split['seed']}{whole}"


def _gain(gain: Mapping[str, Any]) -> str:
    if not gain["added"]:
        return f"none of {counted(gain['of'], 'unlabelled work')} is predicted at {gain['threshold']:g} or more"
    before, after = gain["macro_f1_held_out"]
    kept = "kept" if gain["kept"] else "not kept, since it did not help on the part of train that decides"
    return (
        f"{gain['added']:,} of {gain['of']:,} unlabelled works at {gain['threshold']:g} or more: held-out macro F1 "
        f"{decimals(before)} before, {decimals(after)} after; {kept}"
    )


def show_labellings(done: Sequence[Mapping[str, Any]], out: IO[str]) -> None:
    """One line a kind: works that got a prediction, works that the head is unsure about, works that had a label."""
    for one in done:
        parts = [
            f"{counted(one['predicted'], 'work')} given a prediction by the head {one['head']}",
            f"{one['unsure']:,} unsure",
            f"{one['said_already']:,} labelled by a source or a person, left as they are",
        ]
        if one["not_embedded"]:
            parts.append(f"{one['not_embedded']:,} not embedded by this encoder")
        out.write(harmless(f"{one['kind']}: {', '.join(parts)}") + "\n")
