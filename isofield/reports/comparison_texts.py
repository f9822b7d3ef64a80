"""A comparison as text: Markdown, LaTeX with booktabs, and two CSV files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from isofield.evaluation.paired_differences import LEVEL, RESAMPLES, PairedDifference
from isofield.reports.comparison_table import ELSEWHERE, ComparedDifference, ComparisonTable
from isofield.runtime.atomic_files import write_text
from isofield.runtime.commandline import printable
from isofield.runtime.csv_cells import write_csv_file
from isofield.runtime.json_files import Row
from isofield.runtime.number_text import short

MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#&])")
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the beginning of a row they would be taken as what belongs to the \\ or rule before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
COLUMNS = ("protocol", "split", "group", "category", "n", "metric", "unit", "column", "measured_here", "value", "best")
DIFFERENCES = (
    *("protocol", "split", "group", "first", "second", "category", "metric", "n", "mean_difference", "low"),
    *("high", "wins", "ties", "losses", "left_out", "resamples", "level", "seed"),
)


def describe_bootstrap(seed: int) -> str:
    """What the intervals are."""
    return f"{LEVEL:.0%} percentile bootstrap over shapes, {RESAMPLES:,} resamples, seed {seed}"


def difference_text(difference: PairedDifference) -> str:
    """Mean and interval, as text."""
    if difference.mean is None:
        return "-"
    interval = difference.interval
    ends = "" if interval is None else f" [{short(interval[0], digits=3)}, {short(interval[1], digits=3)}]"
    return f"{short(difference.mean, digits=3)}{ends}"


def wins_text(difference: PairedDifference) -> str:
    """How many shapes the first and the second win."""
    ties = f", {difference.ties} equal" if difference.ties else ""
    return f"{difference.wins} : {difference.losses}{ties}"


def markdown(tables: Sequence[ComparisonTable], *, seed: int) -> str:
    """All tables, with their differences and notes."""
    parts = [part for table in tables for part in _markdown_parts(table, seed)]
    return "\n\n".join(parts) + "\n"


def _markdown_parts(table: ComparisonTable, seed: int) -> list[str]:
    heads = ["", "n"]
    for metric in table.metrics:
        arrow = "↓" if table.is_lower_better(metric) else "↑"
        for number, column in enumerate(table.columns):
            elsewhere = "" if number < table.measured else f" ({ELSEWHERE})"
            heads.append(f"{table.label(metric)} {arrow} {_plain(column)}{elsewhere}")
    rows = []
    for line in table.lines:
        cells = [cell for metric in table.metrics for cell in line.cells[metric]]
        texts = [f"**{cell.text}**" if cell.is_best else cell.text for cell in cells]
        rows.append([_plain(line.label), "" if line.n is None else str(line.n), *texts])
    parts = [f"## {_plain(table.heading)}", _grid(heads, rows)]
    if table.differences:
        parts += [
            f"Differences, first minus second, paired by shape: {describe_bootstrap(seed)}.",
            _difference_grid(table),
        ]
    units = [f"- {table.label(key)}: {_plain(unit)}" for key, unit in table.units.items()]
    return [*parts, "\n".join([*units, *(f"- {_plain(note)}" for note in table.notes)])]


def _difference_grid(table: ComparisonTable) -> str:
    heads = ["first", "second", "over"]
    heads += [head for key in table.metrics for head in (f"{table.label(key)}, difference", "shapes won")]
    rows = [
        [_plain(each.first), _plain(each.second), _plain(each.label), *_difference_cells(each, _bold)]
        for each in table.differences
    ]
    return _grid(heads, rows)


def _difference_cells(each: ComparedDifference, bold: Callable[[str], str]) -> list[str]:
    """Two for each metric; the difference bold where the interval leaves zero out."""
    cells = []
    for difference in each.differences:
        text = difference_text(difference)
        cells += [bold(text) if difference.is_clear else text, wins_text(difference)]
    return cells


def _bold(text: str) -> str:
    return f"**{text}**"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A name of a stranger's as words of Markdown."""
    return MARKDOWN.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def latex(tables: Sequence[ComparisonTable], *, seed: int) -> str:
    r"""Tables for a paper: \usepackage{booktabs}; UTF-8."""
    begin = "% \\usepackage{booktabs} in the preamble\n"
    return begin + "\n".join(_latex_table(table, seed) for table in tables)


