"""Pages of docs/reference/ that the code itself writes: `python -m tests.tools.reference` writes them anew.

Keys of configurations come out of the dataclasses (the comment behind a field is its description), options out of the
parsers, protocols and numbers of formats out of the modules that own them. `tests/test_docs.py` fails on an old page.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from data_processing.preparation.config import DataConfig
from data_processing.store import shards
from isofield import __main__ as front_door
from isofield import checkpoint, run_dir
from isofield.config import RunConfig
from isofield.evaluation import resume
from isofield.evaluation.names import GENERATIVE
from isofield.evaluation.options import generative_settings, read_options
from isofield.evaluation.protocols import PROTOCOLS, LightFieldProtocol, MaskProtocol, Protocol
from isofield.generation import out_of_distribution
from isofield.outliers.analysis import folder, rows
from isofield.outliers.scoring import calibration
from isofield.packs import manifest
from isofield.registry import MODELS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
NOTE = "<!-- Written by `python -m tests.tools.reference`: change the code, not this page. -->"
# What is typed, and the module whose `main` reads it; those of the front door come first.
OTHER_COMMANDS = {
    "isofield import imnet": "imnet.published",
    "isofield import ifnet": "ifnet.published",
    "python -m isofield.outliers.spoil": "isofield.outliers.spoil",
    "python -m isofield.outliers.benchmark": "isofield.outliers.benchmark.__main__",
}
ABOUT_COMMANDS = """\
`isofield COMMAND --help` says the same. Exit status: 0 done, 1 an error and nothing (more) was done, 2 finished but
some shapes failed and are listed, 130 interrupted, 143 terminated. Of `analyse`: 0 nothing flagged, 1 outliers, 2
errors.
"""
ABOUT_KEYS = """\
A YAML file is a tree of these sections; `--set a.b=value` overrides one key, `a.0.b` reaches into lists. An unknown
or misspelt key is an error that names the nearest one. `--dry-run` shows the resolved file and stops.

