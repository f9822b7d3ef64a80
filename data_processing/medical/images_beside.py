"""Images that lie beside the labels made from them, told apart by where they are and what they are called.

Data sets hold both: imagesTr beside labelsTr (nnU-Net, the Decathlon), ct.nii.gz beside segmentations
(TotalSegmentator), sub-01_T1w beside sub-01_dseg (BIDS), case_t1 beside case_seg (BraTS), case beside case_seg. Nothing
is opened here; grey values that no name gives away are refused where they are read (label_volumes.py).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from data_processing.formats.scans import SCAN_SUFFIXES, scan_stem, scan_suffix

OF_SPLIT = "(tr|ts|va|val|te|test|train)?"
IMAGE_FOLDER = re.compile(f"images?{OF_SPLIT}|imgs?", re.IGNORECASE)
LABEL_FOLDER = re.compile(f"(labels?|masks?|segs?|segmentations?|annotations?){OF_SPLIT}", re.IGNORECASE)
CHANNEL = re.compile(r"(.+)_\d{4}")
LABEL_WORDS = ("seg", "dseg", "mask", "label", "labels", "labelmap", "segmentation", "gt", "msk", "roi", "aseg")
IMAGE_WORDS = (
    "ct", "mr", "mri", "pet", "cbct", "t1", "t1w", "t1ce", "t1c", "t1n", "t1gd", "t2", "t2w", "t2f",
    "flair", "pd", "pdw", "adc", "dwi", "bold", "sbref", "epi", "t2star", "t2starw", "t1map", "t2map",
    "uni", "unit1", "inv1", "inv2", "angio", "swi", "image", "imaging", "img", "orig", "norm",
    "probseg",
)  # fmt: skip
SHOWN = 3


def images_beside(files: Iterable[str], *, organs: bool = False) -> list[str]:
    """Those of some files (paths below a folder, with slashes) that are images beside labels, in their order.

    `organs`: every file of a folder may be an organ, so that ct.nii.gz is an image only where its folder or one below
    holds something that is called a mask or a segmentation.
    """
    # What the names say together: all stems, all folders, and whether any is called a label at all.
    scans = [PurePosixPath(file) for file in files if scan_suffix(file)]
    stems = {path: scan_stem(path.name) for path in scans}
    folders = {folder for path in scans for folder in path.parents}
    known = set(stems.values())
    has_labels = any(_last_word(stem) in LABEL_WORDS for stem in known)
    found = []
    # In turn: a folder of images (nnU-Net's imagesTr), a channel number beside a mask of its name (case_0000), a word
    # behind an underscore (BIDS: sub-1_T1w), a mask that is named after it, and a bare ct.nii.gz beside its organs.
    for path, stem in stems.items():
        channel = CHANNEL.fullmatch(stem)
        if (
            _in_image_folder(path, folders)
            or (channel and channel[1] in known)
            or (has_labels and "_" in stem and _last_word(stem) in IMAGE_WORDS)
            or any(f"{stem}{mark}{word}" in known for mark in "_-." for word in LABEL_WORDS)
            or (stem.lower() in IMAGE_WORDS and _has_others(path, stems, organs=organs))
        ):
            found.append(str(path))
    return found


def left_out(files: Sequence[str], option: str) -> str:
    """A line for what was left out, that names the option which takes it; "" for nothing."""
    if not files:
        return ""
    names = ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    return f"{len(files)} images beside labels left out ({names}; {option} takes what it matches)"


def is_general(pattern: str) -> bool:
    """Whether a pattern takes any file of scans: then names decide which are images."""
    return pattern.replace("*", "").replace("/", "").lower() in ("", ".", ".gz", *SCAN_SUFFIXES)


def _in_image_folder(path: PurePosixPath, folders: set[PurePosixPath]) -> bool:
    """Below a folder such as imagesTr that has one such as labelsTr beside it."""
    return any(
        IMAGE_FOLDER.fullmatch(folder.name)
        and any(LABEL_FOLDER.fullmatch(other.name) for other in folders if other.parent == folder.parent)
        for folder in path.parents
        if folder.name
    )


def _last_word(stem: str) -> str:
    return re.split(r"[_.]", stem)[-1].lower()


def _has_others(path: PurePosixPath, stems: Mapping[PurePosixPath, str], *, organs: bool) -> bool:
    """Whether its folder, or one below, holds something that is not called like an image."""
    others = {other: stem for other, stem in stems.items() if path.parent in other.parents}
    return any(
        stem.lower() not in IMAGE_WORDS
        and (not organs or other.parent != path.parent or _last_word(stem) in LABEL_WORDS)
        for other, stem in others.items()
    )
