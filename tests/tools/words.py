"""How the product names things: `python -m tests.tools.words` prints what is against the house's rules for words.

One class name means one thing; a configuration ends in Config; a function is a verb or a noun, never a bare participle
such as `found`. The share of comment lines is a sign, not a gate.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("data_processing", "ifnet", "imnet", "isofield")
SHARED_CLASSES = frozenset({"Config", "Encoder", "Decoder"})  # each model has its own
OTHER_SUFFIXES = ("Settings", "Section")  # of what is a Config
MOST_PARTICIPLES = 15  # fewer than these
NOUNS_AND_VERBS = frozenset({"bed", "bleed", "breed", "embed", "exceed", "feed", "need", "proceed", "seed", "speed"})
# Forms that are no verb in the present too: `read`, `set`, `split` and `put` could be either.
IRREGULAR_TEXT = """
    become begun bent blown borne bought bound bred broken brought built caught chosen cut dealt done drawn driven
    eaten fallen fed felt fit flown forgotten fought found frozen given gone gotten grown heard held hidden kept
    known laid lain led left lent lost made meant met paid proved proven risen said seen sent shaken shown shut
    slept slid sold sought spent spilt spoilt spoken spread spun stolen stood struck stuck sunk swept sworn taken
    taught thought thrown told torn understood undone unseen withheld woken won worn wound woven written
"""
IRREGULAR = frozenset(IRREGULAR_TEXT.split())


@dataclass(frozen=True)
class Place:
    """A name and where it is defined."""

    name: str
    module: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.name}"


@dataclass(frozen=True)
class Words:
    """What was measured in some modules."""

    repeated_classes: dict[str, list[Place]]  # of names in two modules or more
    participles: list[Place]
    other_suffixes: list[Place]
    comment_lines: int
    lines: int

    @property
    def comment_share(self) -> float:
        """Of all lines, those that hold a comment and nothing else."""
        return self.comment_lines / self.lines if self.lines else 0.0


def product_modules(root: Path = ROOT) -> list[Path]:
    """Every module of the product, and the scripts beside it."""
    modules = [file for package in PRODUCT for file in (root / package).rglob("*.py")]
    return sorted([*modules, *root.glob("*.py")])


def measure(modules: Iterable[Path], root: Path = ROOT) -> Words:
    """Read the modules; nothing is imported."""
    classes: dict[str, list[Place]] = defaultdict(list)
    functions: list[Place] = []
    comments = lines = 0
    for file in modules:
        text, module = file.read_text(encoding="utf-8"), file.relative_to(root).as_posix()
        lines += len(text.splitlines())
        comments += sum(line.lstrip().startswith("#") for line in text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(Place(node.name, module, node.lineno))
        functions += [Place(node.name, module, node.lineno) for node in public_functions(ast.parse(text))]
    repeated = {
        name: places
        for name, places in sorted(classes.items())
        if name not in SHARED_CLASSES and len({place.module for place in places}) > 1
    }
    return Words(
        repeated_classes=repeated,
        participles=[place for place in functions if is_participle(place.name)],
        other_suffixes=[p for name, places in sorted(classes.items()) if name.endswith(OTHER_SUFFIXES) for p in places],
        comment_lines=comments,
        lines=lines,
    )


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods without an underscore in front; properties are nouns."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for one in inside:
            if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) or one.name.startswith("_"):
                continue
            if not any(ast.unparse(decorator).endswith("property") for decorator in one.decorator_list):
                yield one


def is_participle(name: str) -> bool:
    """Whether a name is one word, and that a past participle."""
    return name in IRREGULAR or ("_" not in name and name.endswith("ed") and name not in NOUNS_AND_VERBS)


def describe(words: Words) -> str:
    """The report, a line for each name."""
    report = [f"class names in two modules: {len(words.repeated_classes)}"]
    report += [f"  {name}: {', '.join(p.module for p in places)}" for name, places in words.repeated_classes.items()]
    report += [f"public functions that are a bare participle: {len(words.participles)} (fewer than {MOST_PARTICIPLES})"]
    report += [f"  {place}" for place in words.participles]
    report += [f"classes that end in {' or '.join(OTHER_SUFFIXES)}: {len(words.other_suffixes)}"]
    report += [f"  {place}" for place in words.other_suffixes]
    report += [f"lines that are comments: {words.comment_lines} of {words.lines}, {words.comment_share:.1%}"]
    return "\n".join(report)


if __name__ == "__main__":
    sys.stdout.write(describe(measure(product_modules())) + "\n")