def _latex_table(table: ComparisonTable, seed: int) -> str:
    count = len(table.columns)
    # Two lines of heads: a metric over all its candidates, and below it each of them, marked where not measured here.
    groups, rules, names = [], [], []
    for number, metric in enumerate(table.metrics):
        arrow = r"$\downarrow$" if table.is_lower_better(metric) else r"$\uparrow$"
        first = 3 + number * count
        groups.append(rf"\multicolumn{{{count}}}{{c}}{{{_tex(table.label(metric))} {arrow}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        marks = ["" if n < table.measured else r"$^\dagger$" for n in range(count)]
        names += [_tex(name) + mark for name, mark in zip(table.columns, marks, strict=True)]
    # The means stand below a rule of their own, so that nobody takes them for one more category.
    body, before = [], False
    for line in table.lines:
        if line.is_total and not before:
            body.append(r"\midrule")
        before = line.is_total
        cells = [cell for metric in table.metrics for cell in line.cells[metric]]
        texts = [_textbf(_tex_number(cell.text)) if cell.is_best else _tex_number(cell.text) for cell in cells]
        body.append(" & ".join([_tex(line.label), "" if line.n is None else str(line.n), *texts]) + r" \\")
    dagger = rf" $^\dagger$: {ELSEWHERE}." if table.measured < count else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.heading)}.{dagger}}}",
            rf"\begin{{tabular}}{{lr{'r' * count * len(table.metrics)}}}",
            r"\toprule",
            " & & " + " & ".join(groups) + r" \\",
            " ".join(rules),
            " & $n$ & " + " & ".join(names) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            *(f"% {_one_line(note)}" for note in table.notes),
            *_latex_differences(table, seed),
            "",
        ]
    )


def _latex_differences(table: ComparisonTable, seed: int) -> list[str]:
    """A second table, below the first."""
    if not table.differences:
        return []
    heads = " & ".join(rf"{_tex(table.label(key))} & won" for key in table.metrics)
    rows = [
        " & ".join(
            [_tex(each.first), _tex(each.second), _tex(each.label), *map(_tex_number, _difference_cells(each, _textbf))]
        )
        + r" \\"
        for each in table.differences
    ]
    caption = f"Differences, first minus second, paired by shape: {describe_bootstrap(seed)}. {table.heading}."
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(caption)}}}",
        rf"\begin{{tabular}}{{lll{'rr' * len(table.metrics)}}}",
        r"\toprule",
        rf"first & second & over & {heads} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _tex_number(text: str) -> str:
    """With minus signs, a dash where there is no number."""
    return "--" if text == "-" else text.replace("-", "$-$")


def _textbf(text: str) -> str:
    return rf"\textbf{{{text}}}"


def _tex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in _one_line(text))


def write_comparison_csv(path: Path, tables: Sequence[ComparisonTable]) -> None:
    """Replace the file: a line for each number of the tables."""
    rows = []
    for group, table in enumerate(tables, start=1):
        about = {"protocol": table.group.protocol, "split": table.group.split, "group": group}
        for line in table.lines:
            for metric, cells in line.cells.items():
                of_metric = about | {"category": line.label, "metric": metric, "unit": table.units[metric]}
                for number, cell in enumerate(cells):
                    measured = number < table.measured
                    own: Row = {"column": table.columns[number], "measured_here": "yes" if measured else "no"}
                    own |= {
                        "n": line.n if measured else None,
                        "value": cell.value,
                        "best": "yes" if cell.is_best else "",
                    }
                    rows.append(of_metric | own)
    write_csv_file(path, COLUMNS, rows)


def write_differences_csv(path: Path, tables: Sequence[ComparisonTable], *, seed: int) -> None:
    """Replace the file: a line for each difference."""
    rows = []
    for group, table in enumerate(tables, start=1):
        about = {"protocol": table.group.protocol, "split": table.group.split, "group": group}
        about |= {"resamples": RESAMPLES, "level": LEVEL, "seed": seed}
        for each in table.differences:
            names = {"first": each.first, "second": each.second, "category": each.label}
            for one in each.differences:
                low, high = one.interval or (None, None)
                numbers = {"metric": one.metric, "n": one.n, "mean_difference": one.mean, "low": low, "high": high}
                counts = {"wins": one.wins, "ties": one.ties, "losses": one.losses, "left_out": one.left_out}
                rows.append(about | names | numbers | counts)
    write_csv_file(path, DIFFERENCES, rows)


def write_texts(out: Path, tables: Sequence[ComparisonTable], *, seed: int) -> list[Path]:
    """compare.md, compare.tex, compare.csv and compare-differences.csv in a folder."""
    files = [out / f"compare{ending}" for ending in (".md", ".tex", ".csv", "-differences.csv")]
    write_text(files[0], markdown(tables, seed=seed))
    write_text(files[1], latex(tables, seed=seed))
    write_comparison_csv(files[2], tables)
    write_differences_csv(files[3], tables, seed=seed)
    return files
