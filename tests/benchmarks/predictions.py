"""What one H200 was predicted to need, and which numbers of tests/first_gpu.py miss it by more than a third."""

from typing import Any

MISS = 1 / 3  # of a prediction
# By counting operators, bytes and products, at the rates that a H200 is said to have. Milliseconds of a step.
PREDICTED: dict[str, float] = {
    "product float32, TFLOP/s": 50,
    "product bfloat16, TFLOP/s": 790,
    "copy, TB/s": 4.3,
    "imnet float32": 48,
    "imnet tf32": 9.5,
    "imnet bfloat16": 6.3,
    "ifnet float32": 10,
    "ifnet bfloat16": 6,
    "ifnet bfloat16, six shapes": 33,
    "latent gan, launched": 2.8,
    "latent gan, played back": 0.7,
    "waits of a step": 0,
    "scan conversion, 32 at once": 5,
    "levels, 32 at once": 9,
    "thinning, 32 at once": 112,
}


def compared(numbers: dict[str, Any], *, applies: bool) -> dict[str, Any]:
    """Every number beside its prediction, and which miss it by more than a third; other sizes and devices miss none."""
    rows, missed = {}, []
    for name, found in numbers.items():
        rows[name] = {"found": found}
        if name in PREDICTED:
            value, expected = found["ms"] if isinstance(found, dict) else found, PREDICTED[name]
            rows[name]["predicted"] = expected
            if applies and abs(value - expected) > MISS * expected:
                missed.append(name)
    return {"numbers": rows, "missed by a third": missed}
