"""Shapes that nobody has to licence: `python -m tests.tools.procedural OUT [--beside FURNITURE]`.

Chairs, tables, shelves, cabinets, lamps, vases, sofas, beds, racks and heaps of simple solids, put together from closed
parts (boxes, tapered and bent boards, rods, turned shells, cushions) whose sizes are drawn. They hold what small
collections of real furniture have too little of: thin parts of every thickness in every place. y is up. A shape and its
bytes follow from seed and number alone. Public domain (CC0): they are numbers.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import trimesh
from numpy.random import Generator

from data_processing.store.splits import SplitConfig, split_names
from isofield.runtime.seeds import numpy_generator
from tests.tools.procedural_parts import Part, board, box, cushion, rod, thickness, tilted, turned


def legs(draw: Generator, width: float, depth: float, top: float) -> list[Part]:
    """Four legs, a pedestal, two frames or a star, below a top."""
    kind, thick = draw.integers(5), thickness(draw, 0.05)
    inset = draw.uniform(0.0, 0.12)
    spots = [(x * (width / 2 - inset), z * (depth / 2 - inset)) for x in (-1, 1) for z in (-1, 1)]
    splay, taper = draw.choice([0.0, draw.uniform(-0.08, 0.12)]), draw.uniform(0.5, 1.0)
    sides = int(draw.choice([4, 16]))
    parts = []
    if kind == 0:  # a pedestal
        parts.append(rod([0, 0, 0], [0, top, 0], draw.uniform(0.02, 0.06)))
        if draw.random() < 0.5:
            parts.append(turned(np.array([0.3, 0.3]) * width, np.array([0, thick]), 0, solid=True))
        else:
            for angle in np.arange(count := int(draw.integers(3, 6))) * 2 * np.pi / count:
                parts.append(
                    rod([0, 0.06, 0], [0.3 * np.cos(angle), 0, 0.3 * np.sin(angle)], thick / 2 + 0.004, sides=sides)
                )
        return parts
    if kind == 1:  # boards at the ends
        return [box([x * (width / 2 - inset), top / 2, 0], [thick, top, depth * 0.9]) for x in (-1, 1)]
    for x, z in spots:
        foot = [x * (1 + splay / width * 2), 0, z * (1 + splay / depth * 2)]
        parts.append(rod(foot, [x, top, z], thick / 2 * taper + 0.002, thick / 2 + 0.002, sides=sides))
    if kind == 2:  # rails between them
        height, rail = draw.uniform(0.1, 0.8) * top, thickness(draw, 0.03) / 2 + 0.002
        for (x0, z0), (x1, z1) in (
            (spots[0], spots[1]),
            (spots[2], spots[3]),
            (spots[0], spots[2]),
            (spots[1], spots[3]),
        ):
            if draw.random() < 0.7:
                parts.append(rod([x0, height, z0], [x1, height, z1], rail, sides=sides))
    if kind == 3:  # aprons
        deep, apron = draw.uniform(0.04, 0.12), thickness(draw, 0.03)
        parts += [box([0, top - deep / 2, z * (depth / 2 - inset)], [width - 2 * inset, deep, apron]) for z in (-1, 1)]
        parts += [box([x * (width / 2 - inset), top - deep / 2, 0], [apron, deep, depth - 2 * inset]) for x in (-1, 1)]
    return parts


def slats(draw: Generator, width: float, height: float, *, depth: float = 0.0) -> list[Part]:
    """A plane of bars, boards or a frame in xy, its middle at the origin: backs, sides, grids."""
    thick, kind = thickness(draw, 0.04), draw.integers(5)
    bar, count = thickness(draw, 0.06) + 0.003, int(draw.integers(2, 9))
    if kind == 0:
        return [board(width, height, thick, draw.choice([0.0, draw.uniform(0, 0.12)]))]
    if kind == 1:
        return [box([x, 0, 0], [bar, height, thick]) for x in np.linspace(-0.5, 0.5, count) * (width - bar)]
    if kind == 2:
        return [box([0, y, 0], [width, bar, thick]) for y in np.linspace(-0.5, 0.5, count) * (height - bar)]
    if kind == 3:
        round_bars = [
            rod([x, -height / 2, 0], [x, height / 2, 0], thick / 2 + 0.002)
            for x in np.linspace(-0.5, 0.5, count) * width
        ]
        return [*round_bars, rod([-width / 2, height / 2, 0], [width / 2, height / 2, 0], thick / 2 + 0.006)]
    frame = [box([x * (width - bar) / 2, 0, 0], [bar, height, thick]) for x in (-1, 1)]
    frame += [box([0, y * (height - bar) / 2, 0], [width, bar, thick]) for y in (-1, 1)]
    if draw.random() < 0.6:
        frame.append(box([0, 0, 0], [width - bar, height - bar, thickness(draw, 0.02)]))
    return frame


def table(draw: Generator) -> list[Part]:
    """A top, legs, perhaps a shelf."""
    width, depth, top = draw.uniform(0.5, 1.2), draw.uniform(0.4, 0.9), draw.uniform(0.25, 0.8)
    thick = thickness(draw)
    if draw.random() < 0.3:
        plate = turned(np.array([width, width]) / 2, np.array([top, top + thick]), 0, solid=True, sides=48)
    else:
        plate = box([0, top + thick / 2, 0], [width, thick, depth])
    parts = [plate, *legs(draw, width * 0.85, depth * 0.85, top)]
    if draw.random() < 0.3:
        parts.append(box([0, top * draw.uniform(0.15, 0.6), 0], [width * 0.75, thickness(draw, 0.03), depth * 0.75]))
    return parts


def chair(draw: Generator) -> list[Part]:
    """Seat, legs, back, perhaps arms."""
    width, depth, seat = draw.uniform(0.35, 0.6), draw.uniform(0.35, 0.6), draw.uniform(0.25, 0.5)
    thick, high = thickness(draw), draw.uniform(0.25, 0.7)
    parts = legs(draw, width, depth, seat)
    if draw.random() < 0.4:
        parts.append(cushion([0, seat + thick / 2 + 0.02, 0], [width, thick + 0.04, depth], draw.uniform(3, 8)))
    elif draw.random() < 0.3:
        parts.append(turned(np.array([width, width]) / 2, np.array([seat, seat + thick]), 0, solid=True))
    else:
        parts.append(box([0, seat + thick / 2, 0], [width, thick, depth]))
    if draw.random() < 0.85:
        lean = -draw.uniform(0, 0.3)
        back = slats(draw, width * draw.uniform(0.7, 1.0), high)
        parts += tilted(
            back, lean, [0, seat + high / 2 * np.cos(lean) + thick / 2, -depth / 2 + high / 2 * np.sin(lean)]
        )
    if draw.random() < 0.35:
        rise, bar = draw.uniform(0.12, 0.28), thickness(draw, 0.04) + 0.004
        for x in (-width / 2, width / 2):
            parts.append(box([x, seat + rise, 0], [bar * draw.uniform(1, 2.5), bar, depth]))
            parts.append(rod([x, seat, depth / 2 - bar], [x, seat + rise, depth / 2 - bar], bar / 2))
    return parts


def shelf(draw: Generator) -> list[Part]:
    """Boards between sides, perhaps a back, dividers, doors."""
    width, height, depth = draw.uniform(0.4, 1.0), draw.uniform(0.5, 1.4), draw.uniform(0.2, 0.5)
    thick, count = thickness(draw, 0.05), int(draw.integers(2, 7))
    parts = [box([0, y, 0], [width, thick, depth]) for y in np.linspace(thick / 2, height - thick / 2, count)]
    if draw.random() < 0.75:
        parts += [box([x * (width - thick) / 2, height / 2, 0], [thick, height, depth]) for x in (-1, 1)]
    else:
        bar = thickness(draw, 0.03) / 2 + 0.003
        parts += [
            rod([x, 0, z], [x, height, z], bar, sides=4)
            for x in (-width / 2, width / 2)
            for z in (-depth / 2, depth / 2)
        ]
    if draw.random() < 0.5:
        parts.append(box([0, height / 2, -depth / 2], [width, height, thickness(draw, 0.02)]))
    if draw.random() < 0.4:
        parts += [
            box([x, height / 2, 0], [thick, height, depth])
            for x in draw.uniform(-0.4, 0.4, draw.integers(1, 3)) * width
        ]
    return parts


def cabinet(draw: Generator) -> list[Part]:
    """A solid body on feet, doors standing out, handles, a top."""
    width, height, depth = draw.uniform(0.4, 1.1), draw.uniform(0.4, 1.2), draw.uniform(0.3, 0.6)
    foot, out = draw.uniform(0.0, 0.2), thickness(draw, 0.03)
    parts = [box([0, foot + height / 2, 0], [width, height, depth])]
    across, down = int(draw.integers(1, 4)), int(draw.integers(1, 5))
    gap = draw.uniform(0.006, 0.03)
    for i in range(across):
        for j in range(down):
            wide, tall = width / across - gap, height / down - gap
            at = [-width / 2 + (i + 0.5) * width / across, foot + (j + 0.5) * height / down, depth / 2 + out / 2]
            parts.append(box(at, [wide, tall, out]))
            if draw.random() < 0.7:
                parts.append(
                    cushion([at[0], at[1], at[2] + out / 2 + 0.012], [draw.uniform(0.02, 0.12), 0.02, 0.03], 4)
                )
    if foot > 0.03:
        parts += legs(draw, width * 0.9, depth * 0.9, foot)
    if draw.random() < 0.5:
        parts.append(box([0, foot + height, 0], [width * 1.06, thickness(draw, 0.05), depth * 1.06]))
    return parts


def lamp(draw: Generator) -> list[Part]:
    """A foot, a pole, a shade with a wall."""
    height, wide = draw.uniform(0.4, 1.4), draw.uniform(0.15, 0.45)
    shade = draw.uniform(0.15, 0.4)
    top_radius = wide / 2 * draw.uniform(0.4, 1.1)
    shape_K = np.linspace(0, 1, 8)
    bulge = draw.choice([0.0, draw.uniform(-0.05, 0.08)])
    radii = wide / 2 + (top_radius - wide / 2) * shape_K + bulge * np.sin(np.pi * shape_K)
    parts = [turned(radii, height - shade + shade * shape_K, thickness(draw, 0.02))]
    pole = thickness(draw, 0.04) / 2 + 0.003
    parts.append(rod([0, 0, 0], [0, height - shade * draw.uniform(0.1, 0.9), 0], pole))
    foot = wide / 2 * draw.uniform(0.4, 1.2)
    if draw.random() < 0.5:
        parts.append(
            turned(np.array([foot, foot * draw.uniform(0.3, 1)]), np.array([0, thickness(draw)]), 0, solid=True)
        )
    elif draw.random() < 0.6:
        body = foot * (0.5 + 0.5 * np.sin(np.linspace(0.2, 2.6 + draw.uniform(-0.4, 0.4), 12)))
        parts.append(turned(body, np.linspace(0, draw.uniform(0.1, 0.5) * height, 12), 0, solid=True))
    else:
        parts += [rod([foot * np.cos(a), 0, foot * np.sin(a)], [0, height * 0.4, 0], pole) for a in (0, 2.1, 4.2)]
    if draw.random() < 0.6:  # what holds the shade
        y = height - shade * 0.1
        parts += [
            rod([0, y, 0], [top_radius * np.cos(a), y, top_radius * np.sin(a)], 0.005, sides=6) for a in (0, 2.1, 4.2)
        ]
        parts.append(rod([0, height - shade, 0], [0, y, 0], pole))
    return parts


def vase(draw: Generator) -> list[Part]:
    """A turned shell with a floor, perhaps handles or stalks."""
    height, places = draw.uniform(0.4, 1.1), np.linspace(0, 1, 24)
    knots = draw.uniform(0.06, 0.35, int(draw.integers(3, 6)))
    radii = np.interp(places, np.linspace(0, 1, len(knots)), knots)
    radii = np.convolve(np.pad(radii, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    wall = thickness(draw, 0.04)
    parts = [turned(radii, places * height, wall)]
    parts.append(turned(np.array([radii[0], radii[0]]), np.array([0, thickness(draw, 0.04)]), 0, solid=True))
    for _ in range(int(draw.choice([0, 0, 3, 6]))):
        angle, out = draw.uniform(0, 2 * np.pi), draw.uniform(0.05, 0.4)
        tip = [out * np.cos(angle), height * draw.uniform(1.1, 1.6), out * np.sin(angle)]
        parts.append(rod([0, 0.05, 0], tip, draw.uniform(0.004, 0.012), sides=8))
        parts.append(cushion(tip, draw.uniform(0.02, 0.15, 3), 2))
    return parts


def sofa(draw: Generator) -> list[Part]:
    """Cushions on a body with arms and a back; feet."""
    width, depth, seat = draw.uniform(0.6, 1.4), draw.uniform(0.45, 0.7), draw.uniform(0.15, 0.3)
    power, foot, arm = draw.uniform(4, 12), draw.uniform(0.0, 0.1), draw.uniform(0.05, 0.2)
    parts = [box([0, foot + seat / 2, 0], [width, seat, depth])]
    count = int(draw.integers(1, 4))
    inner, soft = width - 2 * arm, draw.uniform(0.06, 0.16)
    for i in range(count):
        x = -inner / 2 + (i + 0.5) * inner / count
        parts.append(cushion([x, foot + seat + soft / 2, 0.03], [inner / count * 0.98, soft, depth * 0.9], power))
        if draw.random() < 0.8:
            parts.append(
                cushion([x, foot + seat + soft + 0.14, -depth / 2 + 0.1], [inner / count * 0.96, 0.32, soft], power)
            )
    parts.append(box([0, foot + seat + 0.18, -depth / 2], [width, 0.36, thickness(draw, 0.12) + 0.03]))
    rise = draw.uniform(0.08, 0.25)
    parts += [
        cushion([x * (width - arm) / 2, foot + seat + rise / 2, 0], [arm, rise * 1.3, depth], power) for x in (-1, 1)
    ]
    if foot > 0.03:
        parts += legs(draw, width * 0.9, depth * 0.9, foot)
    return parts


def bed(draw: Generator) -> list[Part]:
    """A mattress in a frame, head and foot of slats."""
    width, length, high = draw.uniform(0.45, 0.9), draw.uniform(0.9, 1.1), draw.uniform(0.12, 0.3)
    soft = draw.uniform(0.05, 0.15)
    parts = [box([0, high - 0.02, 0], [width, thickness(draw, 0.06), length])]
    parts.append(cushion([0, high + soft / 2, 0], [width * 0.97, soft, length * 0.97], draw.uniform(5, 14)))
    for z, rise in ((-length / 2, draw.uniform(0.2, 0.5)), (length / 2, draw.uniform(0.0, 0.3))):
        if rise > 0.05:
            parts += tilted(slats(draw, width, rise + high), 0.0, [0, (rise + high) / 2, z])
    return parts + legs(draw, width, length, high)


def rack(draw: Generator) -> list[Part]:
    """Planes of bars in a box: racks, cribs, cages, ladders."""
    width, height, depth = draw.uniform(0.3, 1.0, 3)
    parts = tilted(slats(draw, width, height), 0.0, [0, height / 2, depth / 2])
    parts += tilted(slats(draw, width, height), 0.0, [0, height / 2, -depth / 2])
    for y in draw.uniform(0, height, draw.integers(1, 4)):
        parts += tilted(slats(draw, width, depth), np.pi / 2, [0, y, 0])
    bar = thickness(draw, 0.04) / 2 + 0.003
    return parts + [
        rod([x, 0, z], [x, height, z], bar) for x in (-width / 2, width / 2) for z in (-depth / 2, depth / 2)
    ]


def heap(draw: Generator) -> list[Part]:
    """Simple solids anywhere, in any pose."""
    parts: list[Part] = []
    for _ in range(int(draw.integers(3, 10))):
        kind, size_3 = draw.integers(5), np.exp(draw.uniform(np.log(0.02), np.log(0.7), 3))
        if kind == 0:
            part = box([0, 0, 0], size_3)
        elif kind == 1:
            part = cushion([0, 0, 0], size_3, draw.uniform(1.2, 8))
        elif kind == 2:
            part = rod(
                [0, 0, 0], [0, size_3[0], 0], size_3[1] / 2, size_3[2] / 2, sides=int(draw.choice([3, 4, 6, 24]))
            )
        elif kind == 3:
            part = board(size_3.max(), np.median(size_3), thickness(draw, 0.04), draw.uniform(0, 0.3))
        else:
            ring = draw.uniform(0.1, 0.35)
            part = trimesh.creation.torus(ring, min(thickness(draw, 0.06), ring / 2) + 0.003, 32, 12)
        part.apply_transform(trimesh.transformations.random_rotation_matrix(draw.random(3)))
        part.apply_translation(draw.uniform(-0.35, 0.35, 3))
        parts.append(part)
    return parts


KINDS: tuple[Callable[[Generator], list[Part]], ...] = (
    table, chair, shelf, cabinet, lamp, vase, sofa, bed, rack, heap, chair, table, shelf, lamp, rack,
)  # fmt: skip


def shape(seed: int, number: int) -> tuple[str, Part]:
    """Name and mesh of one shape: its closed parts beside and in each other."""
    kind = KINDS[number % len(KINDS)]
    draw = numpy_generator(seed, number, "procedural furniture")
    mesh = trimesh.util.concatenate(kind(draw))
    assert isinstance(mesh, Part)
    return f"{kind.__name__}_{number:04d}", mesh


def write_mixed(out: Path, furniture: Path, *, shapes: int, seed: int) -> None:
    """OUT: the training and validation shapes of a folder of furniture, procedural ones that train, and splits.csv.

    The splits of the furniture are those of configs/data/furniture.yaml; its test shapes are not in OUT at all.
    """
    files = sorted(furniture.glob("*/*.ply"))
    names = [file.relative_to(furniture).with_suffix("").as_posix() for file in files]
    of_furniture = split_names(names, [file.parent.name for file in files], SplitConfig(val_share=0.1, seed=0))
    rows = []
    for split in ("train", "val"):
        for index in of_furniture.get(split, ()):
            copy = out / files[index].relative_to(furniture)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[index], copy)
            rows.append((names[index], split))
    rows += [(f"simple/{name}", "train") for name in write_shapes(out, shapes=shapes, seed=seed)]
    with open(out / "splits.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("name", "split"))
        writer.writerows(sorted(rows))
    there = {f"{name}.ply" for name, _ in rows}
    with open(furniture / "credits.csv", encoding="utf-8", newline="") as handle:
        credited = [row for row in csv.DictReader(handle) if row["file"] in there]
    licences = [(row["file"], row["licence"], row["author"]) for row in credited]
    licences += [(f"{name}.ply", "CC0-1.0", "isofield") for name, _ in rows if name.startswith("simple/")]
    with open(out / "credits.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("file", "licence", "author"))
        writer.writerows(licences)


def write_shapes(out: Path, *, shapes: int, seed: int) -> list[str]:
    """OUT/simple/KIND_NUMBER.ply; their names."""
    (out / "simple").mkdir(parents=True, exist_ok=True)
    made = [shape(seed, number) for number in range(shapes)]
    for name, mesh in made:
        mesh.export(out / "simple" / f"{name}.ply")
    return [name for name, _ in made]


def main(argv: Sequence[str] | None = None) -> int:
    """The shapes, alone or beside furniture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--beside", type=Path, metavar="FURNITURE", help="a folder with credits.csv: its training shapes"
    )
    given = parser.parse_args(argv)
    if given.beside:
        write_mixed(given.out, given.beside, shapes=given.shapes, seed=given.seed)
    else:
        write_shapes(given.out, shapes=given.shapes, seed=given.seed)
    print(f"{given.shapes} procedural shapes in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
