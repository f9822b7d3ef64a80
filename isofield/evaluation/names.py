"""Names that evaluate.py shows and takes: light, so that its --help and a misspelt option wait for no numerics.

What they mean: protocols.py, pairs.py, sets.py and metrics/sets.py.
"""

from isofield.metrics.normalisations import NORMALISATIONS

SURFACES = ("imnet", "onet", "ifnet", "deepsdf", "3dshape2vecset")  # protocols for a mesh and its ground truth
MASKS, LIGHT_FIELD, GENERATIVE = "masks", "lfd", "generative"
OF_SETS = (GENERATIVE, LIGHT_FIELD)  # these judge a set of shapes against another; lfd pairs of shapes too
KNOWN = (*SURFACES, LIGHT_FIELD, GENERATIVE, MASKS)
AGAINST = ("source", "voxels")  # the ground truth of a run's shapes
MOST_TRAINING_SHAPES = 5000

__all__ = [
    "AGAINST",
    "GENERATIVE",
    "KNOWN",
    "LIGHT_FIELD",
    "MASKS",
    "MOST_TRAINING_SHAPES",
    "NORMALISATIONS",
    "OF_SETS",
    "SURFACES",
]
