"""What to do about a shape whose inside is doubtful, or that is none: advice in words for each kind of reason."""

DROPPED = "Training leaves suspect shapes out unless data.suspect=keep."
# By words of the reason, the first that fits.
ADVICE = {
    "winding number and flood fill agree": "Two tests of inside contradict each other: walls are open, doubled, or "
    "cross each other. In the slices red is inside by the winding number alone, blue by the flood fill alone. Where "
    "one of them is right, name it (inside.method=winding or inside.method=shell); else close and orient the mesh.",
    "the winding number explains": "Faces point either way or walls are single sheets, so the flood fill was taken. It "
    "leaks through holes wider than a cell of inside.closing_resolution: lower that, or close the mesh.",
    "neither winding number nor flood fill": "Only sheets: nothing is enclosed, so each sheet was made a voxel thick. "
    "Give the mesh walls, or leave it out (exclude:).",
    "flood fill finds no interior": "Nothing is enclosed: holes are wider than a cell of inside.closing_resolution. "
    "Lower that, close the mesh, or take inside.method=auto.",
    "thinner than a voxel": "Most of what the network sees is a skin of one voxel: take finer voxels (contents.voxels, "
    "resolution), or inside.thin=drop where such parts do not matter.",
    "one side only": "Parts like a Moebius strip have no inside: split or remove them.",
    "inner shells": "Whether inner shells are cavities or solids is a guess: inside.cavities=fill makes everything "
    "enclosed solid; else orient the faces of the inner shells.",
    "partial": "The border of the scan cuts it off: it is in a split of its own. labels.keep_partial keeps it in "
    "training.",
    "left and right cannot be told": "A left organ may be learnt as the right one. Write the scan again with its "
    "orientation (of NIfTI the sform, of NRRD space and space directions), then prepare again.",
}
FAILED = "It is not in the data set. Mend or remove the file (exclude:), then prepare again with retry_failed=true."
ABSENT = "The scan does not have this structure."
OTHER = "Look at it beside its source before you train on it."


def advice_for(status: str, quality: str) -> str:
    """A sentence or two; empty where nothing is doubtful."""
    if status in ("failed", "absent"):
        return FAILED if status == "failed" else ABSENT
    if quality in ("ok", ""):
        return ""
    advice = next((text for words, text in ADVICE.items() if words in quality), OTHER)
    return advice if quality.startswith("partial") else f"{advice} {DROPPED}"
