"""One element line to one element. What is not understood to the last word is refused with its line."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping, Sequence

from freqprop_lab.names import cut, nearest
from freqprop_lab.netlist._elements import (
    Capacitor,
    CurrentSource,
    Diode,
    DiodeModel,
    Element,
    NetlistError,
    Note,
    Resistor,
    VoltageSource,
)
from freqprop_lab.netlist._lines import Line
from freqprop_lab.netlist._numbers import trap
from freqprop_lab.netlist._scope import Scope
from freqprop_lab.netlist._tokens import pairs, tokens, words_before_pairs

_OTHERS = {
    "a": "a code model",
    "b": "a behavioural source",
    "e": "a dependent source",
    "f": "a dependent source",
    "g": "a dependent source",
    "h": "a dependent source",
    "j": "a field-effect transistor",
    "k": "a coupling of inductors",
    "l": "an inductor",
    "m": "a MOSFET",
    "n": "a Verilog-A device",
    "o": "a transmission line",
    "p": "a transmission line",
    "q": "a bipolar transistor",
    "s": "a switch",
    "t": "a transmission line",
    "u": "a transmission line",
    "w": "a switch",
    "y": "a transmission line",
    "z": "a MESFET",
}
# They say nothing of the circuit at 27 C: temperature coefficients, tolerances, starting values, noise.
_HARMLESS = {
    "R": ("tc", "tc1", "tc2", "tol", "pwr", "noisy", "noise"),
    "C": ("tc", "tc1", "tc2", "tol", "ic", "v", "irms"),
    "D": ("ic", "off"),
}
_WAVES = ("sin", "sine", "pulse", "exp", "pwl", "sffm", "am", "trnoise", "trrandom")
_SAME_AT_27 = (
    *("eg", "xti", "tnom", "trs", "trs1", "trs2", "tbv1", "tbv2", "tikf", "tlev", "tlevc", "kf", "af", "level"),
    *("iave", "vpk", "irms", "ipk", "mfg", "type", "rth", "bv_max", "nbv"),
)
_MODEL_FIELDS = {
    "is": "saturation_current",
    "js": "saturation_current",
    "n": "emission",
    "rs": "series",
    "cjo": "junction_capacitance",
    "cj0": "junction_capacitance",
    "vj": "junction_potential",
    "pb": "junction_potential",
    "m": "grading",
    "mj": "grading",
    "fc": "depletion",
    "tt": "transit",
    "bv": "breakdown",
    "ibv": "breakdown_current",
}
_AT_27 = 27.0

Tell = Callable[[Note], None]


class Card:
    """An element line in the scope of its subcircuit. node: how its nodes are called outside; prefix: of its name."""

    def __init__(self, line: Line, scope: Scope, prefix: str, node: Callable[[str, int], str], tell: Tell) -> None:
        self.line, self._scope, self._tell = line, scope, tell
        words = line.text.split(None, 3)
        written = words[0]
        self.letter = written[0].upper()
        if written[0].lower() in _OTHERS:
            what = _OTHERS[written[0].lower()]
            raise self.fault(f'"{cut(written)}" is {what}; only R, C, D, V, I and X (subcircuits) are read')
        if self.letter not in "RCDVI" or not written[1:]:
            raise self.fault(
                f'"{cut(written)}" is no element; names begin with R, C, D, V, I or X, and a command with a point'
            )
        if len(words) < 3:
            raise self.fault(f"{cut(written)} needs two nodes")
        self.name = prefix + written
        self.ends = node(words[1], line.number), node(words[2], line.number)
        self._rest = tokens(line, words[3] if len(words) > 3 else "")

    def fault(self, message: str) -> NetlistError:
        """Return the error to raise."""
        return NetlistError(message, self.line.number)

    def element(self, model: Callable[[str, int], DiodeModel]) -> Element:
        """Return the element; model finds a diode's by name. Raises NetlistError."""
        if self.letter == "D":
            return self._diode(model)
        if self.letter in "VI":
            return self._source()
        return self._passive()

    def _value(self, part: str) -> float:
        return self._scope.value(part, self.line.number)

    def _passive(self) -> Resistor | Capacitor:
        unit, field = ("Ohm", "r") if self.letter == "R" else ("F", "c")
        count = words_before_pairs(self._rest)
        given = pairs(self.line, self._rest[count:])
        values = self._rest[:count]
        if not values and field in given:
            values = [given.pop(field)]
        if len(values) != 1:
            more = f', not "{cut(" ".join(values))}"' if values else ""
            raise self.fault(f"{cut(self.name)} needs one value in {unit}{more}")
        self._leave_out(given)
        value = self._value(values[0])
        warning = trap(values[0], self.letter)
        if warning:
            self._tell(Note(self.line.number, f"{cut(self.name)}: {warning}"))
        if self.letter == "R":
            if value <= 0 or not math.isfinite(1 / value):
                other = "; a wire is a voltage source of 0 V" if value == 0 else ""
                raise self.fault(f"{cut(self.name)} has {value:g} Ohm; it must be above 0{other}")
            return Resistor(self.name, *self.ends, self.line.number, value)
        if value < 0:
            raise self.fault(f"{cut(self.name)} has {value:g} F; it must be at least 0")
        return Capacitor(self.name, *self.ends, self.line.number, value)

    def _diode(self, model: Callable[[str, int], DiodeModel]) -> Diode:
        count = words_before_pairs(self._rest)
        words, given = self._rest[:count], pairs(self.line, self._rest[count:])
        if words[-1:] and words[-1].lower() == "off":
            words = words[:-1]
        if not 1 <= len(words) <= 2:
            raise self.fault(f"{cut(self.name)} needs the name of its model, and after it at most an area")
        area = self._value(words[1]) if len(words) == 2 else 1.0
        for name in ("area", "m"):
            if name in given:
                area *= self._value(given.pop(name))
        self._leave_out(given)
        if not 0 < area < math.inf:
            raise self.fault(f"{cut(self.name)} has an area of {area:g}; it must be above 0")
        return Diode(self.name, *self.ends, self.line.number, model(words[0].lower(), self.line.number), area)

    def _leave_out(self, given: Mapping[str, str]) -> None:
        for name, value in given.items():
            if name == "m" and self._value(value) == 1:
                continue
            if name in ("temp", "dtemp"):
                _check_temperature(self._value(value), self.line.number, _AT_27 if name == "temp" else 0.0)
            elif name not in _HARMLESS[self.letter]:
                raise self.fault(
                    f'{cut(self.name)}: "{cut(name)}" would change the circuit and is not read; draw it as a part'
                )
            else:
                self._tell(Note(self.line.number, f"{cut(self.name)}: {cut(name)} is left out"))

    def _source(self) -> VoltageSource | CurrentSource:
        found = [part for part in self._rest if part not in "=(),"]
        for part in found:
            if part.lower() in ("rser", "cpar", "load", "tbl", "r", "distof1", "distof2", "portnum", "z0"):
                raise self.fault(f'{cut(self.name)}: "{cut(part)}" is not read; draw it as a part')
        steady: float | None = None
        wave: tuple[str, list[float]] | None = None
        ac = 0j
        place = 0
        while place < len(found):
            word = found[place].lower()
            if word == "dc" or (place == 0 and word != "ac" and word not in _WAVES):
                place += word == "dc"
                if steady is not None or place >= len(found):
                    raise self.fault(f"{cut(self.name)}: one DC value is wanted")
                self._warn(found[place])
                steady, place = self._value(found[place]), place + 1
            elif word == "ac":
                numbers = self._numbers(found[place + 1 : place + 3])
                ac = cmath.rect(numbers[0] if numbers else 1.0, math.radians(numbers[1] if len(numbers) > 1 else 0.0))
                place += 1 + len(numbers)
            elif word in _WAVES and wave is None:
                wave = word, self._numbers(found[place + 1 :])
                place += 1 + len(wave[1])
            else:
                raise self.fault(
                    f'{cut(self.name)}: "{cut(found[place])}" is not understood; DC, AC and SIN(...) are read'
                )
        if wave is not None:
            steady = self._at_rest(*wave, steady)
        if self.letter == "V":
            return VoltageSource(self.name, *self.ends, self.line.number, steady or 0.0, ac)
        return CurrentSource(self.name, *self.ends, self.line.number, steady or 0.0, ac)

    def _warn(self, part: str) -> None:
        warning = trap(part, self.letter)
        if warning:
            self._tell(Note(self.line.number, f"{cut(self.name)}: {warning}"))

    def _numbers(self, found: Sequence[str]) -> list[float]:
        """Take the numbers that stand there, up to the next word."""
        taken: list[float] = []
        for part in found:
            if part[0].isalpha():
                break
            taken.append(self._value(part))
        return taken

    def _at_rest(self, word: str, values: Sequence[float], steady: float | None) -> float:
        """Return the DC value beside a waveform: what DC says, else the waveform's own at time 0, which is told."""
        if steady is not None:
            self._tell(Note(self.line.number, f"{cut(self.name)}: {word.upper()} is left out; DC {steady:g} counts"))
            return steady
        at_zero: float | None = None
        if word in ("sin", "sine") and values and (len(values) < 6 or values[5] == 0):
            at_zero, what = values[0], "its offset"
        elif word in ("pulse", "exp") and values:
            at_zero, what = values[0], "its first level"
        elif word == "pwl" and len(values) >= 2 and values[0] == 0:
            at_zero, what = values[1], "its value at time 0"
        if at_zero is None:
            raise self.fault(
                f"{cut(self.name)}: what {word.upper()} is at rest is not clear; give it a DC value before"
            )
        self._tell(Note(self.line.number, f"{cut(self.name)}: {word.upper()} is left out but for {what}, {at_zero:g}"))
        return at_zero


