"""Parameters by name, from the innermost subcircuit outwards; each is worked out once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from freqprop_lab.names import cut, nearest
from freqprop_lab.netlist._elements import NetlistError
from freqprop_lab.netlist._expressions import evaluate
from freqprop_lab.netlist._numbers import parse_number

_LONGEST_CHAIN = 30  # of parameters that need one another


@dataclass
class Scope:
    """Where names are looked up. A definition stands with its line and the scope in which its own names are meant."""

    outer: Scope | None = None
    _defined: dict[str, tuple[str, int, Scope]] = field(default_factory=dict)
    _known: dict[str, float] = field(default_factory=dict)
    _under_way: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.outer is not None:
            self._under_way = self.outer._under_way  # one chain for all, however deep

    def define(self, name: str, value: str, line: int, scope: Scope | None = None) -> None:
        """Define a parameter by its text. Raises NetlistError where it is there already."""
        if name in self._defined:
            before = self._defined[name][1]
            raise NetlistError(f'parameter "{cut(name)}" stands in line {before} already; give it once', line)
        self._defined[name] = (value, line, scope or self)

    def value(self, text: str, line: int) -> float:
        """Return what a value stands for: a number, or an expression in braces. Raises NetlistError."""
        try:
            if text.startswith("{"):
                return evaluate(text[1:-1], lambda name: self._parameter(name, line))
            return parse_number(text)
        except NetlistError:
            raise
        except ValueError as error:
            hint = f"; a parameter stands in braces: {{{cut(text)}}}" if self._is_known(text.lower()) else ""
            raise NetlistError(f"{error}{hint}", line) from None

    def _parameter(self, name: str, line: int) -> float:
        if name in self._known:
            return self._known[name]
        if name not in self._defined:
            if self.outer is None:
                raise ValueError(f'no parameter "{cut(name)}".{nearest(name, self._defined)}')
            return self.outer._parameter(name, line)
        text, at, scope = self._defined[name]
        mark = f"{id(self)} {name}"
        if mark in self._under_way:
            raise NetlistError(f'parameter "{cut(name)}" needs itself', at)
        if len(self._under_way) >= _LONGEST_CHAIN:
            raise NetlistError(f"more than {_LONGEST_CHAIN} parameters need one another", at)
        self._under_way.append(mark)
        try:
            self._known[name] = scope.value(text, at)
        finally:
            self._under_way.pop()
        return self._known[name]

    def _is_known(self, name: str) -> bool:
        return name in self._defined or (self.outer is not None and self.outer._is_known(name))
