"""Which families a run's training resembles."""

from data_processing.loading.mask_damage import KINDS, DamageConfig
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.network_inputs import InputConfig
from isofield.outliers.benchmark.corruptions import FAMILIES, FLIP
from isofield.outliers.benchmark.seen_kinds import ALIKE, seen_kinds


def found(**deform) -> dict[str, tuple[str, ...]]:
    section = InputConfig("deformed", 32, deform=DeformationConfig(**deform))
    return {family: kinds for family, kinds in seen_kinds(section).items() if kinds}


def test_what_training_drew_and_nothing_else_is_seen():
    assert found() == {"blob_added": ("noise added",), "blob_removed": ("noise removed",), "hole": ("noise removed",)}
    damage = DamageConfig(share=0.5, grow=0, bite=0)
    seen = found(modes=("add", "none"), damage=damage)
    assert seen["blob_added"] == ("noise added", "ball") and seen["cut_off"] == ("cut",)
    assert not {"blob_removed", "hole", "bite", "dilation", FLIP} & set(seen)
    assert not found(modes=("none",))
    assert not any(seen_kinds(InputConfig("solid", 32)).values())


def test_every_kind_of_damage_is_like_some_family():
    assert {kind for kinds in ALIKE.values() for kind in kinds} == {"noise added", "noise removed", *KINDS}
    assert set(ALIKE) == set(FAMILIES) - {FLIP}
