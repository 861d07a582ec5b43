"""Array namespaces: numpy and torch through the array API, and what the standard leaves out."""

import numbers
import sys
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from array_api_compat import is_torch_array as is_torch_array

from phaserec._typing import Array as Array
from phaserec._typing import ArrayT as ArrayT

# No array has so many values, and no loop so many turns.
_MOST = 2**63 - 1

_SUPPORTED = ("float32", "float64", "complex64", "complex128")
_HALF = ("float16", "bfloat16")
_SINGLE = ("float32", "complex64", *_HALF)


def namespace(*arrays: Array | None) -> Any:
    """Array API namespace shared by the arrays (``None`` entries are passed over)."""
    given = [a for a in arrays if a is not None]
    if given and all(isinstance(a, np.ndarray) for a in given):
        # Numpy follows the standard itself; the copy of it that is made for older ones takes long.
        return np
    return array_namespace(*given)


def dtype_name(x: Array) -> str:
    """Name of the dtype of an array of any back end, such as ``"float32"``."""
    return str(x.dtype).rpartition(".")[2]


def outlined(x: Array) -> str:
    """What an array is without its numbers, such as ``"float32 (2, 513, 63)"``."""
    place = "" if str(x.device) == "cpu" else f" on {x.device}"
    return f"{dtype_name(x)} {tuple(x.shape)}{place}"


def is_complex(x: Array) -> bool:
    """Whether the array holds complex numbers."""
    return dtype_name(x).startswith("complex")


def as_array(name: str, value: Any) -> Array:
    """Turn an argument into a float or complex array, or say what is wrong with it.

    Numpy arrays and torch tensors pass through; lists, scalars and integer arrays become float64,
    and half precision (float16, bfloat16) float32.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like
        The argument.

    Returns
    -------
    array
        float32, float64, complex64 or complex128.

    Raises
    ------
    ValueError
        If the value is not numeric, has another floating-point type, is masked or sparse.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; give all values, with .filled(0) for example")
    if isinstance(value, np.ndarray):
        value = np.asarray(value)  # the product of a np.matrix is another one
    if not is_array_api_obj(value):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} is not a rectangular array: {error}") from None
    if str(getattr(value, "layout", "torch.strided")) != "torch.strided":
        raise ValueError(f"{name} is a sparse tensor; give all values, with .to_dense()")
    kind = dtype_name(value)
    if kind.startswith(("int", "uint")):
        xp = namespace(value)
        return xp.astype(value, xp.float64)
    if kind in _HALF:
        xp = namespace(value)
        return xp.astype(value, xp.float32)
    if kind not in _SUPPORTED:
        raise ValueError(
            f"{name} has dtype {kind}; allowed are {', '.join(_HALF + _SUPPORTED)} and integers. "
            "Convert it first, for example with .astype('float32')."
        )
    return value


def as_given(x: ArrayT, given: Any) -> ArrayT:
    """Result in half precision where the argument that it is made of was.

    Parameters
    ----------
    x : array
        Real result.
    given : array_like
        The argument, before :func:`as_array`.

    Returns
    -------
    array
        With the dtype of ``given`` if that is float16 or bfloat16, else ``x`` itself.
    """
    half = is_array_api_obj(given) and dtype_name(given) in _HALF
    return namespace(x).astype(x, given.dtype) if half else x


def as_int(name: str, value: Any, low: int, high: int = _MOST) -> int:
    """Return a whole number in a range; a ValueError names the argument otherwise.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        The argument.
    low, high : int
        Smallest and largest value allowed.

    Returns
    -------
    int
        The value.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if is_traced() and type(value).__name__ == "SymInt":
        return value
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not low <= value <= high or int(value) != value:
        most = "2⁶³ − 1" if high == _MOST else high
        span = f"{low} to {most}" if number and value > high else f"{low} or more"
        raise ValueError(f"{name}={value!r} must be an integer, {span}")
    return int(value)


def same_backend(**arrays: Array | None) -> Any:
    """Namespace of the named arrays; a ValueError if they mix libraries or devices.

    Parameters
    ----------
    **arrays : array or None
        Arrays by argument name.

    Returns
    -------
    module
        Array API namespace.
    """
    given = {name: a for name, a in arrays.items() if a is not None}
    try:
        xp = namespace(*given.values())
    except TypeError:
        kinds = ", ".join(f"{name} is {type(a).__name__}" for name, a in given.items())
        raise ValueError(
            f"all arrays must come from one library, but {kinds}; convert with "
            "torch.from_numpy(...) or .numpy()"
        ) from None
    devices = {name: str(a.device) for name, a in given.items()}
    if len(set(devices.values())) > 1:
        where = ", ".join(f"{name} is on {device}" for name, device in devices.items())
        raise ValueError(f"all arrays must be on one device, but {where}")
    return xp


def complex_dtype(xp: Any, x: Array) -> Any:
    """Complex dtype that ``x`` is computed in."""
    return xp.complex64 if dtype_name(x) in _SINGLE else xp.complex128


def real_dtype(xp: Any, x: Array) -> Any:
    """Real dtype that ``x`` is computed in."""
    return xp.float32 if dtype_name(x) in _SINGLE else xp.float64


def like(values: Any, x: ArrayT) -> ArrayT:
    """Numpy values as a real array with the library, device and precision of ``x``."""
    xp = namespace(x)
    return xp.asarray(np.array(values), dtype=real_dtype(xp, x), device=x.device)


def zeros(shape: tuple[int, ...], x: ArrayT) -> ArrayT:
    """Zeros with the library, device and dtype of ``x``, and its batch under torch.func.vmap."""
    made: Any = x.new_zeros(shape) if is_torch_array(x) else np.zeros(shape, x.dtype)
    return made


def add_at(x: ArrayT, index: np.ndarray, values: ArrayT) -> ArrayT:
    """Copy of ``x`` with values added along the last axis, all of those at one place.

    Parameters
    ----------
    x : array, shape (..., n)
        What they are added to.
    index : ndarray of int, shape (m,)
        Place of each value; places may repeat.
    values : array, shape (..., m)
        Values.

    Returns
    -------
    array, shape (..., n)
        Sums.
    """
    total: Any = x
    if is_torch_array(x):
        return total.index_add(-1, namespace(x).asarray(index, device=x.device), values)
    total = total.copy()
    np.add.at(np.moveaxis(total, -1, 0), index, np.moveaxis(np.asarray(values), -1, 0))
    return total


def to_numpy(x: Array) -> np.ndarray:
    """Values of an array as numpy (detached from autograd, copied from its device)."""
    if is_torch_array(x):
        x = x.detach().cpu().resolve_conj().resolve_neg()
    return np.asarray(x)


def is_traced() -> bool:
    """Whether torch records what is done, to compile or to export it: values are not known then."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def holds(condition: Any) -> bool:
    """Whether an array of one truth value is true; taken for true where it is not known."""
    if is_traced():
        return True
    try:
        return bool(condition)
    except RuntimeError as error:
        if "vmap" in str(error):  # each item of torch.func.vmap has another
            return True
        raise


def check_finite(**arrays: Array | None) -> None:
    """Raise ValueError, which names the argument, if one of the arrays is not finite."""
    for name, a in arrays.items():
        if a is not None and not holds(namespace(a).all(namespace(a).isfinite(a))):
            raise ValueError(
                f"{name} holds NaN or infinite values; replace them first, for example with "
                "numpy.nan_to_num"
            )
