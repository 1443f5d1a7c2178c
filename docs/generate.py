"""Writes docs/cli.md and docs/api.md from the code, so that they say what it does.

python docs/generate.py            writes both
python docs/generate.py --check    exits with 1 where a committed file differs
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import simsearch
from simsearch import cli, errors

HERE = Path(__file__).parent
WIDTH = 100
TERMINAL = 78
"""Width of the help in a terminal of 80 columns or more."""
ALIASES = (("simsearch.query", "Image"), ("simsearch.watch", "Watch"))
"""Names that stand in signatures without being public themselves."""
PARTS = (("simsearch.classifier.prepare", "ClassChoices"), ("simsearch.classifier.prepare", "SplitChoices"),
         ("simsearch.classifier.head", "Head"), ("simsearch.classifier.classify", "Labelling"),
         ("simsearch.classifier.groups", "Groups"), ("simsearch.figures", "Evaluation"),
         ("simsearch.figures", "Method"), ("simsearch.query", "Query"), ("simsearch.records", "Share"),
         ("simsearch.figures", "HeadFigures"), ("simsearch.figures", "Retrieval"),
         ("simsearch.figures", "Comparison"), ("simsearch.figures", "Difference"), ("simsearch.records", "Estimate"),
         ("simsearch.classifier.audit", "Audit"), ("simsearch.figures", "Finding"))  # fmt: skip
"""Classes that do so."""

MADE = "<!-- Written by docs/generate.py; change the code and run `make docs`. -->\n"


# -- the command line --------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """docs/cli.md: the help of the program and of every command."""
    parts = [MADE, "# The command line\n", "What `simsearch --help` and the help of each command say, word for word.\n"]
    parts += ["## simsearch\n", _help(cli.main, None)]
    group = click.Context(cli.main)
    for name in cli.main.list_commands(group):
        command = cli.main.get_command(group, name)
        assert command is not None
        parts += [f"## simsearch {name}\n", _help(command, click.Context(cli.main, **_settings(cli.main)))]
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context | None) -> str:
    context = click.Context(command, parent=parent, **_settings(command))
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"```text\n{text}\n```\n"


def _settings(command: click.Command) -> dict[str, Any]:
    name = "simsearch" if command is cli.main else command.name
    return {**command.context_settings, "info_name": name, "terminal_width": TERMINAL}


# -- the Python interface ----------------------------------------------------------------------------------------------


def api_page() -> str:
    """docs/api.md: every public name with its signature, its docstring and its fields."""
    public = [getattr(simsearch, name) for name in simsearch.__all__]
    functions = [thing for thing in public if inspect.isfunction(thing)]
    classes = [thing for thing in public if inspect.isclass(thing) and not issubclass(thing, Exception)]
    parts = [MADE, "# The Python interface\n", _docstring(simsearch)]
    parts += ["## Functions\n", *map(_function, functions), "## Classes\n", *map(_class, classes)]
    parts += ["## Types in signatures\n", *(_alias(import_module(module), name) for module, name in ALIASES), ""]
    parts += [_class(getattr(import_module(module), name)) for module, name in PARTS]
    parts += ["## Errors\n", *_errors()]
    return "\n".join(parts)


def _function(function: Callable[..., object]) -> str:
    name = function.__name__
    return f"### {name}\n\n{_signature(function, f'simsearch.{name}')}\n{_docstring(function)}"


def _class(public: type) -> str:
    said = dict(_attribute_docstrings(public))
    fields = dataclasses.fields(public) if dataclasses.is_dataclass(public) else ()
    lines = [_field(field.name, str(field.type), _default(field), said.get(field.name, "")) for field in fields]
    lines += [_field(name, "", "", text) for name, text in said.items() if name not in {field.name for field in fields}]
    members = [_member(public, name, member) for name, member in vars(public).items() if not name.startswith("_")]
    members.insert(0, _maker(public))
    parts = [f"### {public.__name__}\n", _docstring(public), *lines, *([""] if lines else []), *filter(None, members)]
    return "\n".join(parts)


def _maker(public: type) -> str | None:
    """How to make one, where that is said: not of a class that is its fields, nor of one that has other ways to it."""
    make = vars(public).get("__init__")
    said = inspect.getdoc(make) or ""
    if dataclasses.is_dataclass(public) or not said or said.startswith("Use :meth:"):
        return None
    name = public.__name__
    signature = _signature(make, name).replace("-> None", f"-> {name}")  # type: ignore[arg-type]
    return f"#### {name}()\n\n{signature}\n{_docstring(make)}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return "" if field.default is dataclasses.MISSING else _value(field.default)


def _field(name: str, kind: str, default: str, said: str) -> str:
    declared = name + (f": {kind}" if kind else "") + (f" = {default}" if default else "")
    return f"- `{declared}`" + (f"  \n  {_inline(said)}" if said else "")


def _member(owner: type, name: str, member: object) -> str | None:
    """A public method or property; None for what is neither."""
    head, path = f"#### {owner.__name__}.{name}\n", f"{owner.__name__}.{name}"
    if isinstance(member, property):
        kind = inspect.signature(member.fget).return_annotation if member.fget else ""
        return f"{head}\n```python\n{path}: {kind}  # a property\n```\n\n{_docstring(member)}"
    if inspect.isfunction(member) or isinstance(member, classmethod):
        return f"{head}\n{_signature(getattr(owner, name), path)}\n{_docstring(getattr(owner, name))}"
    return None


def _alias(module: ModuleType, name: str) -> str:
    for statement, after in _pairs(ast.parse(inspect.getsource(module)).body):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return f"- `{name} = {ast.unparse(statement.value)}`  \n  {_inline(_text_of(after))}"
    raise LookupError(f"{module.__name__} has no {name}")


def _errors() -> Iterator[str]:
    yield "All are in `simsearch.errors`; `simsearch.SimsearchError` catches every one of them.\n"
    yield _docstring(errors)
    for name, error in vars(errors).items():
        if inspect.isclass(error):
            yield f"- `{name}`: {_inline(inspect.getdoc(error) or '')}"
    yield ""


# -- from code to Markdown ---------------------------------------------------------------------------------------------


def _signature(function: Callable[..., object], name: str) -> str:
    """A call's parameters and result, on one line or with one parameter a line."""
    signature = inspect.signature(function)
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in shown):
            shown.append("*")
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
        shown.append(f"{star}{parameter.name}: {parameter.annotation}{default}")
    returned = str(signature.return_annotation)
    if hasattr(function, "__wrapped__"):  # by contextlib.contextmanager
        returned = returned.replace("Iterator", "AbstractContextManager")
    line = f"{name}({', '.join(shown)}) -> {returned}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in shown) + f") -> {returned}"
    return f"```python\n{line}\n```\n"


