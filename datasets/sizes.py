"""The largest dataset, and sizes as text. Imports nothing, so that command lines can read it at once."""

from __future__ import annotations

PART_ROWS = 1 << 20
"""Rows of a part file, except the last one."""

LARGEST_ROWS = 10**5 * PART_ROWS
"""Rows of the largest dataset: `datasets.cache` numbers the part files with five digits."""


def show_size(n_bytes: float) -> str:
    """Return a number of bytes as text: 17 TB, 1.5 GB, 640 MB."""
    for unit, power in (("PB", 5), ("TB", 4), ("GB", 3), ("MB", 2)):
        if n_bytes >= 1000**power:
            number = n_bytes / 1000**power
            return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    return f"{n_bytes / 1000:.0f} kB"
