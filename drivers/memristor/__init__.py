"""Memristors behind a programmer on a serial line: conductances by program-and-verify."""

from drivers.memristor._kind import MEMRISTOR_BOARD, MemristorSection
from drivers.memristor._programmer import MemristorBoard, MemristorSettings

__all__ = ["MEMRISTOR_BOARD", "MemristorBoard", "MemristorSection", "MemristorSettings"]
