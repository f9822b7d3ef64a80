"""Errors whose advice is an option: each command calls it otherwise, so that its name is put in by the command.

Data configs have keys (`labels.threshold`), evaluate.py and analyse.py have options (`--threshold`), generate.py sets
keys (`--set`).
"""

from dataclasses import dataclass
from typing import Literal

from data_processing.geometry.voxel_grid import RefusedFileError
from isofield.runtime.reasons import reason_of

Option = Literal["threshold", "table", "pattern"]


@dataclass(frozen=True)
class OptionNames:
    """What a command calls the options that say how label volumes are read."""

    threshold: str = "labels.threshold"
    table: str = "labels.table"
    pattern: str = "labels.pattern"


CONFIG_KEYS = OptionNames()
SET_OPTIONS = OptionNames("--set labels.threshold=0.5", "--set labels.table=FILE", "--set labels.pattern=GLOB")
COMMAND_OPTIONS = OptionNames(threshold="--threshold", table="--labels", pattern="--pattern")


class OptionError(RefusedFileError):
    """A file that an option would make usable. Its text names the key of a data config."""

    def __init__(self, before: str, option: Option, after: str = "") -> None:
        super().__init__(before + getattr(CONFIG_KEYS, option) + after)
        self.before, self.option, self.after = before, option, after

    def __reduce__(self) -> tuple[type["OptionError"], tuple[str, Option, str]]:
        return OptionError, (self.before, self.option, self.after)


def worded(error: BaseException, names: OptionNames) -> str:
    """The text of an error with the option named as a command calls it; causes are asked too."""
    text, cause = reason_of(error), error
    while cause is not None:
        if isinstance(cause, OptionError):
            return text.replace(str(cause), cause.before + getattr(names, cause.option) + cause.after)
        cause = cause.__cause__  # type: ignore[assignment]
    return text
