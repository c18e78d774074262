"""ngspice in this process, by ctypes: a peer for benchmarks. Nothing of the program uses it."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from typing import Any


class _Vector(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("flags", ctypes.c_short),
        ("real", ctypes.POINTER(ctypes.c_double)),
        ("complex", ctypes.c_void_p),
        ("length", ctypes.c_int),
    ]


class Ngspice:
    """One ngspice; `command` takes what its prompt would. Raises OSError where the library is missing."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("ngspice")
        if name is None:
            raise OSError("libngspice is not installed (Debian: apt-get install libngspice0)")
        self._library = ctypes.CDLL(name)
        pointer, number, flag = ctypes.c_void_p, ctypes.c_int, ctypes.c_bool
        self.said: list[str] = []

        def say(text: bytes, _who: int, _user: Any) -> int:
            self.said.append(text.decode(errors="replace"))
            return 0

        self._callbacks = (
            ctypes.CFUNCTYPE(number, ctypes.c_char_p, number, pointer)(say),
            ctypes.CFUNCTYPE(number, ctypes.c_char_p, number, pointer)(lambda *_: 0),
            ctypes.CFUNCTYPE(number, number, flag, flag, number, pointer)(lambda *_: 0),
            ctypes.CFUNCTYPE(number, pointer, number, number, pointer)(lambda *_: 0),
            ctypes.CFUNCTYPE(number, pointer, number, pointer)(lambda *_: 0),
            ctypes.CFUNCTYPE(number, flag, number, pointer)(lambda *_: 0),
        )
        self._library.ngGet_Vec_Info.restype = ctypes.POINTER(_Vector)
        self._library.ngSpice_Init(*self._callbacks, None)

    def load(self, lines: Sequence[str]) -> None:
        """Take a netlist; the one before is forgotten."""
        array = (ctypes.c_char_p * (len(lines) + 1))(*[line.encode() for line in lines], None)
        self._library.ngSpice_Circ(array)

    def command(self, text: str) -> None:
        """Do what the prompt would."""
        self._library.ngSpice_Command(text.encode())

    def value(self, name: str) -> float:
        """Return the first number of a vector, without a copy of the rest; raises KeyError as `vector` does."""
        found = self._library.ngGet_Vec_Info(name.encode())
        if not found or not found.contents.length:
            raise KeyError(f"{name}: {self.said[-3:]}")
        return float(found.contents.real[0])

    def vector(self, name: str) -> Any:
        """Return a vector of the newest analysis as an array; raises KeyError with what ngspice said last."""
        import numpy as np

        found = self._library.ngGet_Vec_Info(name.encode())
        if not found or not found.contents.length:
            raise KeyError(f"{name}: {self.said[-3:]}")
        return np.ctypeslib.as_array(found.contents.real, (found.contents.length,)).copy()
