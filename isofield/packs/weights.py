"""Weights as safetensors: a header of names, types and places, then numbers. Nothing in such a file is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch

from isofield import checkpoint
from isofield.packs.manifest import WEIGHTS, parse_manifest, refuse_other_hash, refuse_other_size
from isofield.run_dir import RunDir
from isofield.runtime.fingerprint import sha256_of

Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
TYPES = {*PRECISIONS.values(), torch.int64}  # int64: counts of batch normalisation


def weights_image(weights: Mapping[str, torch.Tensor], precision: Precision) -> bytes:
    """The bytes of a file of these weights, floats in that precision.

    ValueError for numbers that are NaN or infinite, or become so: float16 ends at 65,504.
    """
    tensors = {}
    for name, value in weights.items():
        # A copy each: safetensors refuses tensors that share their memory.
        kept = value.detach().cpu().contiguous().clone()
        if kept.is_floating_point():
            kept = kept.to(PRECISIONS[precision])
            if not torch.isfinite(kept).all():
                largest = value.detach().abs().max().item()
                raise ValueError(
                    f"{name} holds numbers (up to {largest:g}) that {precision} cannot: pack with --precision "
                    f"{'bfloat16 or float32' if precision == 'float16' else 'float32, and look at the training'}"
                )
        tensors[name] = kept
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def weights_of(image: bytes, *, where: Path | str) -> dict[str, torch.Tensor]:
    """The tensors of a file, floats as float32. ValueError when it is cut, lies about itself, or holds NaN."""
    try:
        tensors = safetensors.torch.load(image)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{where}: cut or damaged, not safetensors ({str(error)[:200]})") from error
    weights = {}
    # The file has executed nothing; that its numbers are such as weights are is looked at here.
    for name, value in tensors.items():
        if value.dtype not in TYPES:
            raise ValueError(f"{where}: {name[:80]!a} is of {value.dtype}, expected floats of 16 or 32 bits")
        if not torch.isfinite(value).all():
            raise ValueError(f"{where}: {name[:80]!a} holds NaN or infinite weights")
        weights[name] = value.float() if value.is_floating_point() else value
    return weights


def packed_checkpoint(run: RunDir, which: str, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The weights of a packed run as a checkpoint holds them: `model`, `step`, `planned`.

    `which`: best stands for the only ones that a pack has. ValueError when they are not those of the manifest,
    FileNotFoundError for another checkpoint.
    """
    manifest = parse_manifest(run.pack_file.read_bytes(), where=run.pack_file)
    if which not in ("best", manifest.checkpoint):
        raise FileNotFoundError(
            f"{run.path} is a packed run: it has one checkpoint, '{manifest.checkpoint}', not '{which}'; leave out "
            "--checkpoint"
        )
    # Read once: what is held against the manifest are the very bytes that become tensors.
    file, expected = run.weights_file, manifest.files[WEIGHTS]
    refuse_other_size(file.stat().st_size, expected, where=file)
    image = file.read_bytes()
    refuse_other_hash(sha256_of(image), expected, where=file)
    weights = weights_of(image, where=file)
    if checkpoint.hash_of(weights) != manifest.model_hash:
        raise ValueError(f"{file}: its weights are not those that {run.pack_file.name} names (model_hash)")
    weights = {name: value.to(device) for name, value in weights.items()}
    return {"model": weights, "step": manifest.step, "planned": manifest.planned}
