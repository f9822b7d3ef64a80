"""Earth mover's distance between clouds of equally many points: the mean distance of the best one-to-one matching.

"exact": scipy's assignment (Jonker and Volgenant's shortest augmenting paths), seconds a pair at 2,048 points.
"auction": Bertsekas' auction with epsilon scaling (A distributed algorithm for the assignment problem, 1979), 20 to 150
times faster, and it proves its error. Persons are the points of x, objects those of y. In a round every person without
an object bids for the one with the smallest distance + price, and raises its price by what the second is worse, plus
epsilon; the highest bidder gets it from whoever had it. When all have one, the matching is at most epsilon a point
above the best. What is proved for each pair is sharper: for ANY prices

    sum_i min_j (distance_ij + price_j) - sum_j price_j

is a lower bound of the best sum (linear programming duality). Epsilon is divided by four, prices are kept, and all
start again until reached - lower <= tolerance * lower.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from isofield.metrics.cloud_distance import squared_distances

FIRST_SHARE = 1 / 20  # first epsilon, of the largest distance between the two clouds
REDUCTION = 1 / 4
LAST_SHARE = 1e-5  # smaller epsilons would drown in the rounding of float32 prices; clouds that near count as equal


def exact_transport(x_N3: NDArray[np.floating], y_N3: NDArray[np.floating]) -> float:
    """The mean distance of the best matching, in float64."""
    difference_NN3 = np.asarray(x_N3, dtype=np.float64)[:, None] - np.asarray(y_N3, dtype=np.float64)[None]
    cost_NN = np.linalg.norm(difference_NN3, axis=2)
    return float(cost_NN[linear_sum_assignment(cost_NN)].mean())


def auction_on_cpu(
    x_S3N: NDArray[np.float32], y_R3N: NDArray[np.float32], pairs_P2: NDArray[np.int64], *, tolerance: float
) -> NDArray[np.float64]:
    """Lower bound and reached mean distance (P, 2) for pairs (s, r) of clouds, on one thread."""
    from isofield.metrics.earth_mover_kernels import transport_of_pairs  # numba, on first use

    bounds_P2 = np.empty((len(pairs_P2), 2))
    transport_of_pairs(x_S3N, y_R3N, pairs_P2, tolerance, FIRST_SHARE, REDUCTION, LAST_SHARE, bounds_P2)
    return bounds_P2


@torch.no_grad()
def auction(x_PN3: torch.Tensor, y_PN3: torch.Tensor, *, tolerance: float) -> torch.Tensor:
    """Lower bound and reached mean distance (P, 2) float64 of P pairs of clouds, all at once on their device.

    Holds about 4 * P * N * N float32. All persons without an object bid in the same round.
    """
    # Prices stay from one epsilon to the next: they are what a rough auction has found out.
    cost_PNN = squared_distances(x_PN3, y_PN3).sqrt_()
    prices_PN = torch.zeros_like(cost_PNN[:, 0])
    owners_PN = torch.full_like(prices_PN, -1, dtype=torch.int64)
    objects_PN = owners_PN.clone()
    largest_P = cost_PNN.amax((1, 2))
    epsilon_P, last_P = largest_P * FIRST_SHARE, largest_P * LAST_SHARE
    objects_PN[largest_P == 0] = torch.arange(cost_PNN.shape[1], device=cost_PNN.device)  # all points coincide
    while True:
        _match(cost_PNN, prices_PN, owners_PN, objects_PN, epsilon_P)
        bounds_P2 = _bounds(cost_PNN, prices_PN, objects_PN)
        lower_P, reached_P = bounds_P2.unbind(1)
        unproved_P = (reached_P - lower_P > tolerance * lower_P) & (epsilon_P > last_P)
        if not unproved_P.any():
            return bounds_P2
        epsilon_P = torch.where(unproved_P, torch.maximum(epsilon_P * REDUCTION, last_P), epsilon_P)
        owners_PN[unproved_P] = -1
        objects_PN[unproved_P] = -1


def _match(
    cost_PNN: torch.Tensor,
    prices_PN: torch.Tensor,
    owners_PN: torch.Tensor,
    objects_PN: torch.Tensor,
    epsilon_P: torch.Tensor,
) -> None:
    """Rounds of bids until every person has an object. Changes prices, owners (of objects), objects (of persons)."""
    count = prices_PN.shape[1]
    prices, owners, objects = prices_PN.view(-1), owners_PN.view(-1), objects_PN.view(-1)
    while True:
        person_K = torch.nonzero(objects < 0).flatten()  # counted over all pairs, as objects are
        if len(person_K) == 0:
            return
        pair_K = person_K // count
        # Each person without an object bids for the best one, as much as it is better than the second best.
        value_KN = cost_PNN.view(-1, count)[person_K].add_(prices_PN[pair_K])
        best_K, choice_K = value_KN.min(1)
        surplus_K = value_KN.scatter_(1, choice_K[:, None], torch.inf).amin(1) - best_K
        wanted_K = pair_K * count + choice_K
        bid_K = prices[wanted_K] + surplus_K + epsilon_P[pair_K]
        prices.scatter_reduce_(0, wanted_K, bid_K, "amax")
        # The highest bid of each object wins; who had it before is without one again.
        highest_K = bid_K == prices[wanted_K]
        person_K, wanted_K = person_K[highest_K], wanted_K[highest_K]
        left_K = owners[wanted_K]
        objects[left_K[left_K >= 0]] = -1
        # Of equal bids the first person's wins: the same on every device.
        owners.scatter_reduce_(0, wanted_K, person_K, "amin", include_self=False)
        won_K = owners[wanted_K] == person_K
        objects[person_K[won_K]] = wanted_K[won_K] % count


def _bounds(cost_PNN: torch.Tensor, prices_PN: torch.Tensor, objects_PN: torch.Tensor) -> torch.Tensor:
    """Mean over the points of the dual value of the prices and of the matched distances: (P, 2)."""
    dual_P = (cost_PNN + prices_PN[:, None]).amin(2).double().sum(1) - prices_PN.double().sum(1)
    reached_P = cost_PNN.gather(2, objects_PN[:, :, None]).double().sum((1, 2))
    return torch.stack([dual_P.clamp_min(0), reached_P], 1) / prices_PN.shape[1]
