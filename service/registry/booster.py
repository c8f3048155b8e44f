"""The booster: LightGBM's C library, called directly, one thread and one row at a time.

`lightgbm.Booster.predict` costs 200 µs for one row and keeps a thread pool; the library's prepared call
costs what the trees cost. The package itself is not imported (it pulls in scikit-learn, if that is
there, and takes a second): only its shared library is loaded.

Two ways into the same library: `_HELD` keeps Python's lock during the call, right for the few
microseconds of one row, because giving the lock up costs more than that; `_FREE` lets other threads
run, right for whole batches, explanations and loading.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.errors import BadArtifact, OperatorError

Column = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_FLOAT64: Final = 1
_ROW_MAJOR: Final = 1
_RAW_SCORE: Final = 1
_CONTRIBUTIONS: Final = 3
_ALL_TREES: Final = -1
_PARAMETERS: Final = ctypes.c_char_p(b"num_threads=1 verbosity=-1")


def _library() -> str:
    spec = find_spec("lightgbm")
    if spec is None or not spec.submodule_search_locations:
        raise OperatorError("LightGBM is not installed: pip install lightgbm")
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    path = Path(spec.submodule_search_locations[0]) / "lib" / f"lib_lightgbm{suffix}"
    if not path.is_file():
        raise OperatorError(f"LightGBM's library is not where its wheels keep it: {path}")
    return str(path)


_PATH: Final = _library()
_FREE: Final = ctypes.CDLL(_PATH)
_HELD: Final = ctypes.PyDLL(_PATH)
_FREE.LGBM_GetLastError.restype = ctypes.c_char_p
_PREDICT_ONE: Final = _HELD.LGBM_BoosterPredictForMatSingleRowFast
_EXPLAIN_ONE: Final = _FREE.LGBM_BoosterPredictForMatSingleRowFast

_BOUND: Final = threading.Lock()
_HANDLES: Final[dict[int, str]] = {}


class Handles(NamedTuple):
    """What this process holds inside LightGBM."""

    boosters: int
    prepared: int


def handles() -> Handles:
    """Return how many boosters and prepared calls are held now; a version that was let go leaves none."""
    kinds = list(_HANDLES.values())
    return Handles(kinds.count("booster"), kinds.count("prepared"))


def _release(kind: str, address: int) -> None:
    del _HANDLES[address]
    free = _HELD.LGBM_BoosterFree if kind == "booster" else _HELD.LGBM_FastConfigFree
    free(ctypes.c_void_p(address))


def _owned(owner: object, kind: str, handle: ctypes.c_void_p) -> None:
    """Free a handle when its owner goes; at exit the process frees everything anyway."""
    address = handle.value
    assert address is not None
    _HANDLES[address] = kind
    weakref.finalize(owner, _release, kind, address).atexit = False


def _checked(status: int) -> None:
    if status:
        raise BadArtifact(f"LightGBM: {_FREE.LGBM_GetLastError().decode(errors='replace')}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep LightGBM from starting a thread per core; the bound is the process's, so it is put back after."""
    threads = ctypes.c_int()
    with _BOUND:
        _checked(_FREE.LGBM_GetMaxThreads(ctypes.byref(threads)))
        _checked(_FREE.LGBM_SetMaxThreads(1))
        try:
            yield
        finally:
            _FREE.LGBM_SetMaxThreads(threads)


class _Loaded:
    """A model inside LightGBM; freed when the last user lets go."""

    __slots__ = ("__weakref__", "handle", "trees")

    def __init__(self, model_text: bytes) -> None:
        self.handle = ctypes.c_void_p()
        trees = ctypes.c_int()
        text = ctypes.c_char_p(model_text)
        with _one_thread():
            _checked(_FREE.LGBM_BoosterLoadModelFromString(text, ctypes.byref(trees), ctypes.byref(self.handle)))
        _owned(self, "booster", self.handle)
        self.trees = trees.value


