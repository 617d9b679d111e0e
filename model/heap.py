"""What training frees stays with the process, and is taken again without the kernel's help.

glibc gives blocks as large as an item table back to the kernel, which hands out zeroed pages one by
one when the next step takes as much: a third of the step of a sampled softmax.
"""

import ctypes

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Blocks above are rare, and large enough to be given back.
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; False where another library allocates, which is left alone.

    There is no way back, so only processes should ask that end with their training.
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    if setting is None:
        return False
    return all(setting(name, KEPT_BYTES) for name in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
