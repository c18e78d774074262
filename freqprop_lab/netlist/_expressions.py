"""Arithmetic in braces or quotes: + - * / **, brackets, parameters and a few functions; nothing is ever executed.

Grammar: sum = product ((+|-) product)*; product = signed ((*|/) signed)*; signed = [+-] signed | power;
power = atom [** signed]; atom = number | name | name(sum, ...) | (sum).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from freqprop_lab.names import cut, nearest
from freqprop_lab.netlist._numbers import parse_number

_FUNCTIONS: dict[str, tuple[int | None, Callable[..., float]]] = {
    "sqrt": (1, math.sqrt),
    "exp": (1, math.exp),
    "log": (1, math.log),  # natural, in ngspice as in LTspice
    "ln": (1, math.log),
    "log10": (1, math.log10),
    "abs": (1, abs),
    "min": (None, min),
    "max": (None, max),
}
_LONGEST = 2000
_DEEPEST = 30
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]+)?\w*)|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|[-+*/(),]))"
)


def evaluate(text: str, parameter: Callable[[str], float]) -> float:
    """Return the value of an expression; parameter gives that of a name in lower case. Raises ValueError."""
    if len(text) > _LONGEST:
        raise ValueError(f"an expression of {len(text)} letters is too long; at most {_LONGEST} are read")
    try:
        value = _Reader(text, parameter).whole()
    except (OverflowError, ZeroDivisionError) as error:
        raise ValueError(f'"{cut(text)}" has no value: {error}') from None
    if not math.isfinite(value):
        raise ValueError(f'"{cut(text)}" is not finite')
    return value


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, parameter: Callable[[str], float]) -> None:
        self._text, self._parameter = text, parameter
        self._tokens = self._split()
        self._place = 0
        self._depth = 0

    def whole(self) -> float:
        value = self._sum()
        if self._peek() != ("end", ""):
            raise ValueError(f'"{cut(self._text)}": unexpected "{cut(self._peek()[1])}"')
        return value

    def _split(self) -> list[tuple[str, str]]:
        tokens, place, text = [], 0, self._text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                letter = text[place:].lstrip()[0]
                hint = "; a power is written **, for LTspice reads ^ as exclusive or" if letter == "^" else ""
                raise ValueError(f'"{cut(text)}": "{letter}" is none of + - * / ** ( ) ,{hint}')
            tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
            place = found.end()
        return [*tokens, ("end", "")]

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._place]

    def _take(self, *signs: str) -> str | None:
        kind, part = self._peek()
        if kind == "sign" and part in signs:
            self._place += 1
            return part
        return None

    def _sum(self) -> float:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f'"{cut(self._text)}" is nested more than {_DEEPEST} levels deep')
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            value = value + other if sign == "+" else value - other
        self._depth -= 1
        return value

    def _product(self) -> float:
        value = self._signed()
        while sign := self._take("*", "/"):
            other = self._signed()
            value = value * other if sign == "*" else value / other
        return value

    def _signed(self) -> float:
        signs = []
        while sign := self._take("+", "-"):
            signs.append(sign)
        value, is_power = self._power()
        if is_power and signs:
            # ngspice has -2**2 as -4 at the start of an expression and as +4 behind a sign.
            raise ValueError(f'"{cut(self._text)}": a sign before a power is read in two ways; put brackets there')
        return -value if signs.count("-") % 2 else value

    def _power(self) -> tuple[float, bool]:
        value = self._atom()
        if not self._take("**"):
            return value, False
        negative = self._take("-") is not None
        exponent = self._atom()
        if self._peek() == ("sign", "**"):
            raise ValueError(f'"{cut(self._text)}": a**b**c is read in two ways; put brackets there')
        try:
            raised = value ** (-exponent if negative else exponent)
        except ValueError as error:
            raise ValueError(f'"{cut(self._text)}": {error}') from None
        if isinstance(raised, complex):
            raise ValueError(f'"{cut(self._text)}": {value:g} ** {exponent:g} is not a real number')
        return float(raised), True

    def _atom(self) -> float:
        kind, part = self._peek()
        self._place += 1
        if kind == "number":
            return parse_number(part)
        if kind == "name":
            return self._call(part.lower()) if self._take("(") else self._parameter(part.lower())
        if part == "(":
            value = self._sum()
            self._close()
            return value
        found = f'"{part}"' if part else "its end"
        raise ValueError(f'"{cut(self._text)}": a number, a parameter or a bracket is wanted where {found} stands')

    def _call(self, name: str) -> float:
        if name not in _FUNCTIONS:
            raise ValueError(
                f'no function "{cut(name)}".{nearest(name, _FUNCTIONS)} There are: {", ".join(_FUNCTIONS)}'
            )
        arguments = [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._close()
        wanted, function = _FUNCTIONS[name]
        if wanted is not None and len(arguments) != wanted:
            raise ValueError(f"{name} takes {wanted} value, not {len(arguments)}")
        try:
            return float(function(*arguments))
        except ValueError:
            raise ValueError(f"{name} of {arguments[0]:g} is not a real number") from None

    def _close(self) -> None:
        if not self._take(")"):
            raise ValueError(f'"{cut(self._text)}": a closing bracket is missing')