A data config (`isofield prepare`) is a [DataConfig](#dataconfig), a training config (`isofield train`) a
[RunConfig](#runconfig) whose section `model:` is that of its `type`:
"""
ABOUT_PROTOCOLS = """\
Numbers of two protocols are never comparable. P are points of the prediction's surface, T of the ground truth's,
both drawn uniformly with the seed that stands in the results; d(p, T) is the distance from p to its nearest point
of T, exact and in float64. Both shapes move alike: what is scaled is the ground truth's box.

Published is what the paper reports this way; the rest is ours, in the same unit. The formulas are in
`isofield/metrics/`.
"""
ABOUT_SETS = """\
Achlioptas et al., Learning Representations and Generative Models for 3D Point Clouds, ICML 2018 (COV, MMD, JSD);
Yang et al., PointFlow, ICCV 2019 (1-NNA). A set of samples S against a set of references R, under Chamfer (sum of
the two mean squared distances) and the earth mover's distance; {points:,} points, normalisation `{normalisation}`.
"""
ABOUT_FORMATS = """\
A change of a format raises its number; an older one is read or refused by name. Files are written under another
name and renamed, so that each is whole or absent.
"""
WORDS = {Path: "path", str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}


class _ParserFound(Exception):
    """Carries the parser of a command out of its `main`, before it reads anything."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


def parser_of(main: Callable[..., int], prog: str) -> argparse.ArgumentParser:
    """The parser that a command makes."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> typing.NoReturn:
        raise _ParserFound(parser)

    words = {"prog": prog} if "prog" in inspect.signature(main).parameters else {}
    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main([], **words)
        except _ParserFound as found:
            return found.parser
    raise AssertionError(f"{prog} made no parser")


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by what is typed."""
    modules = {f"isofield {name}": module for name, (module, _) in front_door.COMMANDS.items()} | OTHER_COMMANDS
    return {typed: parser_of(importlib.import_module(module).main, typed) for typed, module in modules.items()}


def commands_page() -> str:
    """Every command with every option."""
    parts = [
        "# Commands",
        NOTE,
        ABOUT_COMMANDS,
    ]
    for typed, parser in all_parsers().items():
        parts += ["", f"## {typed}", "", textwrap.dedent(parser.description or "").strip(), ""]
        parts += ["| option | value | default | |", "|---|---|---|---|"]
        parts += [_option_row(action) for action in parser._actions if action.dest != "help"]
    return "\n".join(parts) + "\n"


def _option_row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or action.dest
    value = action.metavar or ("" if action.nargs == 0 or action.choices else action.dest.upper())
    if action.choices is not None:
        value = " ".join(map(str, action.choices)) if action.metavar is None else action.metavar
    words = " ".join(value) if isinstance(value, tuple) else value
    words += " ..." if action.nargs in ("+", "*") else ""
    default = "required" if action.required else ""
    if not action.required and action.nargs != 0 and action.default not in (None, [], "", argparse.SUPPRESS):
        shown = action.default if not isinstance(action.default, list) else "all"
        default = f"`{shown}`"
    return _row(f"`{name}`", f"`{words}`" if words else "", default, (action.help or "").replace("%%", "%"))


def configuration_page() -> str:
    """Every key of every YAML file."""
    parts = [
        "# Configuration",
        NOTE,
        ABOUT_KEYS,
        "",
        "| `model.type` | section |",
        "|---|---|",
        *(_row(f"`{name}`", f"[{title}](#{title.lower()})") for name, title in _model_titles().items()),
    ]
    for title, section in sections().items():
        parts += ["", f"## {title}", "", inspect.cleandoc(section.__doc__ or ""), ""]
        parts += ["| key | type | default | |", "|---|---|---|---|"]
        parts += [_row(f"`{name}`", *words) for name, *words in keys_of(section)]
    return "\n".join(parts) + "\n"


def _model_titles() -> dict[str, str]:
    return {name: f"{''.join(word.capitalize() for word in name.split('_'))}Config" for name in MODELS}


def sections() -> dict[str, type]:
    """Every section that a YAML file may have, by its title; `Config` is called by its model."""
    titles = _model_titles()
    start = {"DataConfig": DataConfig, "RunConfig": RunConfig}
    start |= {titles[name]: config for name, (config, _) in MODELS.items()}
    found: dict[str, type] = {}

    def add(title: str, section: type) -> None:
        if section not in found.values():
            found[title] = section
            for inner in (part for hint in typing.get_type_hints(section).values() for part in _dataclasses_in(hint)):
                add(inner.__name__, inner)

    for title, section in start.items():
        add(title, section)
    return found


def keys_of(section: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and description of every key."""
    hints, comments = typing.get_type_hints(section), comments_of(section)
    for field in dataclasses.fields(section):
        yield field.name, _type_words(hints[field.name]), _default_words(field), comments.get(field.name, "")


def comments_of(section: type) -> dict[str, str]:
    """What stands behind the fields of a dataclass as a comment."""
    source = textwrap.dedent(inspect.getsource(section))
    lines, comments = source.splitlines(), {}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset or 0 :].decode()
            comments[node.target.id] = rest.partition("#")[2].strip()
    return comments


def _dataclasses_in(hint: Any) -> list[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [section for argument in typing.get_args(hint) for section in _dataclasses_in(argument)]


def _type_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{_plain(value)}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_words, arguments))
    if origin in (tuple, list) and Ellipsis in arguments:
        return f"list of {_type_words(arguments[0])}"
    if origin in (tuple, list):
        return f"[{', '.join(map(_type_words, arguments))}]"
    if origin is not None and issubclass(origin, Mapping):
        return "mapping"
    if dataclasses.is_dataclass(hint):
        titles = {section: title for title, section in sections().items()}
        title = titles.get(hint, hint.__name__) if isinstance(hint, type) else ""
        return f"[{title}](#{title.lower()})"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _default_words(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{_plain(field.default)}`" if not dataclasses.is_dataclass(field.default) else "its own"
    if field.default_factory is dataclasses.MISSING:
        return "required"
    made = field.default_factory()
    return "its own" if dataclasses.is_dataclass(made) else f"`{_plain(made)}`"


def _plain(value: Any) -> str:
    """A value as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(item)}' for key, item in value.items())}}}"
    return Path(value).as_posix() if isinstance(value, Path) else '""' if value == "" else str(value)


def protocols_page() -> str:
    """Formula, unit and paper of every protocol."""
    parts = [
        "# Protocols",
        NOTE,
        ABOUT_PROTOCOLS,
    ]
    for protocol in PROTOCOLS.values():
        parts += ["", f"## {protocol.name}", "", f"{protocol.source}.", "", *_facts(protocol)]
        parts += ["", *_metric_table(protocol.units(), protocol.published, _formulas(protocol))]
    light, masks = LightFieldProtocol(), MaskProtocol()
    parts += ["", f"## {light.name}", "", f"{light.source}. Scale: {light.describe()['scale']}.", ""]
    parts += _metric_table(light.units(), light.published, {})
    parts += ["", f"## {masks.name}", "", f"{masks.source[0].upper()}{masks.source[1:]}.", ""]
    parts += [f"- scale: {masks.describe()['scale']}", f"- {masks.describe()['empty_masks']}", ""]
    parts += _metric_table(masks.units(), masks.published, _mask_formulas())
    return "\n".join([*parts, "", *_generative()]) + "\n"


def _facts(protocol: Protocol) -> list[str]:
    return [
        f"- points: {protocol.points:,} of each surface; for IoU {protocol.iou_points:,}",
        f"- scale: {protocol.describe_scale()}",
    ]


def _formulas(protocol: Protocol) -> dict[str, str]:
    half = "1/2 " if protocol.combine == "half_sum" else ""
    factor = "" if protocol.factor == 1 else f"{protocol.factor:g} * "
    threshold = f"{protocol.f_threshold:g}"

    def both(power: int) -> str:
        exponent = "" if power == 1 else f"^{power}"
        return f"(mean over P of d(p, T){exponent} + mean over T of d(t, P){exponent})"

    return {
        "chamfer": f"{factor}{half}{both(protocol.power)}",
        "chamfer_l1": half + both(1),
        "chamfer_l2": half + both(2),
        "normal_consistency": "1/2 (mean over P of abs(n(p) . n(nearest t)) + mean over T of abs(n(t) . n(nearest p)))",
        "signed_normal_agreement": "the same without abs",
        "f_score": f"2 a b / (a + b); a: share of P with d(p, T) <= {threshold}, b: of T with d(t, P) <= {threshold}",
        "iou": "points inside both / points inside either",
    }


def _mask_formulas() -> dict[str, str]:
    return {
        "dice": "2 (voxels in both) / (voxels of one + voxels of the other)",
        "nsd": "surface of both within the tolerance of the other / surface of both",
        "asd": "1/2 (mean over one surface of d + mean over the other), weighted by area",
        "assd": "mean of d over both surfaces together, weighted by area",
        "hd95": "the larger of the two 95th percentiles of d",
        "hd": "the largest d of both directions",
    }


def _metric_table(units: Mapping[str, str], published: Sequence[str], formulas: Mapping[str, str]) -> list[str]:
    head = ["| metric | formula | unit | published |", "|---|---|---|---|"]
    return head + [
        _row(f"`{name}`", formulas.get(name, ""), unit, "yes" if name in published else "")
        for name, unit in units.items()
    ]


def _generative() -> list[str]:
    words = ["--pred", "samples", "--gt", "shapes", "--protocol", GENERATIVE]
    plain = generative_settings(read_options(words, None))
    return [
        f"## {GENERATIVE}",
        "",
        ABOUT_SETS.format(points=plain.points, normalisation=plain.normalisation),
        "",
        "| score | formula | better |",
        "|---|---|---|",
        _row("`cov`", "share of R that is nearest to some sample", "higher"),
        _row("`mmd`", "mean over R of the distance to the nearest sample", "lower"),
        _row("`1-NNA`", "share of S and R whose nearest other shape is of their own set; equally many of both", "0.5"),
        _row("`jsd`", "Jensen-Shannon divergence of how often both sets fill the cells of a grid", "lower"),
    ]


def formats_page() -> str:
    """Numbers of the formats on disk, and what a data set and a run hold."""
    pairs, masks, schema = resume.FORMAT, resume.MASK_FORMAT, f"schema {shards.SCHEMA}"
    numbers = {
        "datasets/NAME/shards/*.h5": ("shards of a data set", schema, "data_processing/store/shards.py"),
        "datasets/NAME/dataset.json": ("its index", schema, "data_processing/store/shape_set.py"),
        "runs/NAME/checkpoints/*.pt": ("tensors and plain data", checkpoint.FORMAT, "isofield/checkpoint.py"),
        "runs/NAME/calibration.json": (
            "scores of clean masks",
            calibration.FORMAT,
            "isofield/outliers/scoring/calibration.py",
        ),
        "runs/NAME/input_calibration.json": (
            "measurements of held-out inputs",
            out_of_distribution.FORMAT,
            "isofield/generation/out_of_distribution.py",
        ),
        "pack.json": ("what a pack of a run holds", manifest.FORMAT, "isofield/packs/manifest.py"),
        "evaluation/record.jsonl": (
            "rows of shapes, of masks",
            f"{pairs}, {masks}",
            "isofield/evaluation/resume.py",
        ),
        "OUT/record.jsonl": ("rows of an analysis", folder.FORMAT, "isofield/outliers/analysis/folder.py"),
        "OUT/results.json": ("table of an analysis", rows.FORMAT, "isofield/outliers/analysis/rows.py"),
    }
    parts = ["# Formats on disk", NOTE, ABOUT_FORMATS, "", "| file | what | number | owner |", "|---|---|---|---|"]
    parts += [_row(f"`{file}`", what, str(number), f"`{owner}`") for file, (what, number, owner) in numbers.items()]
    for title, module in (("A data set", shards), ("A run", run_dir)):
        parts += ["", f"## {title}", "", "```text", inspect.getdoc(module) or "", "```"]
    return "\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
    "protocols.md": protocols_page,
    "formats.md": formats_page,
}


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """One line that Markdown shows as it is, outside of code."""
    pieces = " ".join(text.split()).replace("|", "\\|").split("`")
    pieces[::2] = [piece.replace("<", "&lt;").replace("*", "\\*") for piece in pieces[::2]]
    return "`".join(pieces)


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
