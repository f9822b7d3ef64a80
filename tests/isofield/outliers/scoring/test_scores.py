"""The score of masks: fitted on clean ones, stranger for others, the same after storing."""

import dataclasses

import numpy as np
import pytest

from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.scores import (
    FAULTS,
    GROUPS,
    ITSELF,
    PRIOR,
    WITH_PRIOR,
    Measured,
    fit_scorer,
    measure,
    scorer_arrays,
    scorer_of,
)
from isofield.outliers.scoring.shape_space import SdfGrid
from tests.isofield.outliers.organs import ellipsoid

FRAME = SdfGrid(cell=2.5, cells=24)


def measured(radii):
    return measure(CubeMask(ellipsoid(radii, size=GRID), np.diag([GRID, GRID, GRID, 1.0])), FRAME, None)


@pytest.fixture(scope="module")
def training():
    random = np.random.default_rng(0)
    return [measured(tuple(np.array([16.0, 11.0, 8.0]) * random.uniform(0.9, 1.1, 3))) for _ in range(14)]


@pytest.fixture(scope="module")
def scorer(training):
    return fit_scorer(training, FRAME)


def test_other_shapes_are_stranger(scorer):
    usual, ball, huge = scorer.scores([measured((16, 11, 8)), measured((11, 11, 11)), measured((24, 16, 12))])
    assert ball > usual + 1
    assert huge > usual + 1


def test_the_score_is_of_each_mask_alone(scorer):
    masks = [measured((16, 11, 8)), measured((11, 11, 11))]
    together = scorer.scores(masks)
    np.testing.assert_allclose(together, [scorer.scores([one])[0] for one in masks])


def test_it_comes_back_from_its_arrays(scorer):
    arrays = scorer_arrays(scorer)
    assert all(values.dtype != object for values in arrays.values())
    back = scorer_of(arrays)
    one = [measured((11, 11, 11))]
    np.testing.assert_array_equal(back.scores(one), scorer.scores(one))
    del arrays["frame"]
    with pytest.raises(ValueError, match="frame"):
        scorer_of(arrays)


def test_without_a_prior_there_is_no_visible_score(scorer, training):
    assert set(scorer.groups) == set(GROUPS) - {"prior"}
    with pytest.raises(ValueError, match="prior"):
        scorer.visible_scores(training[:1])


def test_any_group_that_stands_out_raises_the_score(scorer):
    usual = measured((16, 11, 8))
    numbers = dict(usual.numbers)
    for group in ("shape", "surface", "slices"):
        moved = {
            name: value + 8 * scorer.groups[group][0].spread_D[place]
            for place, (name, value) in enumerate((n, v) for n, v in numbers.items() if n.startswith(group))
        }
        odd = Measured({**numbers, **moved}, usual.distances_D)
        assert scorer.scores([odd])[0] > scorer.scores([usual])[0] + 1
        np.testing.assert_array_equal(scorer.scores([odd]), scorer.strangeness([odd])[ITSELF])


def test_what_a_prior_disagrees_with_is_shown_and_counts_in_older_judges(scorer, training):
    random = np.random.default_rng(0)
    with_prior = [Measured({**one.numbers, "prior_unlike": random.normal()}, one.distances_D) for one in training]
    both = fit_scorer(with_prior, FRAME)
    found = both.strangeness(with_prior[:3])
    np.testing.assert_allclose(found[ITSELF], scorer.strangeness(training[:3])[ITSELF])
    numbers = with_prior[0].numbers
    odd = Measured({**numbers, "prior_unlike": numbers["prior_unlike"] + 9}, training[0].distances_D)
    usual, disbelieved = both.strangeness([with_prior[0], odd])[PRIOR]
    assert disbelieved > usual + 1
    np.testing.assert_array_equal(both.scores([odd]), both.scores(with_prior[:1]))
    # Arrays of a version that always counted it do not say so: its calibration's scores have it in them.
    arrays = scorer_arrays(both)
    assert not scorer_of(arrays).with_prior
    del arrays[WITH_PRIOR]
    older = scorer_of(arrays)
    found = older.strangeness(with_prior[:3])
    np.testing.assert_array_equal(older.scores(with_prior[:3]), found[ITSELF] + np.maximum(found[PRIOR], 0))
    assert older.scores([odd])[0] > older.scores(with_prior[:1])[0] + 1
    assert scorer_of(scorer_arrays(older)).with_prior
    with pytest.raises(ValueError, match="with_prior is float64"):
        scorer_of(arrays | {WITH_PRIOR: np.array([0.5])})


MOVING, STAYING = 1, 8  # scales of neighbourhoods


@pytest.fixture(scope="module")
def moved(training):
    """A mask whose neighbourhoods of one scale are all fuller, by so many deviations of the training masks."""

    def fuller(one, scale, by):
        chosen = [name for name in one.numbers if name.startswith(f"surface_fullness_{scale}_")]
        spread = {name: np.std([other.numbers[name] for other in training]) for name in chosen}
        return Measured({**one.numbers, **{n: one.numbers[n] + by * spread[n] for n in chosen}}, one.distances_D)

    return fuller


@pytest.fixture(scope="module")
def aware(training, moved):
    return fit_scorer(training, FRAME, [[moved(one, MOVING, 12), moved(one, MOVING, -18)] for one in training])


