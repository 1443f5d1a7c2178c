"""The pages say what the program does: generated ones are current, links lead somewhere, shown commands can be run."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

import simsearch
from simsearch import cli, errors

ROOT = Path(__file__).parent.parent
GENERATE = ROOT / "docs" / "generate.py"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash", "shell", "console", "zsh"}
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)|(?:src|href|srcset)=\"([^\"\s]+)\"")


# -- generated pages ---------------------------------------------------------------------------------------------------


def generate(*arguments):
    return subprocess.run([sys.executable, str(GENERATE), *map(str, arguments)], capture_output=True, text=True)


def test_generated_pages_are_what_the_code_says():
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_the_check_names_a_page_that_differs_and_writes_nothing(tmp_path):
    assert generate("--to", tmp_path).returncode == 0
    assert generate("--to", tmp_path, "--check").returncode == 0
    (tmp_path / "api.md").write_text("older")
    done = generate("--to", tmp_path, "--check")
    assert done.returncode == 1
    assert done.stderr == f"api.md in {tmp_path} is not what the code says; run `make docs`\n"
    assert (tmp_path / "api.md").read_text() == "older"
    (tmp_path / "cli.md").unlink()
    assert generate("--to", tmp_path, "--check").stderr.startswith("cli.md and api.md in ")


@pytest.mark.parametrize("name", [None, *sorted(cli.COMMANDS)])
def test_every_command_is_documented_by_its_own_help(command, tmp_path, name):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    arguments = [name, "--help"] if name else ["--help"]
    shown = command(*arguments, cwd=tmp_path, env={"COLUMNS": "80"}).out.replace("python -m simsearch", "simsearch", 1)
    heading = f"simsearch {name}" if name else "simsearch"
    assert f"\n## {heading}\n\n```text\n{shown.rstrip()}\n```\n" in page


def test_every_public_name_field_and_error_is_documented():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [name for name in simsearch.__all__ if f"\n### {name}\n" not in page and name != "SimsearchError"]
    for name in simsearch.__all__:
        public = getattr(simsearch, name)
        if dataclasses.is_dataclass(public):
            section = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
            missing += [f"{name}.{f.name}" for f in dataclasses.fields(public) if f"\n- `{f.name}: " not in section]
    missing += [name for name in vars(errors) if name.endswith("Error") and f"\n- `{name}`: " not in page]
    assert missing == []


# -- links -------------------------------------------------------------------------------------------------------------


def anchors(page):
    """The places in a page that an address can name, as GitHub makes them of headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    dead = []
    for target in ("".join(found) for found in LINK.findall(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
            continue
        path, _, place = unquote(target).partition("#")
        goal = page.parent / path if path else page
        if not goal.exists() or (place and goal.suffix == ".md" and place not in anchors(goal)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_local_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_a_dead_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Top & tail\n[a](page.md#top--tail) [b](none.md) ![c](<pic.png>) [d](#nowhere) `[e](f)`\n"
        '[web](https://example.org/none.md)\n<img src="gone.svg">\n```\n[g](h)\n```\n'
    )
    assert dead_links(page) == ["none.md", "pic.png", "#nowhere", "gone.svg"]


# -- shown commands ----------------------------------------------------------------------------------------------------


def shown_commands(text):
    """The arguments of each `simsearch` in the shell blocks of a page, up to a pipe or a redirection."""
    blocks = [block["text"] for block in FENCE.finditer(text) if block["language"] in SHELL]
    blocks += re.findall(r"^ {4}(?:\$ )?simsearch .*\n", FENCE.sub("", text), re.MULTILINE)  # indented code
    for block in blocks:
        lines = block.replace("\\\n", " ").splitlines()
        if any(line.lstrip().startswith("$ ") for line in lines):  # the others are output
            lines = [line.lstrip()[2:] for line in lines if line.lstrip().startswith("$ ")]
        for line in lines:
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.commenters = "#"
            words.wordchars += ":"  # clip:NAME is one word to a shell
            yield from programs(list(words))


def programs(words):
    """The arguments of each simsearch in a line of words."""
    parts = [[]]
    for word in words:
        if word and set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        for end, word in enumerate(part):
            if word and set(word) <= set("<>()"):
                part = part[:end]
                break
        while part and re.fullmatch(r"\w+=.*", part[0]):
            part = part[1:]
        if part[:3] in (["python", "-m", "simsearch"], ["python3", "-m", "simsearch"]):
            part = part[2:]
        if part[:1] == ["simsearch"]:
            yield part[1:]


def complaint(arguments):
    """What the command line says of these arguments before it would run anything; nothing where it takes them."""
    try:
        with cli.main.make_context("simsearch", list(arguments)) as context:
            name, command, rest = cli.main.resolve_command(context, [*context._protected_args, *context.args])
            command.make_context(name, rest, parent=context).close()
    except click.exceptions.Exit:  # --help and --version
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_shown_commands_can_be_run(page, capsys):
    said = {shlex.join(shown): complaint(shown) for shown in shown_commands(page.read_text(encoding="utf-8"))}
    assert {shown: words for shown, words in said.items() if words} == {}


def test_a_wrong_command_would_be_found(capsys):
    text = (
        "```sh\nsimsearch index ~/pictures  # a folder\nSIMSEARCH_COLLECTION=x simsearch similar a.jpg \\\n"
        "    --jsn\ncurl -s http://a | simsearch similar - -0 | xargs -0 ls > out && simsearch look\n```\n"
        "```console\n$ simsearch info --json\nsimsearch nonsense\n```\n```text\nsimsearch --wrong\n```\n\n"
        "    simsearch export --svc works.csv\n"
    )
    found = list(shown_commands(text))
    assert found == [
        ["index", "~/pictures"], ["similar", "a.jpg", "--jsn"], ["similar", "-", "-0"], ["look"], ["info", "--json"],
        ["export", "--svc", "works.csv"],
    ]  # fmt: skip
    assert [bool(complaint(arguments)) for arguments in found] == [False, True, False, True, False, True]
    assert complaint(["--help"]) == complaint(["similar", "--help"]) == ""


def unknown_options(text):
    """Options in `simsearch COMMAND ...` between backticks that the command does not have."""
    unknown = []
    for shown in re.findall(r"`simsearch ([^`\n]+)`", text):
        name, *words = shown.split()
        command = cli.main.get_command(click.Context(cli.main), name)
        known = {option for p in (command or cli.main).params for option in [*p.opts, *p.secondary_opts]}
        known |= {"--help", "-h"}
        if command is None and not name.startswith("-") and name.islower():
            unknown.append(shown)
        unknown += [f"{name} {word}" for word in words if re.match(r"--?[a-z0-9]", word) and word not in known]
    return unknown


def test_commands_named_in_the_pages_and_in_messages_exist():
    files = [*PAGES, *(path for room in ("simsearch", "indexer", "classifier") for path in (ROOT / room).rglob("*.py"))]
    said = {path.name: unknown_options(path.read_text(encoding="utf-8")) for path in [*files, ROOT / "cli.py"]}
    assert {name: options for name, options in said.items() if options} == {}
    assert unknown_options("`simsearch index --rebild` `simsearch find x` `simsearch index FOLDER`") == [
        "index --rebild",
        "find x",
    ]


def test_recipes_named_in_the_pages_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (page.name, target)
        for page in PAGES
        for shown in re.findall(
            r"(?:^ {0,4}|`|\$ )make ((?:[a-z][\w-]* ?)+)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
        for target in shown.split()
    }
    assert {name for name in named if name[1] not in targets} == set()
