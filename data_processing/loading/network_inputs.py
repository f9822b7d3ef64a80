"""What the network is shown of a shape: voxels, a marked point cloud, a one-sided scan, a deformed mask, a picture.

The section `data.input:` of a training config, and the input for a batch of packed rows, made on the device.
Everything random depends on a key of the shape alone (`draws`): the same shape in the same epoch looks the same in any
batch, on any device, in a resumed run. Of a single shape or file, for generation: see single_inputs.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from data_processing.geometry.coordinates import from_fixed, voxel_centres, voxel_index
from data_processing.loading.mask_deformation import DeformationConfig, deform
from data_processing.loading.poses import PoseConfig, mirrored_cells, posed_cells, posed_points, poses
from data_processing.store.bits import bits_at, unpack_bits
from data_processing.store.shards import Layout, refuse_absent
from isofield.runtime.config import to_plain
from isofield.runtime.counter_random import derive_keys, directions, integers, normals, subsets, uniforms
from isofield.runtime.invocation import next_command

Kind = Literal["voxels", "solid", "points", "scan", "deformed", "view"]
CLOUDS = ("points", "scan")
SOLIDS = ("solid", "deformed")
OFFSET_UNIT = 1 << 10  # offsets in a cell as whole numbers: so many to half an edge
USUAL_RESOLUTION = {"view": 128}  # of others 64


@dataclass(frozen=True)
class InputConfig:
    """The `data.input:` section.

    voxels: the stored 64^3, where any voxel of 256^3 is inside (IM-NET's). solid: the stored occupancy of a grid.
    deformed: that, deformed anew in each epoch. points: points of the surface, each marked in the cell that holds it.
    scan: those that one of the stored cameras sees, another camera in each epoch. view: the middle of one of the stored
    pictures, another in each epoch.
    """

    kind: Kind = "voxels"  # see above
    resolution: int = 0  # cells along each edge of the cube; view: pixels. 0: 64, of views 128
    finer: int = 1  # solid, deformed: a cell is the share inside of so many cells along each edge of a finer grid
    points: int = 3000  # points, scan: as many of the stored points at random, others in each epoch; 0: all there are
    fewest: int = 0  # points, scan, in training: from so many up to `points`, fewer the likelier; 0: always `points`
    offsets: bool = False  # points, scan: three more channels say where in its cell the points lie (`mark_offsets`)
    noise: float = 0.0  # points, scan: sigma in cube units, before marking; others: share of the cells that are flipped
    noisy: float = 1.0  # points, scan: share of training's samples with noise, sigmas 0 to `noise`; 1: `noise` in all
    crop: tuple[float, float] = (0.0, 0.0)  # a plane across a random direction cuts off such a share of the extent
    pose: PoseConfig = field(default_factory=PoseConfig)  # in training; the points asked for are posed alike
    deform: DeformationConfig = field(default_factory=DeformationConfig)  # of kind deformed
    view: int = 23  # which of the stored pictures validation and generation show; the last where there are fewer

    def __post_init__(self) -> None:
        low, high = self.crop
        if self.resolution == 0:
            object.__setattr__(self, "resolution", USUAL_RESOLUTION.get(self.kind, 64))
        if self.view < 0 or (self.kind == "view" and (self.noise or high)):
            raise ValueError(
                f"data.input: expected a view from 0 on, shown without noise and crop; got view {self.view}, "
                f"noise {self.noise}, crop [{low}, {high}]"
            )
        if self.kind == "view" and self.pose:
            raise ValueError("data.input.pose: stored pictures are not posed; leave it out of kind: view")
        if self.finer < 1 or (self.finer > 1 and self.kind not in SOLIDS):
            raise ValueError(f"data.input: finer is at least 1, and for solid and deformed alone; got {self.finer}")
        if self.resolution < 2 or self.resolution % 2 or self.points < 0:
            raise ValueError(
                f"data.input: expected an even resolution and a number of points, got {self.resolution}, {self.points}"
            )
        if self.fewest and not (self.kind in CLOUDS and 0 < self.fewest <= self.points):
            raise ValueError(
                f"data.input: fewest is for points and scan alone, from 1 to their number of points; got {self.fewest} "
                f"of {self.points} {self.kind}"
            )
        if self.offsets and self.kind not in CLOUDS:
            raise ValueError(f"data.input: offsets are those of points: for points and scan alone, not {self.kind}")
        if not (self.noise >= 0 and (self.kind in CLOUDS or self.noise < 1)):
            raise ValueError(f"data.input: noise must be a sigma, or of voxels a share below 1; got {self.noise}")
        if not 0 < self.noisy <= 1 or (self.noisy < 1 and not (self.noise and self.kind in CLOUDS)):
            raise ValueError(
                "data.input: noisy is a share above 0 and up to 1, below 1 for points and scan with noise alone; got "
                f"{self.noisy} with noise {self.noise} of kind {self.kind}"
            )
        if not 0 <= low <= high < 1:
            raise ValueError(f"data.input: crop must be a range of shares in [0, 1), got [{low}, {high}]")


def fields_of(section: InputConfig) -> tuple[str, ...]:
    """The fields of a packed row that the input is made of."""
    return {
        "voxels": ("voxels",),
        "solid": (f"grid_{section.resolution * section.finer}",),
        "deformed": (f"grid_{section.resolution * section.finer}",),
        "points": ("surface_points",),
        "scan": ("surface_points", "surface_visible"),
        "view": ("pixels",),
    }[section.kind]


def check_fields(section: InputConfig, layout: Layout, path: Path) -> None:
    """ValueError when a data set does not hold what the input is made of; says what to prepare."""
    if section.kind == "view" and not layout.pictures:
        raise ValueError(
            f"{path} holds no views of its shapes (pixels); render them: "
            f"{next_command('prepare', '--config', 'FILE')}, with "
            "contents: {rendering: {views: 24}} in the data config (configs/data/views.yaml is one)"
        )
    # First whether the fields are there at all, then whether they have the size that is asked for.
    refuse_absent(path, layout, fields_of(section))
    if section.kind == "view" and section.resolution > layout.picture_size:
        raise ValueError(
            f"{path}: data.input wants {section.resolution} pixels of pictures that have {layout.picture_size}"
        )
    if section.kind == "voxels" and section.resolution != layout.voxel_resolution:
        raise ValueError(
            f"{path}: data.input has voxels of {section.resolution}^3, the data set of {layout.voxel_resolution}^3; "
            "of other resolutions there is kind: solid"
        )
    if section.kind in CLOUDS and section.points > layout.surface_points:
        raise ValueError(f"{path}: data.input wants {section.points} points, {layout.surface_points} are stored")


def observe(
    packed: Mapping[str, torch.Tensor], section: InputConfig, keys_B: torch.Tensor, *, fixed: bool = False
) -> torch.Tensor:
    """The input volume (B, 1, R, R, R) float32, 0 or 1, of packed rows (B, ...) on their device; shares of finer cells.

    With offsets (B, 4, R, R, R): the marks, then the offsets along x, y, z.
    Of kind view a picture (B, 1, R, R) float32 in [0, 1], white where nothing is: one at random, or with `fixed` (in
    validation and generation) the view that the section names. With `fixed` no shape is posed.
    """
    if section.kind == "view":
        return _view(packed["pixels"], section, keys_B, fixed=fixed)
    if section.kind in CLOUDS:
        return marked(*seen_points(packed, section, keys_B, fixed=fixed), section)
    # Posed and deformed while cells are as fine as they are stored: an edge then loses a fraction of a cell.
    cells_BRRR = unpack_bits(packed[fields_of(section)[0]]).view(-1, *[section.resolution * section.finer] * 3)
    if section.pose and not fixed:
        moved = posed_cells if section.pose.turn or section.pose.stretch else mirrored_cells
        cells_BRRR = moved(cells_BRRR, pose_of(section, keys_B))
    if section.kind == "deformed":
        cells_BRRR = deform(cells_BRRR, section.deform, derive_keys(keys_B, "deform"))
    kept_BRRR = _kept_cells(cells_BRRR, section, keys_B) if section.crop[1] else None  # of the shape before noise
    if section.noise:
        flipped = uniforms(derive_keys(keys_B, "noise"), cells_BRRR[0].numel()) < section.noise
        cells_BRRR = cells_BRRR ^ flipped.view_as(cells_BRRR)
    if kept_BRRR is not None:
        cells_BRRR = cells_BRRR * kept_BRRR
    # Last the share of finer cells: noise is drawn for each of those.
    return shares(cells_BRRR, section.finer)[:, None]


def shares(cells_BRRR: torch.Tensor, finer: int) -> torch.Tensor:
    """Of each cell of a grid `finer` times coarser the share that is inside: (B, R / finer, ...) float32 in [0, 1]."""
    if finer == 1:
        return cells_BRRR.float()
    for axis in (1, 2, 3):
        cells_BRRR = cells_BRRR.unflatten(axis, (-1, finer)).sum(axis + 1, dtype=torch.int16)
    return cells_BRRR.float() / finer**3


def pose_of(section: InputConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """How shapes are posed where an input with these keys is shown: matrices (B, 3, 3) float64."""
    return poses(section.pose, derive_keys(keys_B, "pose"))


def seen_points(
    packed: Mapping[str, torch.Tensor], section: InputConfig, keys_B: torch.Tensor, *, fixed: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, N, 3) float32 in cube coordinates, and which of them are seen (B, N) bool."""
    stored_BP3 = packed["surface_points"]
    allowed_BP = torch.ones(stored_BP3.shape[:2], dtype=torch.bool, device=stored_BP3.device)
    if section.kind == "scan":
        visible = packed["surface_visible"]  # (B, P, V/8)
        # Eight cameras a byte: one bit for each says whether it sees the point.
        camera_B = integers(derive_keys(keys_B, "camera"), 1, 8 * visible.shape[2])
        allowed_BP = bits_at(visible, camera_B[:, None].expand(-1, visible.shape[1], 1))[..., 0].bool()
    if section.points:
        chosen_BN = subsets(derive_keys(keys_B, "points"), min(section.points, stored_BP3.shape[1]), allowed_BP)
        stored_BP3 = stored_BP3.gather(1, chosen_BN[..., None].expand(-1, -1, 3))
        allowed_BP = allowed_BP.gather(1, chosen_BN)
        if section.fewest and not fixed:
            # They come in random order, those that may be seen first: any first few are a fair draw.
            order_N = torch.arange(chosen_BN.shape[1], device=chosen_BN.device)
            allowed_BP = allowed_BP & (order_N < counts_shown(section, keys_B)[:, None])
    points_BN3 = from_fixed(stored_BP3)
    # Posed before the noise and the crop, which are in the frame that the network is shown.
    if section.pose and not fixed:
        points_BN3 = posed_points(points_BN3, pose_of(section, keys_B))
    if section.noise and (section.noisy == 1 or not fixed):
        noise_BN3 = normals(derive_keys(keys_B, "noise"), points_BN3[0].numel()).view_as(points_BN3)
        points_BN3 = points_BN3 + noise_BN3 * sigmas(section, keys_B)[:, None, None]
    if section.crop[1]:
        x, y, z = directions(derive_keys(keys_B, "direction"), 1).unbind(-1)
        height_BN = points_BN3[..., 0] * x + points_BN3[..., 1] * y + points_BN3[..., 2] * z
        allowed_BP = allowed_BP & (height_BN <= _limit(height_BN, allowed_BP, section, keys_B))
    return points_BN3, allowed_BP


def plain_input(section: InputConfig) -> dict[str, Any]:
    """A section as plain data for fingerprints; what came later counts where it is set, so that older ones stand."""
    plain = to_plain(section)
    if not section.fewest:
        del plain["fewest"]
    if not section.offsets:
        del plain["offsets"]
    if section.noisy == 1:
        del plain["noisy"]
    if not section.pose.mirror:
        del plain["pose"]["mirror"]
    return plain


def counts_shown(section: InputConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """(B,) int64: how many points each shape shows in training, from `fewest` to `points`.

    A uniform number is squared: half of the shapes show less than a quarter of the range above `fewest`.
    """
    share_B = uniforms(derive_keys(keys_B, "count"), 1)[:, 0].double()
    return section.fewest + (share_B * share_B * (section.points - section.fewest + 1)).long()


def sigmas(section: InputConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """(B,) float32: the sigma of each shape's noise in cube units, where noise is shown."""
    if section.noisy == 1:
        return torch.full(keys_B.shape, section.noise, device=keys_B.device)
    # A uniform number beyond the share means none; below it, it says how much.
    return (1 - uniforms(derive_keys(keys_B, "noisy"), 1)[:, 0] / section.noisy).clamp(min=0) * section.noise


def _view(pixels_BVHW: torch.Tensor, section: InputConfig, keys_B: torch.Tensor, *, fixed: bool) -> torch.Tensor:
    """The middle of one picture of each shape (Chen and Zhang 2019: 128 of 137 pixels)."""
    shapes, views, size = pixels_BVHW.shape[:3]
    if fixed:
        view_B = torch.full_like(keys_B, min(section.view, views - 1))
    else:
        view_B = integers(derive_keys(keys_B, "view"), 1, views)[:, 0]
    start = (size - section.resolution) // 2
    middle = slice(start, start + section.resolution)
    rows_B = torch.arange(shapes, device=pixels_BVHW.device)
    return pixels_BVHW[rows_B, view_B][:, None, middle, middle].float() / 255


def marked(points_BN3: torch.Tensor, seen_BN: torch.Tensor, section: InputConfig) -> torch.Tensor:
    """The input volume of clouds as the section has it: (B, 1, R, R, R), or with offsets (B, 4, R, R, R)."""
    marks = mark(points_BN3, seen_BN, section.resolution)
    if not section.offsets:
        return marks
    return torch.cat([marks, mark_offsets(points_BN3, seen_BN, section.resolution)], dim=1)


def mark(points_BN3: torch.Tensor, seen_BN: torch.Tensor, resolution: int) -> torch.Tensor:
    """(B, 1, R, R, R) float32: 1 in every cell that holds a seen point. Points beyond the cube count at its border."""
    x, y, z = voxel_index(points_BN3, resolution).unbind(-1)
    cells = torch.zeros(len(points_BN3), resolution**3, device=points_BN3.device)
    cells.scatter_reduce_(1, (x * resolution + y) * resolution + z, seen_BN.float(), "amax")
    return cells.view(-1, 1, resolution, resolution, resolution)


def mark_offsets(points_BN3: torch.Tensor, seen_BN: torch.Tensor, resolution: int) -> torch.Tensor:
    """(B, 3, R, R, R) float32 in [-1, 1]: the mean offset of a cell's seen points from its centre, in half edges.

    0 where no point is seen. A mark alone says where a surface is to half a cell; a few neighbouring offsets say where
    a plane runs (as voxel features of Zhou and Tuzel 2018, VoxelNet, section 2.1.1, have it). Sums of whole numbers,
    so every device and every order of the points gives the same bits.
    """
    index_BN3 = voxel_index(points_BN3, resolution)
    inside_BN3 = (points_BN3.double() - voxel_centres(index_BN3, resolution, torch.float64)) * (2 * resolution)
    parts_BN3 = (inside_BN3.clamp(-1, 1) * OFFSET_UNIT).round().long() * seen_BN[..., None]
    x, y, z = index_BN3.unbind(-1)
    cell_BN = (x * resolution + y) * resolution + z
    sums = torch.zeros(len(points_BN3), 3, resolution**3, dtype=torch.int64, device=points_BN3.device)
    sums.scatter_add_(2, cell_BN[:, None].expand(-1, 3, -1), parts_BN3.movedim(2, 1))
    counts = torch.zeros(len(points_BN3), resolution**3, dtype=torch.int64, device=points_BN3.device)
    counts.scatter_add_(1, cell_BN, seen_BN.long())
    means = sums.float() / (counts.clamp(min=1)[:, None] * OFFSET_UNIT).float()
    return means.view(-1, 3, resolution, resolution, resolution)


def _kept_cells(cells_BRRR: torch.Tensor, section: InputConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """(B, R, R, R) bool: the cells whose centres are on this side of the plane that cuts a shape off."""
    resolution = cells_BRRR.shape[-1]
    centre_R = voxel_centres(torch.arange(resolution, device=cells_BRRR.device), resolution)
    x, y, z = (axis * centre_R for axis in directions(derive_keys(keys_B, "direction"), 1).unbind(-1))
    height = (x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]).flatten(1)
    limit = _limit(height, cells_BRRR.flatten(1).bool(), section, keys_B)
    return (height <= limit).view_as(cells_BRRR)


def _limit(height_BN: torch.Tensor, there_BN: torch.Tensor, section: InputConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """(B, 1): where along the direction a shape is cut off, so that the drawn share of its extent is beyond."""
    low = torch.where(there_BN, height_BN, torch.inf).amin(1, keepdim=True)
    high = torch.where(there_BN, height_BN, -torch.inf).amax(1, keepdim=True)
    least, most = section.crop
    return high - (high - low) * (least + (most - least) * uniforms(derive_keys(keys_B, "crop"), 1))
