"""What a set of ground truths is, in a few digits: with the same ones two evaluations had the same data."""

from collections.abc import Sequence

from isofield.evaluation.pairs import Pair, StoredTruth, files_of_set
from isofield.runtime.fingerprint import fingerprint, of_contents


def data_hash_of(pairs: Sequence[Pair]) -> str | None:
    """Of names and the content of the ground truths' files, wherever they lie and whatever was prepared of them.

    None where a ground truth is no file of its own (the voxels of a data set), or is gone since.
    """
    parts: list[list[str]] = []
    try:
        for pair in sorted(pairs, key=lambda pair: pair.name):
            if pair.truth is None:
                parts.append([pair.name, ""])
                continue
            files = pair.truth.files()
            # The index of a data set says how it was prepared, which is no part of the truth.
            if isinstance(pair.truth, StoredTruth):
                files = files[len(files_of_set(pair.truth.shapes)) :]
            if not files:
                return None
            parts.append([pair.name, of_contents(files)])
    except (OSError, ValueError):
        return None
    return fingerprint(parts, size=8)
