"""What a data set that is opened offers, whatever it is made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_processing.store.bits import unpack_array
from data_processing.store.shards import FailedShape, Layout, PackedRow, refuse_absent
from data_processing.store.splits import members_of


class ShapeSet(Protocol):
    """One opened data set. Shapes are numbered 0..len-1."""

    path: Path
    names: list[str]  # "category/stem"
    categories: list[str]  # one per shape
    qualities: list[str]  # "ok", or what is doubtful: "suspect: reason"
    splits: dict[str, NDArray[np.int64]]
    layout: Layout  # which fields a row has
    level_points: dict[int, int]  # points of each sampling level
    voxel_resolution: int  # 0: there are no voxels
    settings: dict[str, Any]  # of the preparation, as `DataConfig` takes them
    failed: list[FailedShape]  # inputs that are not in the set, and why

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, split: str) -> NDArray[np.int64]:
        """Shapes of a split. ValueError that names the splits there are."""
        return members_of(self.splits, split, where=self.path)

    def packed_row(self, index: int, keys: Sequence[str] | None = None) -> PackedRow:
        """Fields of a row as `layout.fields()` says, but for `to_world`; bits most significant first.

        `keys` reads only some of them. ValueError for a field that the data set was not prepared with.
        """
        refuse_absent(self.path, self.layout, keys or ())
        return self.row(index, keys or [key for key in self.layout.fields() if key != "to_world"])

    def row(self, index: int, keys: Sequence[str]) -> PackedRow:
        """Some fields of a row, which the layout has. IndexError when there is no such shape."""
        ...

    def voxels(self, index: int) -> NDArray[np.uint8]:
        """(R, R, R) 0/1."""
        return unpack_array(self.packed_row(index, ["voxels"])["voxels"], (self.voxel_resolution,) * 3)

    def to_world(self, index: int) -> NDArray[np.float64]:
        """4x4, cube -> frame of the input file (the identity for published files)."""
        ...

    def source(self, index: int) -> Path | None:
        """The raw file; None when it is unknown or no longer there."""
        ...

    def existing_scan(self, index: int) -> Path:
        """The scan that a mask was cut from. FileNotFoundError when it is gone."""
        if (source := self.source(index)) is None:
            raise FileNotFoundError(f"the scan of {self.names[index]} is no longer where {self.path} found it")
        return source

    def inside_method(self, index: int) -> str:
        """How inside was told from outside."""
        ...
