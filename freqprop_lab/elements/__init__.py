"""What a branch is: its energy (co-content, eq. 2.3), the current it draws, and what a learning rule needs of it."""

from freqprop_lab.elements._basic import AntiparallelDiodes, Diode, Resistor
from freqprop_lab.elements._element import BOLTZMANN, ELEMENTARY_CHARGE, Element, Limits, Part, Trainable
from freqprop_lab.elements._junction import Junction
from freqprop_lab.elements._measured import FromFunction, Tabulated
from freqprop_lab.elements._series_diode import SeriesDiode
from freqprop_lab.elements._store import Capacitor, Store
from freqprop_lab.elements._transistor import Mosfet, TwoEnded

ELEMENTS: dict[str, Element] = {
    element.kind: element for element in (Resistor(), Diode(), AntiparallelDiodes(), SeriesDiode(), Junction())
}
CAPACITOR = Capacitor()
MOSFET = Mosfet()

__all__ = [
    "BOLTZMANN",
    "CAPACITOR",
    "ELEMENTARY_CHARGE",
    "ELEMENTS",
    "MOSFET",
    "AntiparallelDiodes",
    "Capacitor",
    "Diode",
    "Element",
    "FromFunction",
    "Junction",
    "Limits",
    "Mosfet",
    "Part",
    "Resistor",
    "SeriesDiode",
    "Store",
    "Tabulated",
    "Trainable",
    "TwoEnded",
]