def diode_model(line: Line, name: str, found: Sequence[str], scope: Scope, tell: Tell) -> DiodeModel:
    """Read the parameters of a `.model NAME D`. Raises NetlistError for those that would make another law of it."""
    inner = [part for part in found if part not in "()"]
    fields: dict[str, float] = {}
    left_out: list[str] = []
    for key, text in pairs(line, inner).items():
        if key in _MODEL_FIELDS:
            field = _MODEL_FIELDS[key]
            if field in fields:
                raise NetlistError(f"model {cut(name)}: {key} is given twice", line.number)
            fields[field] = scope.value(text, line.number)
        elif key not in _SAME_AT_27:
            known = (*_MODEL_FIELDS, *_SAME_AT_27)
            message = f'model {cut(name)}: "{cut(key)}" would make another law of it.{nearest(key, known)} Read are: '
            raise NetlistError(message + ", ".join(key.upper() for key in _MODEL_FIELDS), line.number)
        elif key == "tnom":
            _check_temperature(scope.value(text, line.number), line.number)
        elif key == "level" and scope.value(text, line.number) != 1:
            raise NetlistError(f"model {cut(name)}: only diodes of level 1 are read", line.number)
        elif key != "level":
            left_out.append(key)
    if left_out:
        tell(Note(line.number, f"model {cut(name)}: left out, for they change nothing here: {', '.join(left_out)}"))
    _check_model(line, name, fields)
    breakdown = fields.pop("breakdown", None)
    return DiodeModel(name, line.number, breakdown=abs(breakdown) if breakdown else None, **fields)


_ABOVE_ZERO = ("saturation_current", "emission", "junction_potential", "breakdown_current")


def _check_model(line: Line, name: str, fields: Mapping[str, float]) -> None:
    for key, value in fields.items():
        written = next(short.upper() for short, field in _MODEL_FIELDS.items() if field == key)
        if key in _ABOVE_ZERO and not value > 0:
            raise NetlistError(f"model {cut(name)}: {written} is {value:g}; it must be above 0", line.number)
        if key != "breakdown" and value < 0:
            raise NetlistError(f"model {cut(name)}: {written} is {value:g}; it must be at least 0", line.number)
        if key in ("grading", "depletion") and value > 0.95:
            # ngspice lowers them to 0.9 and 0.95 by itself.
            limit = 0.9 if key == "grading" else 0.95
            raise NetlistError(f"model {cut(name)}: {written} is {value:g}; it must be at most {limit}", line.number)


def _check_temperature(celsius: float, line: int, wanted: float = _AT_27) -> None:
    if celsius != wanted:
        raise NetlistError(f"a temperature of {celsius:g} C; everything is worked out at 27 C, take it out", line)


check_temperature = _check_temperature
