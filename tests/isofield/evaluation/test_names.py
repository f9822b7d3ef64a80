"""The light names are those of what they name."""

import typing

from isofield.evaluation import names
from isofield.evaluation.protocols import PROTOCOLS
from isofield.metrics.normalisations import NORMALISATIONS, Normalisation


def test_protocols():
    assert tuple(PROTOCOLS) == names.SURFACES
    assert len(set(names.KNOWN)) == len(names.KNOWN) == len(PROTOCOLS) + 3


def test_normalisations():
    assert tuple(NORMALISATIONS) == typing.get_args(Normalisation)
