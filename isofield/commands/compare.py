"""Put runs side by side: `isofield compare RUN RUN ...`, from what `evaluate` wrote of each.

One table by protocol and category, the best in bold, differences paired by shape with a bootstrap interval: as
Markdown, LaTeX (booktabs), CSV, and a page with the shapes where they differ most. What was measured otherwise (another
protocol, seed, number of points, split, unit or ground truth) is refused by name.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, say


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    return compare_results(read_options(arguments, prog=prog))


def read_options(arguments: Sequence[str] | None, *, prog: str | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="runs, folders of evaluations, JSON files")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="what they are called in tables, in this order")
    parser.add_argument("--out", type=Path, default=Path("comparison"), metavar="DIR", help="[comparison]")
    parser.add_argument("--protocol", nargs="+", metavar="NAME", help="only these; [all that every run has]")
    parser.add_argument("--split", help="only this one; [all that every run has]")
    parser.add_argument(
        "--allow", action="store_true", help="show apart what cannot be compared, instead of refusing it"
    )
    parser.add_argument(
        "--published", nargs="*", metavar="METHOD", help="numbers of papers beside them; without METHOD all there are"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap [0]")
    parser.add_argument("--up", choices=["y", "z"], default="y", help="axis that is up in pictures [y]")
    parser.add_argument("--pictures", type=int, default=24, metavar="N", help="most shapes on the page; 0: none [24]")
    options = parser.parse_args(arguments)
    if len(options.paths) < 2 and options.published is None:
        parser.error("expected two paths at least, or --published, to compare with")
    if options.pictures < 0:
        parser.error(f"--pictures: expected at least 0, got {options.pictures}")
    return options


def compare_results(options: argparse.Namespace) -> int:
    """From evaluations to tables and a page; returns the exit status."""
    # Imported only now: --help and a misspelt option need not wait for what draws pictures.
    from isofield.evaluation.comparability import group_candidates
    from isofield.evaluation.published_numbers import find_published
    from isofield.evaluation.results import chosen_candidates, read_candidates
    from isofield.reports.comparison import write_comparison
    from isofield.reports.comparison_table import comparison_table
    from isofield.reports.comparison_texts import markdown, write_texts

    published = find_published(options.published)
    candidates, notes = read_candidates(options.paths, options.names)
    candidates = chosen_candidates(candidates, protocols=options.protocol, split=options.split)
    # What was measured otherwise never stands in one table.
    groups = group_candidates(candidates, allow=options.allow)
    tables = [comparison_table(group, published, seed=options.seed) for group in groups]
    files = write_texts(options.out, tables, seed=options.seed)
    page = options.out / "compare.html"
    title = " against ".join(dict.fromkeys(each[0].name for each in candidates))
    seed, up, pictures = options.seed, options.up, options.pictures
    write_comparison(page, tables, title=title, notes=notes, seed=seed, up=up, pictures=pictures)
    say(markdown(tables, seed=options.seed).rstrip("\n"))
    for note in notes:
        say(f"note: {note}")
    say(f"done: {len(tables)} tables: {', '.join(map(str, files))}; next: open the page: {page}")
    return DONE


command = command_of(main)
