"""How many bytes an NVIDIA device moves in a second, by copying within its memory."""

import ctypes
import time
from typing import Any

_TIMES = 20
_ON_DEVICE = 3  # cudaMemcpyDeviceToDevice


class CudaRuntime:
    """CUDA's runtime library, the one that FAISS has loaded.

    Args:
        library: it; None = looked for.

    Raises:
        OSError: it is not there.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library or ctypes.CDLL("libcudart.so.13")

    def bytes_per_s(self, size: int = 1 << 30) -> float:
        """Bytes read and written in a second by copies of ``size`` bytes; the best of some, the first not counted.

        Raises:
            RuntimeError: the device refuses.
        """
        source, target = ctypes.c_void_p(), ctypes.c_void_p()
        for pointer in (source, target):
            self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        try:
            taken = [self._copy_s(target, source, size) for _ in range(_TIMES + 1)]
        finally:
            for pointer in (source, target):
                self._call("cudaFree", pointer)
        return 2 * size / min(taken[1:])

    def _copy_s(self, target: ctypes.c_void_p, source: ctypes.c_void_p, size: int) -> float:
        self._call("cudaDeviceSynchronize")
        started = time.perf_counter()
        self._call("cudaMemcpy", target, source, ctypes.c_size_t(size), ctypes.c_int(_ON_DEVICE))
        self._call("cudaDeviceSynchronize")
        return time.perf_counter() - started

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: CUDA error {status}")
