"""The dozen manners of the painted gallery, and the two invented hands of each: their subjects, colours and habits."""

from collections.abc import Callable
from typing import NamedTuple

import manners
import motifs
from PIL import Image
from sheets import Palette, Sheet, palette


class Hand(NamedTuple):
    """An invented artist of one manner: a name, what they paint, the colours they keep to and how they work."""

    name: str
    genres: tuple[str, ...]
    palettes: tuple[Palette, ...]
    habits: dict[str, float]


class Manner(NamedTuple):
    """One style of the gallery: its painter, its two hands, and the words its titles are made from."""

    style: str
    paint: Callable[[Sheet], Image.Image]
    nouns: str
    hands: tuple[Hand, Hand]


def hand(name: str, genres: str, colours: str, **habits: float) -> Hand:
    """A hand whose palettes are written ``Name: hex hex ...``, one to a line."""
    rows = [line.split(":") for line in colours.strip().splitlines()]
    kept = tuple(palette(title.strip(), codes) for title, codes in rows)
    return Hand(name, tuple(genres.split(", ")), kept, habits)


MANNERS = (
    Manner(
        "Colour Field",
        manners.colour_field,
        "Interval, Threshold, Low Sun, Stillness, Held Note, Veil",
        (
            hand(
                "Ilse Varnholt",
                "abstract",
                """
            Vermilion: 5c1a1b d7263d f46036 f7b32b 9d2933
            Amber: c4621a f7c548 e8871e f4e1a1 8c2f15
            Plum: 2d1430 7a2e5d d1495b edae49 40224d""",
                upright=0,
                most=3,
                even=3,
                fray=0.035,
                soft=0.035,
            ),
            hand(
                "Teodor Quill",
                "abstract",
                """
            Ultramarine: 0f2557 2a5fa5 86bbd8 e9eff5 173f6b
            Spruce: 12372a 436850 adbc9f fbfada 22577a
            Dove: d9d4cc 8d99ae 4a5a70 f2efe9 b8a9a0""",
                upright=1,
                most=5,
                even=2,
                fray=0.012,
                soft=0.014,
            ),
        ),
    ),
    Manner(
        "Pointillism",
        manners.pointillism,
        "",
        (
            hand(
                "Odile Marchane",
                "landscape",
                """
            Apricot: fff1d6 8ecae6 ffb703 90a8c3 6a994e f3722c f9c74f 27476e
            Lilac: fdf0f5 b8b8ff ffd6a5 9381ff 7bb38c f28ab2 ffe066 3c3b6e
            Sea Green: f1faee a8dadc ffd166 77a6b6 52a675 ef8354 f4d35e 1d3557""",
                dot=0.0155,
                spread=0.05,
                stray=0.1,
            ),
            hand(
                "Benno Lisk",
                "still life, landscape",
                """
            Cherry: fff3e2 7fb7be f6ae2d 7d6b91 b56b45 d7263d 8cb369 2e294e
            Tangerine: fdf6e3 5f8fa8 ff9f1c 3d5a80 8a5a44 e4572e ffd23f 1b2a41
            Grape: fbf2ff c9b1e0 f7b267 6a4c93 4f6d7a 8f2d56 a7c957 2b193d""",
                dot=0.021,
                spread=0.08,
                stray=0.16,
            ),
        ),
    ),
    Manner(
        "Hatching",
        manners.hatching,
        "",
        (
            hand(
                "Sunniva Blackthorn",
                "portrait, still life",
                """
            Sepia: f7efdf e8dcc0 d9b88f b99b72 8a6a48 7b4b2a c9a06a 3b2618
            Iron Ink: f6f4ee dfe0e2 c7ccd1 9ba3ad 5d6874 2f3a4a 8d99a6 1c2530
        """,
                gap=0.0125,
                turn=0.75,
                bend=0.2,
                inks=1,
                chalk=0,
            ),
            hand(
                "Caspar Wynnick",
                "still life, landscape, portrait",
                """
            Sanguine: d9bf9c c9a97f e9cfa6 a87a58 7d4a35 a6341f d98f5c 4a1c14
            Slate: a9b7bd 8fa1aa c9d2d4 6e828c 4b5f6b 24506b a3b8c2 14242e
            Olive: bdb88f a8a377 d8d3a8 807b52 5d5a38 5b4a12 b5ae72 26240f
        """,
                gap=0.016,
                turn=-0.6,
                bend=0.4,
                inks=2,
                chalk=1,
            ),
        ),
    ),
    Manner(
        "Mosaic",
        manners.mosaic,
        "",
        (
            hand(
                "Livia Tessaro",
                "pattern",
                """
            Lapis: f2e8cf 1d3f8f e9b44c 2a9d8f 264653 c8553d 8ab0d9 1f1c2c
            Terracotta: f6ead7 d98e5f f2c14e 7d8f69 a44a3f c05746 3d5a6c 33261d
            Malachite: f1f3e0 2d936c f4c95d 14505c 88c9a1 d1603d 9a348e 1b2a24""",
                tile=0.0285,
                mortar=0.35,
            ),
            hand(
                "Gaspard Oriol",
                "portrait, landscape, still life",
                """
            Gold: f8ecc9 d9a441 f5c451 5b7b9a 3f6b52 b23a2e 2f7f86 2b1d1a
            Aegean: f4f1e4 5fa8d3 ffd07b 1b6f9c 3c8d7a e2725b f1b24a 13293d""",
                tile=0.0235,
                mortar=0.8,
            ),
        ),
    ),
    Manner(
        "Marbling",
        manners.marbling,
        "Endpaper, Drift, Current, Feather, Slow Water, Plume, Ripple",
        (
            hand(
                "Nerea Combe",
                "pattern",
                """
            Peacock: 0b3954 087e8b bfd7ea f4d35e c81d25 f7ebe1
            Claret: 5f0f40 9a031e fb8b24 f6e7cb 0f4c5c e3b5a4
            Moss: 283618 606c38 fefae0 dda15e bc6c25 344e41""",
                drops=80,
                spots=0,
                comb=0.075,
                swirls=0,
                drift=0.03,
            ),
            hand(
                "Ansgar Vell",
                "abstract",
                """
            Ink: f5f1e6 1f2a38 e8e2d0 4a5b6c f5f1e6 7f8c97
            Indigo: f3f0e8 1b2f6b dfe6f0 3e62a8 f3f0e8 a14a5b
            Rose: fbf1ea a8325e f6dcd2 d9748c fbf1ea 4b2a4f""",
                drops=70,
                spots=3,
                comb=0,
                swirls=3,
                drift=0.3,
            ),
        ),
    ),
    Manner(
        "Op Art",
        manners.op_art,
        "Swell, Pulse, Signal, Shimmer, Interference, Countercurrent, Vertigo",
        (
            hand(
                "Petra Holm-Lund",
                "pattern",
                """
            Black: 0d0d0d fafafa
            Carbon: 16161a f4f1e8
            Scarlet: 1a0a0a fff6ee ff3b2f""",
                discs=0,
                bulges=2,
            ),
            hand(
                "Viktor Sarn",
                "pattern",
                """
            Violet: 2b0a5a 7b2ff7 f107a3 ffd23f
            Turquoise: 03254c 1167b1 2ad4c5 f6f7d7
            Orange: 3a0ca3 f72585 ff9e00 fff3b0""",
                discs=1,
                bulges=1,
            ),
        ),
    ),
    Manner(
        "Woodcut",
        manners.woodcut,
        "",
        (
            hand(
                "Hanako Mirei",
                "landscape",
                """
            Persimmon: f3e6cb 9fb8b4 e4572e 7aa0a8 4f7370 d98841 c9a15a 1a1a22
            Prussian: efe6d2 5b86ad e8b04a 2f5d8a 27496d c25b3f 86a8c0 10192b
            Pine: f0ead6 b9c8a5 e0a030 7d9c7a 46684e b5482f a7b27a 15201a
        """,
                gap=0.03,
                bend=0.55,
                slant=0.0,
                weight=0.36,
                blocks=4,
            ),
            hand(
                "Jorun Aske",
                "portrait, landscape, still life",
                """
            Brick: f4ead9 d9c7ab c8452d b79f85 8c6f5a b03a2e d9a066 16110f
            Ochre: f5ecd5 dccfa6 d69a2d b5a06e 8a7440 a6642a e0bd6c 17130c
        """,
                gap=0.024,
                bend=0.2,
                slant=0.6,
                weight=0.44,
                blocks=2,
            ),
        ),
    ),
    Manner(
        "Stained Glass",
        manners.stained_glass,
        "",
        (
            hand(
                "Maud Aurelian",
                "pattern",
                """
            Ruby: f7e9b0 1746a2 ffd23f 0f7173 6a0dad d7263d f18f01 12121c
            Sapphire: d9ecff 0b3c9d f9c80e 3f88c5 136f63 b5179e 4cc9f0 0d0d16
            Emerald: f4f1bb 0a8754 ffb400 1d4e89 6bbf59 c1121f 2ec4b6 0d1410""",
                lead=0.013,
                pane=0.1,
            ),
            hand(
                "Eloi Carreaux",
                "landscape, still life, portrait",
                """
            Honey: ffe9a8 3a86c8 ffb703 5e60ce 2a9d5c e63946 f9c74f 1d1a3a
            Violet: ffe5f0 9d4edd ffd60a 5a189a 2d6a8f ff5d8f 48cae4 1a1033""",
                lead=0.0085,
                pane=0.15,
            ),
        ),
    ),
    Manner(
        "Seascape",
        motifs.seascape,
        "Open Water, Slack Tide, Calm, Offing, Long Swell, Horizon, Fair Wind",
        (
            hand(
                "Marit Fjelde",
                "landscape",
                """
            Ochre: ffefd1 7fa6b8 ffb347 8a7f8d 3f6f7d d9622b f4d35e 1f2f3a
            Coral: ffe8dc 8f8fc4 ff8a5c 8b6f94 5b6b96 e85d75 ffd6a5 2a2440
            Rose: fff0e6 a3b5d6 ffc09f a48fae 6d86a8 d9627d ffe2c4 2f3354
        """,
                cloud=0.45,
                swell=5,
                foam=0.99,
                sails=2,
            ),
            hand(
                "Dunstan Grey",
                "landscape",
                """
            Pewter: e9eef0 7d94a3 dfe6d8 5f7482 2f5560 a33b2e e0c27a 14232b
            Teal: eef7f4 5fa3c7 fff0b8 4f86a0 0f6e78 d1495b f4d35e 0a2c38
            Cobalt: f2f7fb 3f86d0 fff3c9 6f9cc4 1259a0 e4572e ffd166 0b2345
        """,
                cloud=0.4,
                swell=4,
                foam=0.93,
                sails=5,
            ),
        ),
    ),
    Manner(
        "Night Sky",
        motifs.night_sky,
        "Clear Night, Small Hours, Midwinter, Vigil, Long Night, Quiet",
        (
            hand(
                "Ravenna Pole",
                "landscape",
                """
            Indigo: 060a24 152a5c 4f6fae 6f6bb0 f3c7a6 ffcf6b 04060f
            Teal: 04141f 0d3b4f 3f8f8f 3f7f9c d6f0c2 ffd27a 020a0c
            Violet: 0d0624 32175c 9a5aa8 7a4fa8 ffb8b0 ffc85c 070312""",
                trails=0,
                bright=26,
                firs=1,
                cabin=0,
            ),
            hand(
                "Emrys Tarn",
                "landscape",
                """
            Blue: 071330 12346b 5f97c9 b9d6f2 ffe9b0 ffc14d 050a16
            Ember: 140f24 3a1f45 d9774a f2b880 ffe0b0 ffd166 0a0710
            Jade: 041a1c 0b4044 4fa88c a8e0c0 f0f5c0 ffcf5c 030d0e""",
                trails=300,
                bright=0,
                firs=0,
                cabin=1,
            ),
        ),
    ),
    Manner(
        "Action Painting",
        manners.action_painting,
        "Number, Outburst, Crossing, Commotion, Skein, Dance, Weather",
        (
            hand(
                "Rex Calloway",
                "abstract",
                """
            Linen: d8c6a3 14120f f4efe6 7d7f80 b0762a
            Tar: cfc8bb 0f0f10 f7f4ee 8c2f1b 4c5a63
        """,
                skeins=9,
                spatter=170,
                flow=0.0026,
                length=260,
                turn=0.75,
            ),
            hand(
                "Zuzana Prail",
                "abstract",
                """
            Carnival: f6f0e4 e4002b 0057b8 ffc72c 111111 00a88f
            Midnight: 14172b f72585 4cc9f0 f9f871 f5f3f0 7209b7
            Meadow: f4f1e1 2a9d3f f4a300 e85d9e 1b4965 8ed081
        """,
                skeins=4,
                spatter=90,
                flow=0.006,
                length=120,
                turn=0.6,
            ),
        ),
    ),
    Manner(
        "Neoplasticism",
        manners.neoplasticism,
        "Composition, Equilibrium, Grid, Measure, Crossroads, Plan",
        (
            hand(
                "Joost van Terlinden",
                "abstract",
                """
            Red: f5f2e9 111111 d71920 f4c300 1d4fa1
            Yellow: f4f1e6 141414 f7cf1d f7cf1d 1c50a8 d8232a
            Blue: f2f0ea 101010 1646a0 1646a0 d9d6cf f2c500""",
                bar=0.024,
                depth=4,
                filled=0.38,
                stop=0.2,
            ),
            hand(
                "Aafke Rood",
                "abstract",
                """
            Ash: dfe0dc 4a4d55 b4bcc8 c9a98b 8d9db0 e6cfa8
            Sand: ece3d0 5a4e42 d6a76c a9b0a2 c77d5a 8aa0a8""",
                bar=0.01,
                depth=6,
                filled=0.72,
                stop=0.04,
            ),
        ),
    ),
)
