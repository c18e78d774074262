"""Virtual instruments: the simulated circuit behind real wire protocols, on the loopback interface only."""

from simulated_bench.servers._virtual import LOOPBACK, Fault, FaultKind, Faults, VirtualInstrument, Wires

__all__ = ["LOOPBACK", "Fault", "FaultKind", "Faults", "VirtualInstrument", "Wires"]
