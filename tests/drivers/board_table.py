"""A virtual resistor board with all its elements wired to a world, and the driver at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from drivers.resistor_board import ResistorBoard
from drivers.resistor_board._board import BoardSettings
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network
from simulated_bench.circuit import Connection
from simulated_bench.servers import Wires
from simulated_bench.servers.firmware_board import FirmwareBoard
from simulated_bench.servers.resistor_board import Bank, VirtualResistorBoard
from simulated_bench.world import World

BANKS = (Bank("MCP4251", 2, end_to_end=10_000, wiper=75), Bank("AD5206", 1, end_to_end=100_000, wiper=50))
TIMEOUT = 0.1  # s


def world_of(n_elements: int) -> World:
    resistors = tuple(
        Branch(f"r{number}", "a", "ground", ELEMENTS["resistor"], (1e-3,), tunable=True) for number in range(n_elements)
    )
    return World(Network(("a",), resistors), {"s": Connection(0, -1, "voltage")}, np.random.default_rng(0))


class Table:
    """A virtual board with all its elements wired, and the driver at it."""

    def __init__(
        self,
        banks: tuple[Bank, ...] = BANKS,
        *,
        line: int = 0,
        of: type[VirtualResistorBoard | FirmwareBoard] = VirtualResistorBoard,
        timeout: float = TIMEOUT,
        **options: object,
    ) -> None:
        self.timeout = timeout
        self.n_elements = sum(bank.channels for bank in banks)
        self.world = world_of(self.n_elements)
        wires = Wires(tunes={str(number): f"r{number}" for number in range(self.n_elements)})
        self.board = of("board", self.world, wires, banks=banks, **options)  # type: ignore[arg-type]
        self.resources = self.board.start()
        self.resource = self.resources[line]

    def open(self, elements: list[int] | None = None, **settings: object) -> ResistorBoard:
        names = [str(number) for number in (range(self.n_elements) if elements is None else elements)]
        wanted = {"resource": self.resource, "timeout": self.timeout, "boot_wait": 3 * self.timeout} | settings
        return ResistorBoard("wipers", BoardSettings(**wanted), names)  # type: ignore[arg-type]

    def true(self) -> np.ndarray:
        return np.array([self.world.conductance(f"r{number}") for number in range(self.n_elements)])


@contextmanager
def a_table(**options: object) -> Iterator[Table]:
    table = Table(**options)  # type: ignore[arg-type]
    try:
        yield table
    finally:
        table.board.stop()
