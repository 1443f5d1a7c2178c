"""Texts on which an exported text tower is held against the network that it came from."""

from __future__ import annotations

from itertools import product

_FORMS = (
    "{}",
    "a painting of {}",
    "A Baroque oil painting that shows {}.",
    "an etching of {}, about 1650",
    "{}, in the style of Claude Monet",
    "a photograph of {} in a museum",
    "{} at night, seen from far away",
    "a woodblock print: {}",
    "detail of {} (c. 1890), oil on canvas, 73.7 x 92.1 cm",
    "a child's drawing of {}; it isn't large, but it's bright",
)
_SUBJECTS = (
    "ships", "a stormy sea at dusk", "an old woman reading by candlelight", "the Madonna and Child", "a still life",
    "two dogs in the snow", "an empty street", "Saint Jerome in his study", "red and blue squares", "a battle",
    "three apples on a white cloth", "a bridge over a pond with water lilies", "nobody", "a man's portrait",
    "dancers behind the stage, waiting for the music to begin", "mountains", "the Last Supper", "a harbour in fog",
    "flowers", "an angel who announces something to a shepherd while the sheep look the other way",
)  # fmt: skip
PROMPTS: tuple[str, ...] = (
    *(form.format(subject) for subject, form in product(_SUBJECTS, _FORMS)),
    "impressionism", "style", "a", "1642", "Rembrandt Harmenszoon van Rijn", "Nature morte aux pommes et à l'orange",
    "Frau am Fenster, Öl auf Leinwand", "Niña con máscara de calavera", "Заход солнца в степи", "富嶽三十六景",
    "神奈川沖浪裏, a great wave", "η αρπαγή της Ευρώπης", "لوحة زيتية", "painting " * 120,
)  # fmt: skip
"""At least 200: short, long, with figures, in other languages; the last is longer than any text tower reads."""

HARD: tuple[str, ...] = (
    "P&eacute;rez &amp; Sons", "P&EACUTE;REZ", "&amp;eacute;tude", "&#233;t&#xe9;", "a < b &amp; c", "&nbsp;x&nbsp;",
    "Cafe\u0301 Mu\u0308ller", "Caf\u00e9 M\u00fcller", "\u201ccurly\u201d quotes aren\u2019t straight", "ﬁne ﬂowers",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３", "ﾊﾝｶｸ", "😀🎨👩‍🎨 with 🇫🇷", "日本語と한국어と中文", "İstanbul ŞİŞLİ ẞ ß ǅ",
    "  many \t spaces\n\n and lines  ",
    "zero\u200bwidth\ufeffmark", "tab\x0bbell\x07null\x00", "it's we're I'd THEY'LL don't", "1,234.56 € – 50 %",
    "a_b__c--d!!!???...", "x²+y³=½", "naïve façade Ærø Œuvre", "\x1b[31mred\x1b[0m", "lone \ud800 half",
    "#hash @at a/b\\c",
    "ᚠᛇᚻ ᎣᏏᏲ", "é" * 90, "word" * 80, "wow " + "!" * 300,
)  # fmt: skip
"""Texts that tokenizers like to disagree about. None is text that was decoded wrongly: see `encoders/tokenizer.py`."""
