"""Arrays from untrusted files: `.npz` and old SMPL pickles, read without running code in them."""

import codecs
import pickle
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError


def read_npz(path: str | Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The named arrays that an `.npz` file holds; other members are not read.

    Raises FileError where the file is missing, is not an `.npz`, is damaged, or holds one of them as Python objects.
    """
    path = require_file(path)
    if not zipfile.is_zipfile(path):
        raise FileError(f"{path}: not an .npz archive (damaged, or another format under that name); export it again.")
    arrays: dict[str, np.ndarray] = {}
    try:
        # Opened here, because np.load leaves its own file open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in filter(names.__contains__, archive.files):
                arrays[name] = _read_member(path, archive, name)
    except FileError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise FileError(f"{path}: damaged .npz archive ({error}); copy or export it again.") from error
    except (MemoryError, Exception) as error:  # damaged headers end in almost any exception
        raise FileError(f"{path}: damaged array header in the .npz archive; copy or export it again.") from error
    return arrays


def require_file(path: str | Path) -> Path:
    """The path, if a file is there. Raises FileError."""
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path}: is a folder where a file was expected; name a file inside it.")
    if not path.exists():
        raise FileError(f"{path}: no such file; check the path.")
    return path


def _read_member(path: Path, archive: Any, name: str) -> np.ndarray:
    try:
        member = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise FileError(
            f'{path}: "{name}" holds pickled Python objects, which are never run; save it as a plain array.'
        ) from error
    if not isinstance(member, np.ndarray):
        raise FileError(f'{path}: "{name}" is not an array; only .npy members can be read.')
    return member


def read_pickle_arrays(path: str | Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The named arrays of an SMPL-style pickle: numpy, chumpy and scipy.sparse values become plain arrays.

    Nothing in the file is run: every class that it names is looked up in a fixed table of inert stand-ins, and any
    other name is refused. Raises FileError.
    """
    path = require_file(path)
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
        if not isinstance(content, Mapping):
            raise FileError(f"{path}: the pickle holds {type(content).__name__}, not a dictionary of arrays.")
        return {name: array for name in names if (array := _as_array(content.get(name))) is not None}
    except _RefusedNameError as error:
        raise FileError(
            f"{path}: the pickle names {error}, which is not an array type; nothing was run. "
            "Use the .npz from the SMPL+H site."
        ) from error
    except FileError:
        raise
    except (MemoryError, RecursionError, Exception) as error:  # damaged opcodes end in almost any exception
        raise FileError(f"{path}: not a readable pickle ({type(error).__name__}: {error}).") from error


class _RefusedNameError(Exception):
    """A class or function outside the table of stand-ins."""


class _Stub:
    """An object of the file, kept as the state that it was saved with."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Chumpy(_Stub):
    """`chumpy.ch.Ch`: the array is under "x"."""


class _ChumpySelect(_Stub):
    """`chumpy.reordering.Select`: flat indices "idxs" into another value "a", then a shape."""


class _Sparse(_Stub):
    """`scipy.sparse` in compressed rows (`csr`) or columns (`csc`)."""

    by_column = True


class _SparseRows(_Sparse):
    by_column = False


class _Array(_Stub):
    """A numpy array: (version, shape, dtype, is_fortran, bytes)."""

    def to_numpy(self) -> np.ndarray:
        _, shape, dtype, is_fortran, data = self.state
        if not isinstance(dtype, _Dtype):
            raise ValueError("array without a number type")
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        flat = np.frombuffer(raw, dtype.to_numpy())
        return flat.reshape(tuple(shape), order="F" if is_fortran else "C")


class _Dtype(_Stub):
    def to_numpy(self) -> np.dtype:
        dtype = np.dtype(str(self.args[0]))
        if dtype.kind not in "biufSU":
            raise ValueError(f"array of type {dtype}, not of numbers")
        order = self.state[1] if self.state else "|"
        return dtype.newbyteorder(">") if order == ">" else dtype


def _reconstruct_array(*_: Any) -> _Array:
    return _Array()


def _reconstruct_object(kind: Any, *_: Any) -> Any:
    return kind()


def _scalar(dtype: Any, data: Any = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, dtype.to_numpy())[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str) -> _Array:
    """The array of a protocol 5 pickle."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", data)
    return array


def _encode(text: str, _: str = "latin1") -> bytes:
    return codecs.encode(text, "latin1")


def _no_bytes() -> bytes:
    """The content of an empty array in older protocols."""
    return b""


class _Marker:
    """Stands for `numpy.ndarray` and `object` where a pickle passes them as arguments."""


_STAND_INS: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): _reconstruct_object,
    ("copyreg", "_reconstructor"): _reconstruct_object,
    **{(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    ("__builtin__", "object"): _Marker,
    ("builtins", "object"): _Marker,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    **{(f"scipy.sparse.{module}", "csc_matrix"): _Sparse for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _SparseRows for module in ("csr", "_csr")},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _RefusedNameError(f"{module}.{name}") from None

    def persistent_load(self, _: Any) -> Any:
        raise _RefusedNameError("an outside object")


def _as_array(value: Any) -> np.ndarray | None:
    """The plain array that a stand-in holds, or None for anything else."""
    if isinstance(value, _Array):
        return value.to_numpy()
    if isinstance(value, _Chumpy):
        return _as_array(value.state["x"])
    if isinstance(value, _ChumpySelect):
        flat, picks = _as_array(value.state["a"]), _as_array(value.state["idxs"])
        shape = value.state.get("preferred_shape")
        if flat is None or picks is None:
            raise ValueError("a chumpy selection without its array")
        picked = flat.ravel()[picks]
        return picked if shape is None else picked.reshape(tuple(int(n) for n in _plain(shape)))
    if isinstance(value, _Sparse):
        return _dense(value)
    if isinstance(value, (str, bytes, int, float, bool, list, tuple)):
        array = np.asarray(value)
        return None if array.dtype.hasobject else array
    return None


def _plain(value: Any) -> Any:
    array = _as_array(value)
    return value if array is None else array.tolist()


def _dense(value: _Sparse) -> np.ndarray:
    state = value.state
    data, indices, indptr = (_as_array(state[key]) for key in ("data", "indices", "indptr"))
    rows, columns = (int(n) for n in _plain(state.get("_shape", state.get("shape"))))
    if data is None or indices is None or indptr is None or rows * columns > 100_000_000:
        raise ValueError("a sparse matrix without its parts")
    counts = np.diff(indptr)
    if len(data) != len(indices) or (counts < 0).any() or counts.sum() != len(data) or indptr[0] != 0:
        raise ValueError("a sparse matrix whose parts do not fit")
    outer = np.repeat(np.arange(len(counts)), counts)
    dense = np.zeros((rows, columns))
    np.add.at(dense, (indices, outer) if value.by_column else (outer, indices), data)
    return dense
