"""The tunable-resistor board: digital potentiometers behind a microcontroller on a serial line."""

from drivers.resistor_board._board import ResistorBoard
from drivers.resistor_board._kind import RESISTOR_BOARD, ResistorBoardSection

__all__ = ["RESISTOR_BOARD", "ResistorBoard", "ResistorBoardSection"]