class _Prepared:
    """LightGBM's prepared call for one row, with its buffers; for one thread, because they are changed."""

    __slots__ = ("__weakref__", "handle", "length", "loaded", "out", "result")

    def __init__(self, loaded: _Loaded, predict_type: int, columns: int, results: int) -> None:
        self.loaded = loaded  # keeps the model for as long as this lives
        self.handle = ctypes.c_void_p()
        out = ctypes.byref(self.handle)
        with _one_thread():
            _checked(
                _FREE.LGBM_BoosterPredictForMatSingleRowFastInit(
                    loaded.handle, predict_type, 0, _ALL_TREES, _FLOAT64, columns, _PARAMETERS, out
                )
            )
        _owned(self, "prepared", self.handle)
        self.out = (ctypes.c_double * results)()
        self.result = ctypes.byref(self.out)
        self.length = ctypes.byref(ctypes.c_int64())


class Booster:
    """A loaded LightGBM model with one output. Thread-safe; every thread prepares its own calls at its first.

    What LightGBM holds for it is freed when the last reference goes, and for a thread when that ends.
    """

    def __init__(self, model_text: bytes) -> None:
        """Load a model from LightGBM's text. Raises BadArtifact when it is not one, or cut short."""
        head, _, body = model_text.partition(b"\n\n")
        header = dict(line.split(b"=", 1) for line in head.split(b"\n") if b"=" in line)
        if b"\nend of trees\n" not in body:
            raise BadArtifact("model.txt is not a whole LightGBM model")
        if header.get(b"num_tree_per_iteration") != b"1":
            raise BadArtifact("model.txt does not have exactly one output")
        self.names = tuple(header.get(b"feature_names", b"").decode(errors="replace").split())
        """Names of the columns, in the order of the row."""
        # With the sizes of the trees LightGBM parses them in an OpenMP loop, and an error in there ends the
        # process instead of returning; without them it stops at the first odd line, so the trees are counted.
        sizes = header.get(b"tree_sizes", b"")
        self._loaded = _Loaded(model_text.replace(b"\ntree_sizes=" + sizes + b"\n", b"\n", 1))
        self.trees = self._loaded.trees
        if self.trees != len(sizes.split()):
            raise BadArtifact(f"model.txt has {self.trees} readable trees, and states {len(sizes.split())}")
        self._pack = Struct(f"{len(self.names)}d").pack
        self._threads = threading.local()

    def raw_score(self, row: Sequence[float]) -> float:
        """Return the sum of the trees (log-odds) for one row; NaN is LightGBM's "missing".

        Raises struct.error when the row has another length than the model. Cost: the trees (300 of 31
        leaves: 5 µs when rows resemble each other, 16 µs when they do not), 1 µs around them, of which
        0.4 µs is packing 55 floats; 0.4 ms more for the first row of a thread.
        """
        try:
            prepared: _Prepared = self._threads.raw
        except AttributeError:
            prepared = self._threads.raw = _Prepared(self._loaded, _RAW_SCORE, len(self.names), 1)
        if _PREDICT_ONE(prepared.handle, self._pack(*row), prepared.length, prepared.result):
            _checked(-1)
        return prepared.out[0]

    def raw_scores(self, rows: Matrix) -> Column:
        """Return `raw_score` of each row of a matrix, with the same bits. Cost: 10 µs and the trees."""
        matrix = np.ascontiguousarray(rows, dtype=np.float64)
        count, columns = matrix.shape
        assert columns == len(self.names)
        result = np.empty(count)
        if count:
            _checked(
                _FREE.LGBM_BoosterPredictForMat(
                    self._loaded.handle,
                    ctypes.c_void_p(matrix.ctypes.data),
                    _FLOAT64,
                    count,
                    columns,
                    _ROW_MAJOR,
                    _RAW_SCORE,
                    0,
                    _ALL_TREES,
                    _PARAMETERS,
                    ctypes.byref(ctypes.c_int64()),
                    ctypes.c_void_p(result.ctypes.data),
                )
            )
        return result

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return what each feature adds to the raw score (Shapley values), and last what holds without any.

        Cost: 0.3 ms for 100 trees of 31 leaves, 2.4 ms for 300; other threads run meanwhile.
        """
        try:
            prepared: _Prepared = self._threads.contributions
        except AttributeError:
            columns = len(self.names)
            prepared = self._threads.contributions = _Prepared(self._loaded, _CONTRIBUTIONS, columns, columns + 1)
        if _EXPLAIN_ONE(prepared.handle, self._pack(*row), prepared.length, prepared.result):
            _checked(-1)
        return prepared.out[:]