def test_what_changes_with_the_source_is_not_strange(training, moved, aware):
    """Masks drawn otherwise: how full the least neighbourhoods are moves, and nothing else does."""
    moving, staying, unaware = MOVING, STAYING, fit_scorer(training, FRAME)
    usual, drawn, faulty = training[3], moved(training[3], moving, 14), moved(training[3], staying, 14)
    assert unaware.scores([drawn])[0] > unaware.scores([usual])[0] + 1
    assert aware.scores([drawn])[0] < aware.scores([usual])[0] + 0.5
    assert aware.scores([faulty])[0] > aware.scores([usual])[0] + 1
    # Nothing is learnt from masks that are redrawn as they were.
    same = fit_scorer(training, FRAME, [[one] for one in training])
    np.testing.assert_array_equal(same.scores(training), unaware.scores(training))


def test_a_drawing_is_known_or_not_whatever_the_shape(training, moved, aware):
    usual, count = training[3], 3 * len(training)
    shown = [usual, moved(usual, MOVING, 10), moved(usual, STAYING, 20), moved(usual, MOVING, 90)]
    own, known, other_shape, unknown = aware.drawing_p(shown)
    assert own == other_shape > 0.05 and known > 0.05
    assert unknown == pytest.approx(1 / (count + 1))
    # About as often as it says where masks were left out: all drawings of one shape together.
    rest = fit_scorer(training[1:], FRAME, [[moved(one, MOVING, 12), moved(one, MOVING, -18)] for one in training[1:]])
    assert rest.drawing_p(training[:1])[0] > 0.05


def test_known_drawings_come_back_from_arrays_and_older_files_know_none(training, scorer, aware):
    assert scorer.drawing_p(training) is None and scorer_of(scorer_arrays(scorer)).drawing_p(training) is None
    arrays = scorer_arrays(aware)
    np.testing.assert_array_equal(scorer_of(arrays).drawing_p(training), aware.drawing_p(training))
    distances, mean = arrays["drawings/distances"], arrays["drawings/mean"]
    for key, wrong in (("distances", distances[::-1]), ("distances", distances[None]), ("mean", mean[1:])):
        with pytest.raises(ValueError, match="do not fit each other"):
            scorer_of(arrays | {f"drawings/{key}": wrong})
    del arrays["drawings/spread"]
    with pytest.raises(ValueError, match="lack drawings/spread"):
        scorer_of(arrays)


@pytest.fixture(scope="module")
def warned(training, aware, moved):
    """A scorer that was shown damage: one kind moves many numbers a little, another one moves others."""
    redrawn = [[moved(one, MOVING, 12), moved(one, MOVING, -18)] for one in training]
    damaged = [{"grow": moved(one, 4, 2), "cut": moved(one, 8, -2)} for one in training]
    return fit_scorer(training, FRAME, redrawn, damaged)


def test_a_little_in_the_direction_of_a_fault_is_strange(training, moved, aware, warned):
    usual = training[3]
    little, contrary = moved(usual, 4, 2), moved(usual, 4, -2)
    own, like_a_fault, like_none = warned.strangeness([usual, little, contrary])[FAULTS]
    assert like_a_fault > max(own, like_none, 0.0) + 1
    masks = [usual, little, contrary]
    expected = np.maximum(aware.scores(masks), warned.strangeness(masks)[FAULTS])
    np.testing.assert_allclose(warned.scores(masks), expected, atol=1e-9)
    # Whichever is more: also where the direction of a fault is.
    louder = dataclasses.replace(warned, faults=dataclasses.replace(warned.faults, level=(-99.0, 1.0)))
    np.testing.assert_array_equal(louder.scores(masks), louder.strangeness(masks)[FAULTS])
    assert FAULTS not in aware.strangeness([usual])


def test_directions_come_back_from_arrays(training, aware, warned):
    arrays = scorer_arrays(warned)
    np.testing.assert_array_equal(scorer_of(arrays).scores(training), warned.scores(training))
    assert scorer_of(scorer_arrays(aware)).faults is None
    for key, wrong, says in (
        ("weights", arrays["faults/weights"][:, 1:], "do not fit each other"),
        ("spread", arrays["faults/spread"] * 0, "never vary"),
        ("level", np.array([0.0, -1.0]), "never vary"),
    ):
        with pytest.raises(ValueError, match=says):
            scorer_of(arrays | {f"faults/{key}": wrong})


def test_masks_redrawn_unequally_often_are_refused(training):
    unequal: list[list[list]] = [[[]], [[one] for one in training[1:]] + [[]]]
    for wrong in unequal:
        with pytest.raises(ValueError, match="equally often"):
            fit_scorer(training, FRAME, wrong)


def test_a_training_mask_is_no_stranger_for_being_known_by_heart(training, scorer):
    """Its components lack nothing of it: far below what they lack of any other mask, and no fault."""
    known = scorer.scores(training)
    new = scorer.scores([measured((16.5, 10.5, 8)), measured((15.2, 11.5, 8.4))])
    assert np.median(known) < new.max() + 1
    older = dataclasses.replace(scorer, with_prior=True).scores(training)
    assert (older > known + 1).all(), "calibrations of before are judged as before"
    # More of it stays strange.
    odd = Measured(training[0].numbers, np.roll(training[0].distances_D.reshape(24, 24, 24), 3, axis=0).ravel())
    assert scorer.scores([odd])[0] > known.max() + 1


def test_less_disagreement_than_usual_is_no_strangeness(training):
    random = np.random.default_rng(0)
    with_prior = [Measured({**one.numbers, "prior_unlike": random.normal()}, one.distances_D) for one in training]
    scorer, numbers = fit_scorer(with_prior, FRAME), with_prior[0].numbers
    none, much = (Measured({**numbers, "prior_unlike": value}, training[0].distances_D) for value in (-9.0, 9.0))
    agreed, disbelieved = scorer.visible_scores([none, much])
    assert agreed < 3 < disbelieved


def test_too_few_masks_are_refused(training):
    with pytest.raises(ValueError, match=r"\b8\b"):
        fit_scorer(training[:7], FRAME)
