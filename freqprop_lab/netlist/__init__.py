"""SPICE netlists: text to elements with the line of each, and from there to a network that can be trained."""

from freqprop_lab.netlist._elements import (
    GROUND_NODE,
    Capacitor,
    CurrentSource,
    Diode,
    DiodeModel,
    Element,
    Netlist,
    NetlistError,
    Note,
    Resistor,
    VoltageSource,
)
from freqprop_lab.netlist._network import THERMAL_VOLTAGE, inside_diode, port_named, ports_of, to_network
from freqprop_lab.netlist._numbers import parse_number
from freqprop_lab.netlist._parse import parse_netlist

__all__ = [
    "GROUND_NODE",
    "THERMAL_VOLTAGE",
    "Capacitor",
    "CurrentSource",
    "Diode",
    "DiodeModel",
    "Element",
    "Netlist",
    "NetlistError",
    "Note",
    "Resistor",
    "VoltageSource",
    "inside_diode",
    "parse_netlist",
    "parse_number",
    "port_named",
    "ports_of",
    "to_network",
]
