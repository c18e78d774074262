"""From text to a flattened netlist: commands told or obeyed, subcircuits put in place, element after element.

Read is the common ground of ngspice, LTspice and KiCad (whose netlists are ngspice's). What is read by one of them
otherwise than by another, and what would change the circuit but is not handled, is refused with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from freqprop_lab.names import cut, nearest
from freqprop_lab.netlist._cards import Card, check_temperature, diode_model
from freqprop_lab.netlist._elements import (
    GROUND_NODE,
    DiodeModel,
    Element,
    Netlist,
    NetlistError,
    Note,
)
from freqprop_lab.netlist._lines import Line, logical_lines
from freqprop_lab.netlist._scope import Scope
from freqprop_lab.netlist._tokens import pairs, tokens, words_before_pairs

_GMIN = 1e-12  # S, ngspice's default
_MOST_ELEMENTS = 100_000
_DEEPEST = 20  # subcircuits within one another
_ANALYSES = ("op", "ac", "tran", "dc", "noise", "pz", "sens", "tf", "disto", "four", "fourier", "step")
_OUTPUT = ("print", "plot", "save", "probe", "measure", "meas", "width", "backanno", "wave", "net", "ic", "nodeset")
_SAVING = ("print", "plot", "save", "probe")
_ELSEWHERE = ("include", "inc", "lib", "incpslt")
_READ = ("subckt", "ends", "model", "param", "params", "options", "option", "global", "temp", "title", "control", "end")
# Options that change what the circuit is, not how it is computed.
_NOT_OURS = ("rshunt", "cshunt", "scale", "scalm", "gshunt", "parhier")
_SAVED = re.compile(r"v\(\s*([^\s,()]+)\s*(?:,\s*([^\s,()]+)\s*)?\)")
_GROUNDS = (GROUND_NODE, "gnd")


def parse_netlist(text: str) -> Netlist:
    """Read a netlist. Raises NetlistError with the line for whatever can't be read as ngspice would read it."""
    lines = logical_lines(text)
    reader = _Reader()
    reader.notes += lines.notes
    try:
        reader.read(lines.lines)
        elements = reader.elements()
    except RecursionError:
        raise NetlistError("it is nested too deeply") from None
    if not elements:
        raise NetlistError("it holds no element; lines such as R1 in out 10k are wanted (the first line is the title)")
    if not any(GROUND_NODE in (element.plus, element.minus) for element in elements):
        raise NetlistError("no element is connected to ground, node 0 or gnd")
    notes = tuple(dict.fromkeys(sorted(reader.notes, key=lambda note: note.line)))
    saved = dict.fromkeys(reader.saved)
    return Netlist(lines.title, tuple(elements), reader.gmin, tuple(saved), notes)


@dataclass
class _Subcircuit:
    """A definition, or the top of the netlist: its element lines and what is defined inside."""

    name: str
    line: int
    ports: tuple[str, ...] = ()
    defaults: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    parameters: list[tuple[str, str, int]] = field(default_factory=list)
    models: dict[str, tuple[Line, list[str]]] = field(default_factory=dict)
    inner: dict[str, _Subcircuit] = field(default_factory=dict)


@dataclass(frozen=True)
class _Frame:
    """A subcircuit put in place: what its names mean."""

    definition: _Subcircuit
    scope: Scope
    outer: _Frame | None = None
    prefix: str = ""
    nodes: dict[str, str] = field(default_factory=dict)
    models: dict[str, DiodeModel] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 0 if self.outer is None else self.outer.depth + 1


