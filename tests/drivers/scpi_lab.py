"""What the tests of SCPI drivers share: a lab with a generator and an oscilloscope, and a pipe that plays a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from drivers.scpi._keysight_33500b import Keysight33500B, Keysight33500BSection
from drivers.scpi._rigol_scope import RigolScope, RigolScopeSection
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network, Port
from simulated_bench.circuit import Connection
from simulated_bench.servers import Wires
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.rigol_scope import VirtualRigolScope
from simulated_bench.world import World

WIRES = ("hislip", "socket")
DEADLINE = 0.2  # s: what a test waits for an answer that never comes
IDN = "Keysight Technologies,33522B,MY00000001,5.02-virtual"


def resistor(name: str, plus: str, minus: str, siemens: float = 1e-3) -> Branch:
    return Branch(name, plus, minus, ELEMENTS["resistor"], (siemens,))


def divider() -> Network:
    """1 kOhm from top to mid and from mid to ground; driven at top, nudged at mid."""
    branches = (resistor("upper", "top", "mid"), resistor("lower", "mid", "ground"))
    return Network(("top", "mid"), branches, (Port("top"),), (Port("mid"),))


class Lab:
    """The divider, ch1 stiffly on top and ch2 behind 1 kOhm on mid; chan1 reads top, chan2 mid."""

    def __init__(self, wire: str = "hislip", trigger: str | None = "gen") -> None:
        self.network = divider()
        terminals = {"gen/ch1": Connection(0, -1, "voltage"), "gen/ch2": Connection(1, -1, "voltage", 1e3)}
        self.world = World(self.network, terminals, np.random.default_rng(7))
        self.generator = VirtualKeysight33500B("gen", self.world, Wires(drives={"ch1": "gen/ch1", "ch2": "gen/ch2"}))
        reads = Wires(reads={"chan1": "top", "chan2": "mid"})
        self.scope = VirtualRigolScope("scope", self.world, reads, trigger)
        place = WIRES.index(wire)
        self.generator_at, self.scope_at = self.generator.start()[place], self.scope.start()[place]

    def source(self, **fields: Any) -> Keysight33500B:
        settings = {"driver": "keysight-33500b", "resource": self.generator_at, "visa": "@py", "deadline": DEADLINE}
        return Keysight33500B("gen", Keysight33500BSection.model_validate(settings | fields), (1, 2))

    def meter(self, **fields: Any) -> RigolScope:
        settings = {"driver": "rigol-scope", "resource": self.scope_at, "visa": "@py", "deadline": DEADLINE}
        return RigolScope("scope", RigolScopeSection.model_validate(settings | fields), (1, 2))

    def levels(self) -> list[float]:
        """What is on the generator's terminals."""
        return [self.world.level("gen/ch1"), self.world.level("gen/ch2")]

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.generator.stop()
        self.scope.stop()


class ScriptedPipe:
    """Plays a conversation: (sent, answered) pairs in order; None is no answer, an exception is raised instead."""

    def __init__(self, script: Sequence[tuple[bytes, Any]]) -> None:
        self.script = list(script)
        self.log: list[bytes] = []
        self._answer: Any = None

    def __call__(self, deadline: float) -> ScriptedPipe:
        """Stand for the function that opens a pipe."""
        self.log.append(b"(open)")
        return self

    def send(self, data: bytes, deadline: float) -> None:
        self.log.append(data)
        wanted, self._answer = self.script.pop(0) if self.script else (b"(nothing)", None)
        if data != wanted:
            pytest.fail(f"{data!r} was sent, the script wants {wanted!r}")  # passes by `except Exception`

    def receive_line(self, deadline: float) -> bytes:
        if isinstance(self._answer, BaseException):
            raise self._answer
        if self._answer is None:
            pytest.fail(f"an answer is awaited after {self.log[-1]!r}, which asks nothing")
        return bytes(self._answer)

    receive_block = receive_line

    def clear(self, deadline: float) -> None:
        self.log.append(b"(clear)")

    def close(self) -> None:
        self.log.append(b"(close)")


NO_ERROR = (b"SYST:ERR?", b'+0,"No error"')
