"""What is prepared and how: the files in configs/data/, and which of their keys decide what a row holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_processing.formats.pictures import PhotoConfig
from data_processing.formats.point_clouds import CloudConfig
from data_processing.geometry.coordinates import Normalisation
from data_processing.geometry.voxel_grid import GridConfig
from data_processing.medical.structures import LabelConfig
from data_processing.occupancy.inside_outside import InsideConfig
from data_processing.preparation.contents import Contents
from data_processing.preparation.layouts import LayoutName
from data_processing.store.shards import Layout
from data_processing.store.splits import SplitConfig
from isofield.runtime.config import build, to_plain

RESOLUTION = 256  # of the published levels: their points are uint8 indices
CONFIG_FILE = "preparation.yaml"  # of a data set
ENCODER_RESOLUTION = 64  # of IM-NET's input
CONTENT_KEYS: Sequence[str] = (
    "kind",
    "normalisation",
    "inside",
    "carve",
    "threshold",
    "voxel_key",
    "values",
    "iso_level",
    "inside_sign",
    "resolution",
    "contents",
    "labels",
    "seed",
)
LATER_INSIDE = (("surface", "all"),)
LATER_CONTENTS = (("rendering", None),)
LATER_KEYS: dict[str, Any] = {
    "contents": {key: value for key, value in to_plain(Contents()).items() if (key, value) not in LATER_CONTENTS},
    "labels": None,
    **{key: getattr(GridConfig(), key) for key in ("values", "iso_level", "inside_sign")},
}
CHOOSING_LABELS = ("pattern", "keep_partial")  # which shapes there are and in which split, not what they hold


@dataclass(frozen=True)
class NormalisationConfig:
    """Centre of the bounding box to the middle of the cube; its longest edge, or its diagonal, to `length`.

    "fixed": the cube's side is `length` units of the file (millimetres of a scan) for every shape: sizes are kept.
    """

    by: Normalisation = "longest_edge"  # what is brought to `length`; none: it lies in the cube already
    length: float = 0.9  # in units of the cube; by fixed: of the file

    def __post_init__(self) -> None:
        limit = {"longest_edge": 1.0, "diagonal": 3**0.5}.get(self.by, float("inf"))
        if self.by != "none" and not 0 < self.length <= limit:
            raise ValueError(f"length by {self.by} must be in (0, {limit:.3f}], got {self.length}")


@dataclass(frozen=True)
class DataConfig:
    """A file in configs/data/: what to prepare, how, and where it goes."""

    name: str  # of the folder that is made
    input: Path  # folder, relative to the current directory
    output: Path | None = None  # none: datasets/<name>
    kind: Literal["auto", "mesh", "voxels", "labels"] = "auto"  # auto: by suffix; labels: scans with a section labels
    layout: LayoutName = "auto"  # how the input folder is laid out (layouts.py); auto: by the names of its files
    labels: LabelConfig | None = None  # which structures of a labelled scan become shapes
    categories: tuple[str, ...] | None = None  # none: every folder of the input
    exclude: tuple[str, ...] = ()  # patterns of files: '*.obj', 'chair/broken_*'
    licences: Path | None = None  # CSV with the columns file, licence, author
    normalisation: NormalisationConfig = field(default_factory=NormalisationConfig)  # how a shape is laid into the cube
    inside: InsideConfig = field(default_factory=InsideConfig)  # how inside is told from outside
    carve: bool = False  # fill what is covered from above and between its own sides, as IM-NET's data were
    threshold: float = 0.5  # of voxel files: occupied above
    voxel_key: str | None = None  # which array of a .npz
    values: Literal["occupancy", "sdf", "tsdf"] = "occupancy"  # of .npy and .npz: what their numbers are
    iso_level: float = 0.0  # of sdf and tsdf: where the surface is
    inside_sign: Literal["negative", "positive"] = "negative"  # on which side of it is inside
    resolution: int = RESOLUTION  # of the voxels that all is made from; no other is possible
    contents: Contents = field(default_factory=Contents)  # what is stored of a shape
    photo: PhotoConfig = field(default_factory=PhotoConfig)  # of a user's own picture, at generation
    cloud: CloudConfig = field(default_factory=CloudConfig)  # of a user's own cloud, at generation
    seed: int = 0  # of the points that are drawn
    splits: SplitConfig = field(default_factory=SplitConfig)  # which shapes train, validate and test
    # Most stages are kernels of the CPU, one shape a core: auto takes the CPU, and a GPU is used only when it is named.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: the CPU
    workers: int = 0  # 0: one per CPU core; with device: cuda one
    shard_size: int = 32  # shapes of a file
    retry_failed: bool = False  # try shapes again that failed before though their file did not change

    def __post_init__(self) -> None:
        if self.resolution != RESOLUTION:
            raise ValueError(f"resolution must be {RESOLUTION} (points of the levels are bytes), got {self.resolution}")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain folder name, got {self.name!r}")
        if (self.kind == "labels") != (self.labels is not None):
            raise ValueError("kind: labels and a section labels: belong together: expected both or neither")
        _ = self.grid  # refuses what cannot be meant
        if self.workers < 0 or not 1 <= self.shard_size <= 4096:
            raise ValueError(f"expected workers >= 0 and shard_size 1..4096, got {self.workers} and {self.shard_size}")

    @property
    def grid(self) -> GridConfig:
        """What the numbers of voxel files mean."""
        return GridConfig(self.threshold, self.voxel_key, self.values, self.iso_level, self.inside_sign)

    @property
    def folder(self) -> Path:
        """Where the data set goes."""
        return self.output or Path("datasets") / self.name


def config_of(settings: dict[str, Any]) -> DataConfig:
    """The config that made a data set, from `ShapeSet.settings`."""
    return build(DataConfig, settings, where="settings of the data set")


def layout_of(config: DataConfig) -> Layout:
    """The fields of the rows that a config makes."""
    return config.contents.layout()


def mask_resolution(contents: Contents) -> int:
    """Of the grid that a mask is resampled to: 256 for what is pooled from it, else the finest that is stored."""
    return RESOLUTION if contents.voxels or contents.levels or not contents.grids else max(contents.grids)


def content_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of the settings that decides what is in a row.

    Keys that came later are left out where they have their default: what was prepared before stays as it is.
    """
    # Equal settings mean equal rows, also between versions: what a newer version added counts only where it is used.
    chosen = {key: value for key, value in settings.items() if key in CONTENT_KEYS}
    if chosen.get("contents"):
        chosen["contents"] = {key: v for key, v in chosen["contents"].items() if (key, v) not in LATER_CONTENTS}
        rendering = chosen["contents"].get("rendering")
        if rendering and rendering["folder"] is not None:  # nothing is drawn
            chosen["contents"]["rendering"] = {key: v for key, v in rendering.items() if key != "drawn_by"}
    if chosen.get("inside"):
        chosen["inside"] = {key: v for key, v in chosen["inside"].items() if (key, v) not in LATER_INSIDE}
    if chosen.get("labels"):
        chosen["labels"] = {key: value for key, value in chosen["labels"].items() if key not in CHOOSING_LABELS}
    return {key: value for key, value in chosen.items() if value != LATER_KEYS.get(key, ...)}


def config_file(config: DataConfig) -> Path:
    """Where the data set keeps the resolved config of the last start."""
    return config.folder / CONFIG_FILE
