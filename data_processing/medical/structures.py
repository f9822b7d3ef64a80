"""Which labels of a scan make which shapes: the section `labels:` of a data config, and the parts it asks of each file.

A part is what Source.part holds: STRUCTURE, or STRUCTURE/left, STRUCTURE/right, STRUCTURE/1, ... for one of several.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from data_processing.geometry.voxel_grid import RefusedFileError

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
MAX_COMPONENTS = 99


@dataclass(frozen=True)
class StructureConfig:
    """One kind of shape. Two entries may share a name (a category) when each says its side."""

    name: str  # the category that its shapes get
    labels: tuple[int | str, ...]  # ids, or names of the label table; merged into one mask
    components: int | None = None  # none: the mask as it is; N: its N largest pieces are shapes (2: left and right)
    side: Side | None = None  # for a label that holds one side of a pair
    mirror: Literal["never", "always", "right"] = "never"  # left to right in the cube; right: only right parts

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not self.name.strip() or set(self.name) & set("/\\") or self.name[0] == ".":
            raise ValueError(f"the name of a structure becomes a folder: got {self.name!r}")
        if not self.labels:
            raise ValueError(f"structure {self.name} has no labels: give ids or names")
        if self.components is not None and not 1 <= self.components <= MAX_COMPONENTS:
            raise ValueError(f"structure {self.name}: expected 1 to {MAX_COMPONENTS} components, got {self.components}")
        if self.side and self.components == 2:
            raise ValueError(f"structure {self.name}: two components are left and right already; leave out side")
        if self.mirror == "right" and not self.side and self.components != 2:
            raise ValueError(f"structure {self.name}: mirror: right needs components: 2, or side: left or right")

    def suffixes(self) -> tuple[str, ...]:
        """What tells the shapes of one scan apart: "" alone, else left and right, or numbers by size."""
        if self.components == 2:
            return SIDES
        if self.components is None or self.components == 1:
            return (self.side or "",)
        head = f"{self.side}-" if self.side else ""
        return tuple(f"{head}{number}" for number in range(1, self.components + 1))

    def mirrors(self, suffix: str) -> bool:
        """Whether the part of that suffix is mirrored in the cube."""
        return self.mirror == "always" or (self.mirror == "right" and suffix.partition("-")[0] == "right")


@dataclass(frozen=True)
class LabelConfig:
    """The section `labels:` of a data config."""

    structures: tuple[StructureConfig, ...]  # which labels become shapes
    table: str | None = None  # total, total_v1, total_v3, total_mr, or a file; none: the scan's own (label_names.py)
    files: Literal["scan", "organ"] = "scan"  # organ: a folder for each scan, in it NAME.nii.gz for each label NAME
    pattern: str = "*"  # of the files that hold labels: matched against the path below the input and the file's name
    threshold: float | None = None  # of probability maps: above is label 1; none: values have to be whole numbers
    smallest_component: float = 0.1  # pieces below this share of the largest are no parts
    keep_partial: bool = False  # shapes that touch the border of the scan stay in the splits they fall into

    def __post_init__(self) -> None:
        if not self.structures:
            raise ValueError("labels.structures is empty: name at least one structure")
        if not 0 <= self.smallest_component < 1:
            raise ValueError(f"smallest_component must be in [0, 1), got {self.smallest_component}")
        if self.files == "organ" and any(not isinstance(label, str) for s in self.structures for label in s.labels):
            raise ValueError("files: organ takes labels by name (the file's), not by id")
        self._refuse_equal_names()

    def _refuse_equal_names(self) -> None:
        suffixes: dict[str, list[str]] = {}
        for structure in self.structures:
            suffixes.setdefault(structure.name, []).extend(structure.suffixes())
        # Beside parts with a suffix one without could not be told from them by the names of shapes.
        for name, part_of_key in suffixes.items():
            if len(set(part_of_key)) < len(part_of_key) or (len(part_of_key) > 1 and "" in part_of_key):
                raise ValueError(f"two structures are called {name}: give each its side, or another name")


@dataclass(frozen=True)
class StructurePart:
    """One shape to be taken from a scan."""

    structure: StructureConfig
    suffix: str  # "", "left", "right", "1", ...

    @property
    def key(self) -> str:
        """As in Source.part."""
        return f"{self.structure.name}/{self.suffix}" if self.suffix else self.structure.name

    @property
    def mirrored(self) -> bool:
        return self.structure.mirrors(self.suffix)

    def name(self, stem: str) -> str:
        """Name of the shape: CATEGORY/stem, and the suffix."""
        return f"{self.structure.name}/{stem}" + (f"-{self.suffix}" if self.suffix else "")


def all_parts(settings: LabelConfig) -> Iterator[StructurePart]:
    """Every part that is asked of each scan, in the order of the config."""
    for structure in settings.structures:
        for suffix in structure.suffixes():
            yield StructurePart(structure, suffix)


def part_keys(settings: LabelConfig) -> tuple[str, ...]:
    """What `Source.part` may be."""
    return tuple(part.key for part in all_parts(settings))


def find_part(key: str, settings: LabelConfig) -> StructurePart:
    """The part of that key; "" is the only one there is. ValueError that names the parts."""
    parts = list(all_parts(settings))
    if not key and len(parts) == 1:
        return parts[0]
    part_of_key = next((part for part in parts if part.key == key), None)
    if part_of_key is None:
        raise RefusedFileError(f"expected one of the parts {', '.join(part_keys(settings))}; got {key!r}")
    return part_of_key


def part_of_name(name: str, settings: LabelConfig) -> StructurePart:
    """The part that a shape of a data set is, from its name CATEGORY/stem-suffix. ValueError for other names."""
    category = name.partition("/")[0]
    parts = [part for part in all_parts(settings) if part.structure.name == category]
    # The longest suffix first: "left-1" before "1".
    for part in sorted(parts, key=lambda part: -len(part.suffix)):
        if not part.suffix or name.endswith(f"-{part.suffix}"):
            return part
    raise ValueError(f"shape {name!r} is none of the parts {', '.join(part_keys(settings))}")
