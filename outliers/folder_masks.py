"""Masks straight out of a folder of labelled scans, without a data set in between."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from data_processing.commandline import say
from data_processing.prepare import DataConfig
from data_processing.scan_masks import read_structure
from data_processing.sources import list_sources
from outliers.cube_masks import CubeMask, cube_mask


def folder_masks(folder: Path, config: DataConfig) -> Iterator[tuple[str, CubeMask]]:
    """Name and mask of every part of every scan, as the run's preparation finds them; what cannot be read is said.

    ValueError when the run was not trained on labelled scans; FileNotFoundError when nothing is there.
    """
    if config.labels is None:
        raise ValueError(f"{folder} is no data set, and the run was not trained on labelled scans: prepare it first")
    settings = dataclasses.replace(config, input=folder)
    for source in list_sources(settings.input, kind="labels", labels=config.labels).sources:
        try:
            yield source.name, cube_mask(read_structure(folder / source.file, source.part, config.labels), settings)
        except (ValueError, OSError) as error:
            say(f"{source.name}: left out: {error}")
