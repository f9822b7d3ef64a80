"""The configurations that come along: `isofield configs [PREFIX] [--show NAME]`."""

from collections.abc import Sequence

from isofield.runtime.commandline import DONE, Parser, command_of, say, tell
from isofield.runtime.invocation import next_command
from isofield.runtime.shipped import config_names, find_config


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """List the names that --config takes, with the first line of each file, or show one whole."""
    parser = Parser(prog=prog, description="List the configurations that come along, or show one.")
    parser.add_argument("prefix", nargs="?", default="", help="only those whose names begin like this: imnet/, data/")
    parser.add_argument("--show", metavar="NAME", help="print this one: a start for your own")
    options = parser.parse_args(arguments)
    if options.show is not None:
        say(find_config(options.show).read_text(encoding="utf-8").rstrip("\n"))
        own = next_command("train" if not options.show.startswith("data/") else "prepare", "--config", "mine.yaml")
        tell(f"next: write it to a file (... --show {options.show} > mine.yaml), change it, then: {own}")
        return DONE
    names = [name for name in config_names() if name.startswith(options.prefix)]
    if not names:
        raise ValueError(f"no configuration is called {options.prefix}...; without PREFIX all are listed")
    width = max(map(len, names))
    for name in names:
        first = find_config(name).read_text(encoding="utf-8").partition("\n")[0]
        say(f"{name:{width}}  {first.lstrip('# ') if first.startswith('#') else ''}".rstrip())
    tell(f"next: {next_command('configs', '--show', 'NAME')}, or --config NAME: data/... of prepare, others of train")
    return DONE


command = command_of(main)
