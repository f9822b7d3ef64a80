"""The surface of one shape that a model was shown, or of a code: by what settings, in how many poses, corrected how."""

import dataclasses
import functools
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed
from data_processing.medical.masks import mask_on_scan
from isofield.contract import Model
from isofield.extraction.isosurface import Extraction, extract
from isofield.extraction.lattice import Field, evaluate_field, field_of
from isofield.generation.enclosed_space import fill_enclosed
from isofield.generation.islands import without_islands
from isofield.generation.out_of_distribution import InputCalibration, InputScore, measure_input
from isofield.generation.posed_inputs import averaged_field, encode_poses, poses_of
from isofield.generation.simplification import refuse_few
from isofield.generation.test_time_fitting import fitted_code

MASK_MARGIN = 2.0  # samples beyond the mesh within which voxels of a scan are asked


@dataclass(frozen=True)
class GenerationConfig:
    """What decides how a mesh comes out; a mesh made with other settings is made again."""

    model_hash: str
    resolution: int
    frame: int
    refine_steps: int
    suffix: str
    iso_level: float
    with_input: bool = False  # write the input as the network saw it beside the mesh
    fit_steps: int = 0  # the encoder is tuned on each input
    fit_rate: float = 1e-4
    faces: int | None = None  # at most so many in each mesh; None: all that it has
    input_points: int | None = None  # points that are shown of each cloud; None: as in training
    # What shown points say of the surface: pieces that none is near left out, torn space that they enclose filled.
    islands: Literal["drop", "drop and fill"] | None = None
    poses: int | None = None  # in which each input is shown, the fields averaged; None: as it stands
    input_calibration: str | None = None  # its fingerprint, where inputs are compared with those of training

    def __post_init__(self) -> None:
        if self.fit_steps < 0 or not 0 < self.fit_rate < float("inf"):
            got = f"got {self.fit_steps} at {self.fit_rate}"
            raise ValueError(f"--fit-steps: expected no negative steps of fitting, at a positive --fit-rate; {got}")
        if self.resolution < 2 or self.frame < 1 or self.refine_steps < 0:
            raise ValueError(
                f"expected a --resolution of at least 2, a --frame of at least 1, no negative --refine; got "
                f"{self.resolution}, {self.frame}, {self.refine_steps}"
            )
        if self.poses is not None and self.fit_steps:
            raise ValueError("--poses: an encoder is fitted to an input as it stands; leave out --poses or --fit-steps")
        refuse_few(self.faces)

    def made_with(self) -> dict[str, Any]:
        """What a mesh is made with, for its fingerprint; what came later counts where it is set: older meshes stand."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Coded:
    """A shape given by its code instead of an input; `to_world` and `scan` as of `Observed`.

    `points_N3`: what was shown of it, in the cube, where islands are to be told by that.
    """

    code: Any
    to_world: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.eye(4))
    scan: ScanGrid | None = None
    points_N3: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class ModelSurface:
    """What a model makes of an input or a code: the mesh in cube coordinates, the field that it is the surface of."""

    extraction: Extraction
    field: Field
    to_world: NDArray[np.float64]  # 4x4, cube -> frame of the input
    fitting: dict[str, float]  # losses before and after fitting; empty without
    input_score: InputScore | None = None  # of an input, where the run says what is usual
    note: str = ""  # what was filled, and what was left out of the mesh

    @property
    def mesh(self) -> TriangleMesh:
        """In the cube."""
        return self.extraction.mesh


def surface_of(
    model: Model,
    given: Observed | Coded,
    settings: GenerationConfig,
    *,
    name: str,
    batch_points: int,
    device: torch.device,
    unfinished: str = "",
    usual: InputCalibration | None = None,
    section: InputConfig | None = None,
) -> ModelSurface:
    """The surface of one shape. `name` keys the draws of fitting. ValueError when the field has no surface.

    `section`: the input that the run is shown, where settings ask for several poses of it.

    `unfinished`: what is to be said of a model whose training did not come to its end. `usual`: what inputs are
    compared with; a code that is given alone is not.
    """
    code, fitting = _code_of(model, given, settings, name=name, device=device)
    field = field_of(model, code)
    if settings.poses is not None and section is not None and not isinstance(given, Coded):
        poses = poses_of(section, settings.poses)
        others = encode_poses(model, given.inputs, points_of(given), section, poses[1:], device=device)
        field = averaged_field(model, [code, *others], poses)
    # Of a scan a mask is made as well, out of the field as it is: the mesh is not to differ from it.
    points_N3 = points_of(given) if settings.islands and given.scan is None else None
    torn, filled = field, ""
    if points_N3 is not None and settings.islands == "drop and fill":
        level = settings.iso_level
        field, filled = fill_enclosed(field, points_N3, iso_level=level, batch_points=batch_points, device=device)
    draw = functools.partial(
        extract,
        iso_level=settings.iso_level,
        resolution=settings.resolution,
        frame=settings.frame,
        refine_steps=settings.refine_steps,
        batch_points=batch_points,
        device=device,
    )
    extraction = draw(field)
    if len(extraction.mesh.faces) == 0:
        reason = f"the field crosses {settings.iso_level} nowhere at {settings.resolution}^3: no surface"
        raise ValueError(f"{reason} yet: {unfinished}" if unfinished else reason)
    score = None
    if usual is not None and not isinstance(given, Coded):
        # The encoder as it was trained: what was fitted to this very input finds it usual.
        own = _encoded(model, given, device) if fitting else code
        about = (own, field_of(model, own), (draw(torn) if filled else extraction).mesh)  # as held-out shapes were
        values, points = measure_input(usual.distance, usual.parts, given, *about, iso_level=settings.iso_level)
        score = usual.judge(values, points)
    left_out = ""
    if points_N3 is not None:
        mesh, left_out = without_islands(extraction.mesh, points_N3)
        extraction = dataclasses.replace(extraction, mesh=mesh)
    note = "; ".join(filter(None, (filled, left_out)))
    return ModelSurface(extraction, field, given.to_world, fitting, score, note)


def points_of(given: Observed | Coded) -> NDArray[np.floating] | None:
    """The points (N, 3) that the network was shown, in the cube; None of what is no cloud."""
    if isinstance(given, Coded):
        return given.points_N3
    shown = given.shown()
    return shown.points_N3 if isinstance(shown, PointCloud) else None


def mask_of_surface(
    surface: ModelSurface, scan: ScanGrid, settings: GenerationConfig, *, batch_points: int, device: torch.device
) -> NDArray[np.uint8]:
    """The field at the scan's own voxel centres, 0/1 of `scan.shape`: nothing is asked far from the mesh."""
    lower, upper = surface.mesh.bounds()
    margin = MASK_MARGIN / settings.resolution
    return mask_on_scan(
        functools.partial(evaluate_field, surface.field, batch_points=batch_points),
        iso_level=settings.iso_level,
        to_world=surface.to_world,
        scan=scan,
        device=device,
        box=(lower - margin, upper + margin),
    )


def _code_of(
    model: Model, given: Observed | Coded, settings: GenerationConfig, *, name: str, device: torch.device
) -> tuple[Any, dict[str, float]]:
    """The code of a shape: its own, that of its input, or that of an encoder fitted to it, then with the losses."""
    if isinstance(given, Coded):
        return given.code, {}
    if settings.fit_steps:
        steps, rate = settings.fit_steps, settings.fit_rate
        return fitted_code(model, given, name=name, steps=steps, rate=rate, device=device)
    return _encoded(model, given, device), {}


def _encoded(model: Model, given: Observed, device: torch.device) -> Any:
    with torch.no_grad():
        return model.encode(given.inputs[None].to(device))
