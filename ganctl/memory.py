"""How memory is asked of the system, where a training asks for the same again and again."""

from __future__ import annotations

import ctypes
import os
import sys

# The numbers of mallopt(3) in glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 32 << 20
"""The largest threshold that glibc takes: larger pieces are mapped anew each time."""


def keep() -> None:
    """Keep freed memory in this process, and have it in huge pages where the system lends them.

    A step frees all that it allocates. Given back to the system, which clears it page by page before it lends it again,
    that costs a training on a CPU about a tenth of its time. To be called before torch is imported; where the C
    library is not glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's own switch for huge pages
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
