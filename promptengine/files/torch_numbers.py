"""How many bytes numbers take in torch's storages and dtypes, by the names in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["DTYPES", "STORAGES"]

STORAGES: Final[Mapping[str, int]] = {
    **{f"torch.{name}Storage": 1 for name in ("Byte", "Char", "Bool")},
    **{f"torch.{name}Storage": 2 for name in ("Half", "BFloat16", "Short")},
    **{f"torch.{name}Storage": 4 for name in ("Float", "Int")},
    **{f"torch.{name}Storage": 8 for name in ("Double", "Long", "ComplexFloat")},
    "torch.ComplexDoubleStorage": 16,
    "torch.storage.UntypedStorage": 1,
}
"""Bytes of a number in each kind of storage."""

DTYPES: Final[Mapping[str, int]] = {
    **{f"torch.{name}": 1 for name in ("uint8", "int8", "bool")},
    **{f"torch.float8_{name}": 1 for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")},
    **{f"torch.{name}": 2 for name in ("float16", "bfloat16", "int16", "uint16")},
    **{f"torch.{name}": 4 for name in ("float32", "int32", "uint32")},
    **{f"torch.{name}": 8 for name in ("float64", "int64", "uint64", "complex64")},
    "torch.complex128": 16,
}
"""Bytes of a number of each dtype."""
