"""Numbers as people read and write them: in tables at the terminal, in reports and in files of theirs."""


def short(value: float | None, *, digits: int = 4) -> str:
    """So many digits, a whole number up to ten million, a dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 1e7 else f"{value:.{digits}g}"


def is_number(text: str) -> bool:
    """Whether `float` reads it, infinity and NaN too."""
    try:
        float(text)
    except ValueError:
        return False
    return True
