"""Which families of the benchmark resemble what a prior was trained to mend: their results say less of unknown faults.

No family is made as training makes its damages; what is compared here is the kind of fault, not the code.
"""

from data_processing.loading.network_inputs import InputConfig
from isofield.outliers.benchmark.corruptions import FAMILIES

ALIKE: dict[str, tuple[str, ...]] = {  # kinds of `data.input.deform`, by family
    "blob_added": ("noise added", "ball"),
    "blob_removed": ("noise removed", "bite"),
    "hole": ("noise removed",),
    "bite": ("bite",),
    "missing_slices": ("slices",),
    "cut_off": ("cut",),
    "merged_neighbour": ("ball",),
    "shifted_piece": ("slip",),
    "dilation": ("grow",),
    "erosion": ("shrink",),
    "island": ("ball",),
    "ragged_edge": ("rough",),
    "half": ("cut",),
}


def seen_kinds(section: InputConfig) -> dict[str, tuple[str, ...]]:
    """Of each family the kinds of damage in a run's training that resemble it; none: of that kind it saw nothing."""
    drawn: set[str] = set()
    if section.kind == "deformed":
        modes = section.deform.modes
        drawn |= {"noise added"} if {"add", "both"} & set(modes) else set()
        drawn |= {"noise removed"} if {"remove", "both"} & set(modes) else set()
        drawn |= set(section.deform.damage.kinds) if section.deform.damage.share else set()
    return {family: tuple(kind for kind in ALIKE.get(family, ()) if kind in drawn) for family in FAMILIES}