class _Reader:
    """Collects definitions in a first pass over the lines, elements in a second."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.saved: list[tuple[str, str]] = []
        self.gmin = _GMIN
        self._top = _Subcircuit("", 0)
        self._open = [self._top]
        self._left_out: dict[str, list[int]] = {}
        self._globals: set[str] = set()
        self._elements: dict[str, Element] = {}
        self._prefixes: dict[str, str] = {}
        self._n_instances = 0

    def read(self, lines: tuple[Line, ...]) -> None:
        """Take up commands and definitions."""
        for line in lines:
            if line.text.startswith("."):
                self._command(line)
            else:
                self._open[-1].lines.append(line)
        if len(self._open) > 1:
            raise NetlistError(f".subckt {cut(self._open[-1].name)} without an .ends", self._open[-1].line)
        for word, where in self._left_out.items():
            self.notes.append(Note(where[0], f".{word} is left out{_also(where[1:])}"))

    def elements(self) -> list[Element]:
        """Put everything in place."""
        scope = self._scope_of(self._top, None, {}, 0, None)
        self._place(_Frame(self._top, scope))
        return list(self._elements.values())

    # --- commands

    def _command(self, line: Line) -> None:
        word, rest = [*line.text[1:].split(None, 1), "", ""][:2]
        word = word.lower()
        if word in _ELSEWHERE:
            message = f".{word} is not followed: a netlist is read from one file. Paste the lines that it needs in here"
            raise NetlistError(message, line.number)
        if word in _ANALYSES or word in _OUTPUT:
            self._left_out.setdefault(word, []).append(line.number)
            if word in _SAVING and len(self._open) == 1:
                self.saved += [(self._outer(one), self._outer(two)) for one, two in _SAVED.findall(rest.lower())]
        elif word == "subckt":
            self._begin(line, rest)
        elif word == "ends":
            self._end(line, rest)
        elif word == "model":
            self._model(line, rest)
        elif word in ("param", "params"):
            self._parameters(line, rest)
        elif word in ("options", "option", "global", "temp"):
            if len(self._open) > 1:
                raise NetlistError(
                    f".{word} stands inside a .subckt; put it outside, where it belongs to all", line.number
                )
            {"global": self._global, "temp": self._temperature}.get(word, self._options)(line, rest)
        elif word != "title":
            known = (*_READ, *_ANALYSES, *_OUTPUT)
            raise NetlistError(f'".{cut(word)}" is not understood.{nearest(word, known)}', line.number)

    @staticmethod
    def _outer(node: str) -> str:
        return GROUND_NODE if node in ("", *_GROUNDS) else node

    def _begin(self, line: Line, rest: str) -> None:
        found = [part for part in tokens(line, rest) if part not in "(),"]
        found = [part for part in found if part.lower() not in ("params:", "param:")]
        count = words_before_pairs(found)
        words, defaults = [word.lower() for word in found[:count]], pairs(line, found[count:])
        if not words:
            raise NetlistError(".subckt needs a name and its nodes", line.number)
        name, *ports = words
        if len(set(ports)) < len(ports) or set(ports) & set(_GROUNDS):
            raise NetlistError(f".subckt {cut(name)}: its nodes must differ, and none may be ground", line.number)
        for port in ports:
            _check_node(port, line.number)
        siblings = self._open[-1].inner
        if name in siblings:
            raise NetlistError(f".subckt {cut(name)} stands in line {siblings[name].line} already", line.number)
        if len(self._open) > _DEEPEST:
            raise NetlistError(f"subcircuits are nested more than {_DEEPEST} deep", line.number)
        siblings[name] = _Subcircuit(name, line.number, tuple(ports), defaults)
        self._open.append(siblings[name])

    def _end(self, line: Line, rest: str) -> None:
        if len(self._open) == 1:
            raise NetlistError(".ends without a .subckt", line.number)
        name = rest.split(maxsplit=1)[0].lower() if rest else self._open[-1].name
        if name != self._open[-1].name:
            message = f".ends {cut(name)}, but the open subcircuit is {cut(self._open[-1].name)}"
            raise NetlistError(f"{message} (line {self._open[-1].line})", line.number)
        self._open.pop()

    def _model(self, line: Line, rest: str) -> None:
        found = tokens(line, rest)
        if len(found) < 2 or found[0] in "=()," or found[1] in "=(),":
            raise NetlistError(".model needs a name and a type, such as .model 1N4148 D(IS=2.5n N=1.75)", line.number)
        name, kind = found[0].lower(), found[1].lower()
        models = self._open[-1].models
        if name in models:
            raise NetlistError(f'model "{cut(name)}" stands in line {models[name][0].number} already', line.number)
        models[name] = (line, [kind, *found[2:]])
        if kind != "d":
            self.notes.append(Note(line.number, f"model {cut(name)} is left out: it is no diode's"))

    def _parameters(self, line: Line, rest: str) -> None:
        """Take `a=1 b = 2 * a`: a value without braces ends where the next `name =` begins."""
        begins = [*re.finditer(r"([^\W\d]\w*)\s*=(?!=)", _masked(rest))]
        if not begins or rest[: begins[0].start()].strip():
            raise NetlistError(".param needs name=value", line.number)
        ends = [*(found.start() for found in begins[1:]), len(rest)]
        for found, end in zip(begins, ends, strict=True):
            text = rest[found.end() : end].strip().rstrip(",").strip()
            if not text:
                raise NetlistError(f'parameter "{cut(found[1])}" has no value', line.number)
            inner = tokens(line, text)
            value = inner[0] if len(inner) == 1 and inner[0].startswith("{") else "{" + text + "}"
            self._open[-1].parameters.append((found[1].lower(), value, line.number))

    def _options(self, line: Line, rest: str) -> None:
        left_out = []
        found = tokens(line, rest)
        place = 0
        while place < len(found):
            name, value = found[place].lower(), ""
            if found[place + 1 : place + 2] == ["="] and place + 2 < len(found):
                value, place = found[place + 2], place + 2
            place += 1
            if name in ("gmin", "temp", "tnom"):
                number = Scope().value(value, line.number)
                if name != "gmin":
                    check_temperature(number, line.number)
                elif number > 0:
                    self.gmin = number
                else:
                    raise NetlistError(f"gmin is {number:g} S; it must be above 0", line.number)
            elif name in _NOT_OURS:
                raise NetlistError(f'.options: "{name}" would change the circuit and is not read', line.number)
            elif name not in "=(),":
                left_out.append(cut(name))
        if left_out:
            self.notes.append(Note(line.number, f".options: left out are {', '.join(left_out)}"))

    def _global(self, line: Line, rest: str) -> None:
        for node in rest.lower().split():
            _check_node(node, line.number)
            self._globals.add(node)

    def _temperature(self, line: Line, rest: str) -> None:
        for text in rest.split():
            check_temperature(Scope().value(text, line.number), line.number)

    # --- elements

    def _scope_of(
        self, definition: _Subcircuit, outer: Scope | None, given: dict[str, str], line: int, caller: Scope | None
    ) -> Scope:
        scope = Scope(outer)
        for name, value in given.items():
            if name not in definition.defaults:
                message = f'subcircuit {cut(definition.name)} has no parameter "{cut(name)}"'
                raise NetlistError(f"{message}.{nearest(name, definition.defaults)}", line)
            scope.define(name, value, line, caller)
        for name, value in definition.defaults.items():
            if name not in given:
                scope.define(name, value, definition.line)
        for name, value, where in definition.parameters:
            scope.define(name, value, where)
        return scope

    def _place(self, frame: _Frame) -> None:
        for line in frame.definition.lines:
            if line.text[0] in "xX":
                self._place_instance(line, frame)
                continue
            card = Card(
                line, frame.scope, frame.prefix, _namer(frame, self._globals, self._prefixes), self.notes.append
            )
            element = card.element(lambda name, number: self._find_model(frame, name, number))
            key = element.name.lower()
            if key in self._elements:
                before = self._elements[key].line
                raise NetlistError(
                    f'"{cut(element.name)}" stands in line {before} already; give each its own', line.number
                )
            self._elements[key] = element
            if len(self._elements) > _MOST_ELEMENTS:
                raise NetlistError(f"it holds more than {_MOST_ELEMENTS} elements", line.number)

    def _place_instance(self, line: Line, frame: _Frame) -> None:
        found = tokens(line, line.text)
        found = [part for part in found if part.lower() not in ("params:", "param:")]
        count = words_before_pairs(found)
        words, given = found[:count], pairs(line, found[count:])
        if len(words) < 2 or set(words) & set("(),"):
            raise NetlistError("a subcircuit is written X1 node node ... NAME, and then name=value", line.number)
        written, *nodes, name = words
        definition, around = self._find_subcircuit(frame, name.lower(), line.number)
        if len(nodes) != len(definition.ports):
            message = f"{cut(written)} connects {len(nodes)} nodes; {cut(name)} has {len(definition.ports)}"
            raise NetlistError(f"{message} (line {definition.line})", line.number)
        within: _Frame | None = frame
        while within is not None:
            if within.definition is definition:
                raise NetlistError(
                    f"{cut(written)}: subcircuit {cut(name)} holds itself; recursion has no end", line.number
                )
            within = within.outer
        if frame.depth >= _DEEPEST:
            raise NetlistError(f"subcircuits are nested more than {_DEEPEST} deep", line.number)
        self._n_instances += 1
        if self._n_instances > _MOST_ELEMENTS:
            raise NetlistError(f"it holds more than {_MOST_ELEMENTS} subcircuits", line.number)
        name_of = _namer(frame, self._globals, self._prefixes)
        outside = [name_of(node, line.number) for node in nodes]
        scope = self._scope_of(definition, around.scope, given, line.number, frame.scope)
        prefix = f"{frame.prefix}{written}."
        self._place(_Frame(definition, scope, frame, prefix, dict(zip(definition.ports, outside, strict=True))))

    def _find_subcircuit(self, frame: _Frame, name: str, line: int) -> tuple[_Subcircuit, _Frame]:
        """Return a definition and the frame in which it stands, from the inside outwards."""
        known: dict[str, None] = {}
        around: _Frame | None = frame
        while around is not None:
            if name in around.definition.inner:
                return around.definition.inner[name], around
            known |= dict.fromkeys(around.definition.inner)
            around = around.outer
        listed = f" There are: {', '.join(map(cut, known))}" if known and len(known) < 12 else ""
        raise NetlistError(f'no .subckt "{cut(name)}" in this file.{nearest(name, known)}{listed}', line)

    def _find_model(self, frame: _Frame, name: str, line: int) -> DiodeModel:
        known: dict[str, None] = {}
        around: _Frame | None = frame
        while around is not None:
            if name in around.definition.models:
                return self._read_model(around, name)
            known |= dict.fromkeys(around.definition.models)
            around = around.outer
        raise NetlistError(f'no .model "{cut(name)}" in this file.{nearest(name, known)}', line)

    def _read_model(self, frame: _Frame, name: str) -> DiodeModel:
        if name not in frame.models:
            line, (kind, *found) = frame.definition.models[name]
            if kind != "d":
                raise NetlistError(
                    f'model "{cut(name)}" is of the type {cut(kind)}; a diode needs one of type D', line.number
                )
            frame.models[name] = diode_model(line, name, found, frame.scope, self.notes.append)
        return frame.models[name]


def _namer(frame: _Frame, everywhere: set[str], prefixes: dict[str, str]) -> Callable[[str, int], str]:
    """Return how a node of this frame is called in the flattened netlist; prefixes: whose each name is already."""

    def name(written: str, line: int) -> str:
        node = written.lower()
        _check_node(node, line)
        if node in _GROUNDS:
            return GROUND_NODE
        if node in frame.nodes:
            return frame.nodes[node]
        if node in everywhere:
            return node
        whole = frame.prefix.lower() + node
        if prefixes.setdefault(whole, frame.prefix) != frame.prefix:
            message = f'node "{cut(whole)}" is the name of two: one outside, and one inside a subcircuit; rename one'
            raise NetlistError(message, line)
        return whole

    return name


def _check_node(node: str, line: int) -> None:
    if set(node) & set("(),={}'\""):
        message = (
            f'node "{cut(node)}" holds one of ( ) , = {{ }} or a quote, at which SPICE splits names; rename the net'
        )
        raise NetlistError(message, line)
    if node == "ground":
        raise NetlistError('node "ground" is no ground in SPICE; write 0 or gnd, or give it another name', line)


def _masked(text: str) -> str:
    """Blank out what stands in braces or quotes, length kept."""
    return re.sub(r"\{[^}]*\}|'[^']*'", lambda found: " " * len(found[0]), text)


def _also(lines: list[int]) -> str:
    if not lines:
        return ""
    listed = ", ".join(map(str, lines[:5])) + (" and more" if len(lines) > 5 else "")
    return f", also in line{'s' if len(lines) > 1 else ''} {listed}"
