"""Organs by the names of files: `kidney_left.nii.gz`, `sub-01_label-kidneyLeft_mask.nii.gz`, `s0001_liver.nii.gz`.

Entities of BIDS say it outright (label-, hemi-, desc-); words such as mask or seg at the end say what a file is, not of
what. Names are compared as words, so that left kidney, kidney_left and kidneyLeft are one.
"""

import functools
import re
from collections.abc import Iterable

from isofield.runtime.name_words import words_of

MASK_WORDS = ("mask", "seg", "dseg", "segmentation", "label", "labels", "labelmap", "msk", "roi", "gt", "recon", "pred")
SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}


def name_key(name: str) -> str:
    """Of equal organs: the words of the name in alphabetical order, whatever joins them, camel case included."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(sorted(word.lower() for word in words_of(parted)))


def organ_of_stem(stem: str, known: Iterable[str], *, anywhere: bool = False) -> str:
    """The organ that the name of a file says, as it is spelt in `known`; "" where it says none of them.

    The whole stem, with or without a word for masks at its end, or the entities of BIDS. `anywhere`: also the words at
    its end, behind a subject (`s0001_liver`).
    """
    by_key, joined = _index(tuple(known))
    for candidate in _candidates(stem, anywhere):
        key = name_key(candidate)
        found = by_key.get(key) or joined.get(_letters(candidate))
        if found:
            return found
    return ""


@functools.lru_cache(maxsize=64)
def _index(known: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Names by their key, and by their letters run together."""
    by_key = {name_key(name): name for name in reversed(known)}  # of two spellings the first
    joined = {key.replace(" ", ""): name for key, name in by_key.items()}
    return by_key, joined | {_letters(name): name for name in by_key.values()}


def _letters(name: str) -> str:
    return "".join(words_of(name)).lower()


def entity_organ(stem: str) -> str:
    """What the entities of BIDS in a name say, a side before it; "" where there is no entity label-."""
    entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
    label, side = entities.get("label", ""), SIDES.get(entities.get("hemi", "").lower(), "")
    if label.lower() in SIDES:  # label-L: a side alone, of what desc- says
        label, side = entities.get("desc", ""), SIDES[label.lower()]
    return f"{side} {label}".strip() if label else ""


def _candidates(stem: str, anywhere: bool) -> list[str]:
    words = re.split(r"[_\s]+", stem)
    bare = words
    while len(bare) > 1 and bare[-1].lower() in MASK_WORDS:
        bare = bare[:-1]
    entities = dict(part.split("-", 1) for part in words if "-" in part)
    found = [stem, "_".join(bare), entity_organ(stem)]
    if "sub" in entities:
        found.append(entities.get("desc", ""))
    if anywhere:
        found += ["_".join(bare[start:]) for start in range(1, len(bare))]
    return [candidate for candidate in found if candidate]