def _value(value: object) -> str:
    if inspect.isfunction(value):
        return value.__name__
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _attribute_docstrings(public: type) -> Iterator[tuple[str, str]]:
    """(attribute, text below it) of a class's annotated attributes, and of those that its __init__ makes."""
    (node,) = ast.parse(inspect.getsource(public)).body
    assert isinstance(node, ast.ClassDef)
    makers = [made.body for made in node.body if isinstance(made, ast.FunctionDef) and made.name == "__init__"]
    for statement, after in _pairs([*node.body, *(line for body in makers for line in body)]):
        text = _text_of(after)
        if isinstance(statement, ast.AnnAssign) and text:
            yield ast.unparse(statement.target).removeprefix("self."), text


def _pairs(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Each statement with the one after it."""
    return zip(body, [*body[1:], None], strict=True)


def _text_of(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return inspect.cleandoc(node.value.value)
    return ""


def _docstring(thing: object) -> str:
    """A docstring as Markdown, in which indented blocks are fenced."""
    parts = []
    for indented, blocks in groupby((inspect.getdoc(thing) or "").split("\n\n"), lambda b: b.startswith("    ")):
        text = "\n\n".join(blocks)
        language = "text" if "├" in text else "python"
        parts.append(f"```{language}\n{textwrap.dedent(text)}\n```" if indented else _names(text))
    return "\n\n".join(parts) + "\n"


def _inline(text: str) -> str:
    return " ".join(_names(text).split())


def _names(text: str) -> str:
    """Text in which names stand in single backticks, whatever marked them before."""
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r":\w+:`([^`]+)`", r"`\1`", text))


# -- the script --------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 where --check finds a page that is not what the code says."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md and docs/api.md from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="where the pages are (default: here)")
    options = parser.parse_args(arguments)
    stale = []
    for name, page in (("cli.md", cli_page()), ("api.md", api_page())):
        path = options.to / name
        if not options.check:
            path.write_text(page, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != page:
            stale.append(name)
    if stale:
        print(f"{' and '.join(stale)} in {options.to} is not what the code says; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
