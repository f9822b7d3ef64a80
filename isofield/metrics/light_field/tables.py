"""Where the cameras of a light field descriptor stand, and how one light field can be turned onto another.

A light field ("set") has 10 cameras at vertices of a regular dodecahedron, one of each antipodal pair: opposite cameras
see mirrored silhouettes. Ten such sets, turned against each other, cover the sphere. The published program reads fixed
tables of rounded decimals; the same decimals are used here, so that its numbers are met.

Source: Chen, Tian, Shen and Ouhyoung, "On Visual Similarity Based 3D Model Retrieval", Eurographics 2003, and the
program that its authors published, 3DRetrieval v1.8.
"""

import functools

import numpy as np
from numpy.typing import NDArray

SETS, VIEWS = 10, 10
# Positions x y z in millionths of the shape's longest edge; five cameras a line, two lines a set.
CAMERAS = """
525730 381970 850650  -200810 618030 850650  -649840 0 850650  -200810 -618030 850650  525730 -381970 850650
850650 -618030 200810  1051500 0 -200810  850650 618030 200810  324920 1000000 -200810  -324920 1000000 200810
701802 689752 421444  36426 714903 795914  -109796 14936 1064716  465216 -442823 856372  966813 -25774 458810
994836 -304541 -251889  747181 238692 -728507  566046 853184 -312347  -183238 979358 -391383  -510564 893894 293558
-265671 364304 970876  -889128 225538 551793  -875770 -509765 345058  -244050 -825444 636375  133016 -285250 1023151
807144 -176679 680583  825125 539979 416615  162066 874304 596002  -197046 1050748 -54765  -846719 649789 -82092
79042 242783 1039571  -349675 756841 671425  -935122 387767 347966  -868230 -354398 516207  -241448 -444012 943639
249304 -881208 554266  873115 -464646 409574  767860 230031 709484  764860 736223 137338  74186 1061810 113812
41829 375558 1001551  -620967 559182 669034  -965001 -88384 454818  -514823 -672232 654945  107431 -385510 992844
713218 -565332 563570  1022046 84586 306992  607073 666081 577659  293612 1029275 -16836  -465359 963207 39633
433241 -134526 969589  -274930 146734 1024096  -750567 -343284 681691  -336349 -927398 415564  395281 -798387 593489
786987 -723306 -58062  1067072 -13062 -84644  848406 350827 550471  396820 932064 345960  -297441 805930 638673
620089 136630 861812  51350 646547 851605  -609293 263137 839892  -448850 -483749 842859  310944 -561943 856407
524062 -909406 210311  964951 -425608 -183589  1024262 220890 219057  705320 782898 -188391  104025 1045970 202542
264391 -21073 1037088  -493469 -57552 948192  -651797 -670655 520845  8218 -1013098 345625  574455 -611642 664675
1011906 -333486 103555  972243 428990 129183  510220 622060 706122  -95718 983069 412688  -716033 563047 562292
254019 843500 608178  -492012 840739 443818  -787907 184936 700642  -224741 -217614 1023732  419205 189391 966590
908089 -202376 529442  1045091 209604 -99130  640819 855976 -50472  133837 860940 -621906  -566293 851521 -316421
325105 556220 854883  -433545 466744 860279  -582969 -282387 852234  83341 -655902 841866  644563 -137625 843503
1032835 -208037 189380  953383 442292 -203507  515949 914609 207793  -124761 1046644 -186731  -711583 769847 216524
"""


@functools.cache
def cameras() -> NDArray[np.float64]:
    """Positions (10 sets, 10 views, 3) around a shape whose longest edge is 1; every camera looks at the origin."""
    return np.array(CAMERAS.split(), dtype=np.float64).reshape(SETS, VIEWS, 3) / 1e6


@functools.cache
def screen_axes() -> NDArray[np.float64]:
    """Unit vectors (100, 2, 3) to the right and upwards on the screen, view after view of set after set; y is up."""
    forward_N3 = -_unit(cameras().reshape(-1, 3))
    right_N3 = _unit(np.cross(forward_N3, [0.0, 1.0, 0.0]))
    return np.stack([right_N3, np.cross(right_N3, forward_N3)], axis=1)


@functools.cache
def rotations() -> NDArray[np.int64]:
    """The rotations of a dodecahedron as permutations (60, 10): rotation P takes view m of a set to view [P, m].

    A rotation is known by where it takes one edge; opposite vertices count as one view.
    """
    # Ten of twenty vertices are in the table; those opposite are their negatives.
    vertices_N3 = _unit(np.concatenate([cameras()[0], -cameras()[0]]))
    cosines_NN = vertices_N3 @ vertices_N3.T
    # Neighbouring vertices of a regular dodecahedron stand at a cosine of sqrt(5) / 3; the rounded decimals are within
    # 1e-3.
    edges = np.argwhere(np.abs(cosines_NN - np.sqrt(5) / 3) < 1e-3)  # both ways: 60
    home = _frame(*vertices_N3[edges[0]])
    # The rotation that takes the first edge onto `edge`: into the frame of the one, out of the frame of the other.
    turned_PN3 = [vertices_N3[:VIEWS] @ home @ _frame(*vertices_N3[edge]).T for edge in edges]
    return np.stack([(turned_N3 @ vertices_N3.T).argmax(axis=1) % VIEWS for turned_N3 in turned_PN3])


def _frame(first_3: NDArray[np.float64], second_3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns (3, 3): along the first vector, across both, and the third."""
    across_3 = _unit(np.cross(first_3, second_3))
    return np.stack([first_3, across_3, np.cross(first_3, across_3)], axis=1)


def _unit(vectors_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors_N3 / np.linalg.norm(vectors_N3, axis=-1, keepdims=True)
