"""SPICE netlists: what is read, what is told, what is refused; each awkward one with an answer that a pencil finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freqprop_lab.config import FileError, read_netlist
from freqprop_lab.netlist import (
    Capacitor,
    CurrentSource,
    Diode,
    Netlist,
    NetlistError,
    Resistor,
    VoltageSource,
    parse_netlist,
    parse_number,
    ports_of,
    to_network,
)
from freqprop_lab.network import GROUND, Port

approx = pytest.approx


def read(*lines: str) -> Netlist:
    return parse_netlist("\n".join(["a title", *lines]) + "\n")


def value_of(netlist: Netlist, name: str) -> float:
    one = next(one for one in netlist.elements if one.name == name)
    if isinstance(one, Resistor):
        return one.ohms
    if isinstance(one, Capacitor):
        return one.farads
    if isinstance(one, VoltageSource):
        return one.volts
    assert isinstance(one, CurrentSource)
    return one.amperes


# --- numbers

NUMBERS = {
    "4.7k": 4700.0,
    "10": 10.0,
    "-2.5": -2.5,
    ".5": 0.5,
    "1meg": 1e6,
    "1MEG": 1e6,
    "1MegOhm": 1e6,
    "1M": 1e-3,
    "1m": 1e-3,
    "10u": 1e-5,
    "10µ": 1e-5,  # micro sign
    "10μF": 1e-5,  # Greek mu
    "1mil": 25.4e-6,
    "3g": 3e9,
    "2T": 2e12,
    "7n": 7e-9,
    "8p": 8e-12,
    "9f": 9e-15,
    "1F": 1e-15,
    "5V": 5.0,
    "10Ohm": 10.0,
    "10kΩ": 1e4,
    "1e3": 1000.0,
    "1.5e1k": 15000.0,
    "1d3": 1000.0,
    "2.E-3": 2e-3,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_the_double_next_to_what_is_written(text: str) -> None:
    assert parse_number(text) == NUMBERS[text]


@pytest.mark.parametrize(
    "text", ["4k7", "1A", "1e", "k", "", "1,5", "0x10", "nan", "inf", "1 k", "10²", "1e999", "--1"]
)
def test_what_two_spices_read_in_two_ways_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|4\.7k|1e-18|too large|exponent"):
        parse_number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_is_written_is_read_back(number: float) -> None:
    assert parse_number(repr(number)) == number
    assert value_of(read(f"V1 a 0 {number!r}"), "V1") == number


@given(st.floats(1e-300, 1e300))
def test_a_resistance_that_is_written_is_read_back(ohms: float) -> None:
    assert value_of(read(f"R1 a 0 {ohms!r}"), "R1") == ohms


# --- awkward netlists: name, lines after the title, values by element

AWKWARD: dict[str, tuple[list[str], dict[str, float]]] = {
    "continuation, a comment and an empty line inside": (
        ["R1 a", "* here it goes on", "", "+ 0", "   + 4.7k"],
        {"R1": 4700},
    ),
    "comments behind ; and $ and //": (
        ["R1 a 0 1k ; not 2k", "R2 a 0 2k $ not 3k", "R3 a$b 0 3k", "R4 a$b a 4k // not 5k", "$ R5 a 0 1"],
        {"R1": 1e3, "R2": 2e3, "R3": 3e3, "R4": 4e3},
    ),
    "meg and M": (["R1 a 0 1meg", "R2 a 0 1M"], {"R1": 1e6, "R2": 1e-3}),
    "u, the micro sign and Greek mu": (
        ["R1 a 0 1", "C1 a 0 1u", "C2 a 0 1µ", "C3 a 0 1μF"],
        {"C1": 1e-6, "C2": 1e-6, "C3": 1e-6},
    ),
    "lines end as on Windows and old Macs": (["R1 a b 1k\r\n+ tc1=0\r", "R2 b 0 2k\r"], {"R1": 1e3, "R2": 2e3}),
    "unicode names": (["Rä größe 0 1k", "R2 größe Ausgang/β 2k"], {"Rä": 1e3, "R2": 2e3}),
    "capitals and small letters": (["r1 A 0 1K", "R2 a GND 2K", ".OP"], {"r1": 1e3, "R2": 2e3}),
    "parameters in braces, quotes and bare, needing one another": (
        [".param b={a*2} a=3k", ".param c = b + 2 * ( a - 1k ) d='sqrt(16)'", "R1 x 0 {b}", "R2 x 0 'c'", "R3 x 0 {d}"],
        {"R1": 6e3, "R2": 10e3, "R3": 4},
    ),
    "arithmetic": (
        [
            "R1 a 0 {2+3*4-6/3/2}",
            "R2 a 0 {(1+2)**(4/2)}",
            "R3 a 0 {max(1k, min(2k, 3k), 1.5k)}",
            "R4 a 0 {abs(-2)+exp(0)+ln(1)+log(1)}",
            "R5 a 0 {1meg/1k}",
            "R6 a 0 {2**-1}",
            "R7 a 0 {- - 3}",
        ],
        {"R1": 13, "R2": 9, "R3": 2e3, "R4": 3, "R5": 1e3, "R6": 0.5, "R7": 3},
    ),
    "a nested subcircuit, used before it is defined": (
        [
            "X1 in mid pair",
            "X2 mid 0 pair r=3k",
            ".subckt pair a b r=1k",
            "  .param half={r/2}",
            "  Xtop a m one v={half}",
            "  Xlow m b one v={r-half}",
            "  .subckt one p q v=1",
            "    R1 p q {v}",
            "  .ends one",
            ".ends",
        ],
        {"X1.Xtop.R1": 500, "X1.Xlow.R1": 500, "X2.Xtop.R1": 1500, "X2.Xlow.R1": 1500},
    ),
    "params: as in PSpice, spaces around =": (
        [".subckt s a b PARAMS: r = 5", "R1 a b {r}", ".ends s", "X1 n 0 s params: r = 7", "X2 n 0 s"],
        {"X1.R1": 7, "X2.R1": 5},
    ),
    "sources in every order": (
        [
            "V1 a 0 DC 5 AC 1 45",
            "V2 b 0 AC 2 SIN(1.5 1 1k) DC 3",
            "V3 c 0 sin ( 2 1 1k )",
            "V4 d 0 SINE(2.5 1 1k)",
            "I1 0 a 1mA",
            "I2 0 b dc=2u",
            "V5 e 0 ac 1",
            "V6 f 0",
            "V7 g 0 PULSE(-1 1 0 1n 1n 1m 2m)",
            "R1 a 0 1",
        ],
        {"V1": 5, "V2": 3, "V3": 2, "V4": 2.5, "I1": 1e-3, "I2": 2e-6, "V5": 0, "V6": 0, "V7": -1},
    ),
    "KiCad": (
        [
            ".save all",
            ".probe alli",
            'V1 /IN 0 DC 5 SIN( 0 1 1k 0 0 0 ) AC 1  ',
            "R1 /IN Net-_D1-A_ 10k",
            "D1 Net-_D1-A_ 0 __D1",
            ".model __D1 D  (is=1n rs=0.6 n=1.7 )",
            ".end",
            "R1 this is not read",
        ],
        {"V1": 5, "R1": 1e4},
    ),
    "LTspice": (
        ["V1 N001 0 5", "R1 N001 out 10K tol=1 pwr=0.1", "C1 out 0 1µ", ".tran 1m", "* a remark", ".backanno", ".end"],
        {"R1": 1e4, "C1": 1e-6},
    ),
    "values by name": (["R1 a 0 r=1k", "C1 a 0 C = 2n ic=5", "R2 a 0 R={1k+1}"], {"R1": 1e3, "C1": 2e-9, "R2": 1001}),
}  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_netlist_means_what_a_pencil_says(name: str) -> None:
    lines, wanted = AWKWARD[name]
    netlist = read(*lines)
    assert {element: value_of(netlist, element) for element in wanted} == approx(wanted, rel=1e-15)


def test_nodes_of_a_subcircuit_are_named_as_ngspice_names_them() -> None:
    netlist = read(
        ".global VCC", ".subckt s a b", "R1 a m 1", "R2 m b 1", "R3 m vcc 1", "R4 m gnd 1", ".ends", "X1 IN out s"
    )
    assert netlist.nodes == ("in", "x1.m", "out", "vcc")
    assert [one.line for one in netlist.elements] == [4, 5, 6, 7]


def test_an_inner_parameter_hides_an_outer_one_and_what_is_given_is_meant_outside() -> None:
    netlist = read(
        ".param r=2 q=5", ".subckt s a b r=3", "R1 a b {r*q}", ".ends", "X1 n 0 s r={r}", "X2 n 0 s", "RT n 0 {r}"
    )
    # X1: r is the outer 2, so 2 * 5; X2: its own default, 3 * 5.
    assert [value_of(netlist, name) for name in ("X1.R1", "X2.R1", "RT")] == [10, 15, 2]


def test_a_diode_has_its_model_of_the_nearest_scope() -> None:
    netlist = read(
        ".model d1 D(IS=1n, N=1.5 RS=2)", ".subckt s a b k=2", ".model d1 D(IS={k*1p} BV=75)", "D1 a b d1", ".ends",
        "X1 a 0 s k=3", "D1 a 0 D1 area=2", "D2 0 a d1 2", "D3 a 0 plain", ".MODEL plain D",
    )  # fmt: skip
    inner, outer, second, plain = (one for one in netlist.elements if isinstance(one, Diode))
    assert (inner.model.saturation_current, inner.model.breakdown) == (approx(3e-12), 75)
    assert (outer.model.saturation_current, outer.model.emission, outer.model.series, outer.area) == (1e-9, 1.5, 2, 2)
    assert (second.plus, second.minus, second.area) == ("0", "a", 2)
    assert (plain.model.saturation_current, plain.model.emission, plain.model.series) == (1e-14, 1, 0)


def test_gmin_is_ngspices_unless_an_option_says_otherwise() -> None:
    assert read("R1 a 0 1").gmin == 1e-12
    assert read(".options reltol=1e-6 gmin = 1p temp=27", "R1 a 0 1").gmin == 1e-12
    assert read(".option GMIN=1e-15", "R1 a 0 1").gmin == 1e-15


def test_a_phase_is_in_degrees() -> None:
    source = read("V1 a 0 5 AC 2 90", "R1 a 0 1").elements[0]
    assert isinstance(source, VoltageSource)
    assert source.ac == approx(2j)


# --- what is told


TOLD = {
    "a control block": ([".control", "op", "print all", ".endc", "R1 a 0 1"], 2, "block up to line 5 is skipped"),
    "analyses": ([".tran 1u 1m", "R1 a 0 1", ".tran 2u 2m"], 2, ".tran is left out, also in line 4"),
    "a waveform": (["V1 a 0 SIN(3 1 1k)", "R1 a 0 1"], 2, "V1: SIN is left out but for its offset, 3"),
    "a waveform beside DC": (["V1 a 0 DC 1 SIN(3 1 1k)", "R1 a 0 1"], 2, "V1: SIN is left out; DC 1 counts"),
    "M for mega": (["R1 a 0 1M"], 2, "R1: 1M is read as 0.001: in SPICE M is milli, and mega is meg"),
    "F for farad": (["R1 a 0 1", "C1 a 0 1F"], 3, "C1: 1F is read as 1e-15 F: in SPICE F is femto"),
    "options": ([".options reltol=1e-4 method=gear", "R1 a 0 1"], 2, ".options: left out are reltol, method"),
    "another model": ([".model q NPN(BF=100)", "R1 a 0 1"], 2, "model q is left out: it is no diode's"),
    "a model's remarks": (
        [".model d D(IS=1n Iave=200m mfg=OnSemi)", "D1 a 0 d"],
        2,
        "model d: left out, for they change nothing here: iave, mfg",
    ),
    "temperature coefficients": (["R1 a 0 1 tc1=1e-3"], 2, "R1: tc1 is left out"),
    "lines behind .end": (["R1 a 0 1", ".end", "R2 a 0 1"], 3, "what follows .end is not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_is_left_out_is_told(name: str) -> None:
    lines, line, text = TOLD[name]
    notes = [note for note in read(*lines).notes if text in note.text]
    assert [note.line for note in notes] == [line]


def test_an_element_in_the_first_line_is_told_to_be_the_title() -> None:
    netlist = parse_netlist("R1 a 0 1k\nR2 a 0 2k\n")
    assert [one.name for one in netlist.elements] == ["R2"]
    assert netlist.notes[0].line == 1
    assert "is the title" in netlist.notes[0].text


# --- what is refused: lines after the title, the line at fault, and what the message says

REFUSED: dict[str, tuple[list[str], int | None, str]] = {
    "a transistor": (["R1 a 0 1", "Q1 a b 0 mod"], 3, '"Q1" is a bipolar transistor; only R, C, D, V, I and X'),
    "a MOSFET": (["M1 a b 0 0 mod"], 2, '"M1" is a MOSFET'),
    "an inductor": (["L1 a 0 1m"], 2, '"L1" is an inductor'),
    "a dependent source": (["E1 a 0 b 0 2"], 2, '"E1" is a dependent source'),
    "a behavioural source": (["B1 a 0 V=V(b)*2"], 2, '"B1" is a behavioural source'),
    "a transmission line": (["T1 a 0 b 0 Z0=50"], 2, '"T1" is a transmission line'),
    "an include": (["R1 a 0 1", ".include other.cir"], 3, ".include is not followed"),
    "inc": ([".inc 'other.cir'"], 2, ".inc is not followed"),
    "a library": ([".lib /usr/share/models.lib"], 2, ".lib is not followed: a netlist is read from one file"),
    "recursion": ([".subckt s a b", "X1 a b s", ".ends", "X1 n 0 s"], 3, "subcircuit s holds itself"),
    "recursion by two": (
        [".subckt s a b", "X1 a b t", ".ends", ".subckt t a b", "X1 a b s", ".ends", "X1 n 0 s"],
        6,
        "subcircuit s holds itself",
    ),
    "an unknown subcircuit": ([".subckt halfer a b", ".ends", "X1 n 0 halver"], 4, 'no .subckt "halver" in this file'),
    "too few nodes": ([".subckt s a b", "R1 a b 1", ".ends", "X1 n s"], 5, "X1 connects 1 nodes; s has 2 (line 2)"),
    "an unknown parameter of a subcircuit": ([".subckt s a b r=1", ".ends", "X1 n 0 s q=1"], 4, 'has no parameter "q"'),
    "a subcircuit that is not closed": (["R1 a 0 1", ".subckt s a b"], 3, ".subckt s without an .ends"),
    ".ends alone": ([".ends"], 2, ".ends without a .subckt"),
    "the wrong .ends": ([".subckt s a b", ".ends t"], 3, ".ends t, but the open subcircuit is s"),
    "a subcircuit twice": ([".subckt s a b", ".ends", ".subckt S a b", ".ends"], 4, "stands in line 2 already"),
    ".control without an end": ([".control", "op"], 2, ".control without an .endc"),
    "an unknown command": (["R1 a 0 1", ".modle d D"], 3, '".modle" is not understood. Did you mean "model"?'),
    "a function": ([".func f(x) {x*2}"], 2, '".func" is not understood'),
    "a unknown model": ([".model dmod D", "D1 a 0 dmot"], 3, 'no .model "dmot" in this file. Did you mean "dmod"?'),
    "a model of another type": ([".model d NPN", "D1 a 0 d"], 2, "is of the type npn; a diode needs one of type D"),
    "a model with another law": ([".model d D(IS=1n IKF=0.1)", "D1 a 0 d"], 2, '"ikf" would make another law of it'),
    "LTspice's ideal diode": ([".model d D(Ron=1 Roff=1G Vfwd=0.7)", "D1 a 0 d"], 2, '"ron" would make another law'),
    "a diode of level 3": ([".model d D(level=3)", "D1 a 0 d"], 2, "only diodes of level 1"),
    "a negative saturation current": ([".model d D(IS=-1n)", "D1 a 0 d"], 2, "IS is -1e-09; it must be above 0"),
    "another temperature": (["R1 a 0 1", ".temp 50"], 3, "a temperature of 50 C"),
    "another temperature by option": ([".options temp=85"], 2, "a temperature of 85 C"),
    "a shunt by option": ([".options rshunt=1e12"], 2, '"rshunt" would change the circuit'),
    "gmin of nothing": ([".options gmin=0"], 2, "gmin is 0 S; it must be above 0"),
    "no value": (["R1 a 0"], 2, "R1 needs one value in Ohm"),
    "two values": (["R1 a 0 10 k"], 2, 'R1 needs one value in Ohm, not "10 k"'),
    "zero Ohm": (["R1 a 0 0"], 2, "R1 has 0 Ohm; it must be above 0; a wire is a voltage source of 0 V"),
    "negative Ohm": (["R1 a 0 -5"], 2, "R1 has -5 Ohm"),
    "4k7": (["R1 a 0 4k7"], 2, "write 4.7k, not 4k7"),
    "a parameter without braces": ([".param r=1k", "R1 a 0 r"], 3, "a parameter stands in braces: {r}"),
    "an unknown parameter": ([".param width=1k", "R1 a 0 {widht}"], 3, 'no parameter "widht". Did you mean "width"?'),
    "a parameter that needs itself": ([".param a={b} b={a}", "R1 x 0 {a}"], 2, "needs itself"),
    "a parameter twice": ([".param a=1", ".param a=2"], 3, 'parameter "a" stands in line 2 already'),
    "a division by zero": (["R1 a 0 {1/0}"], 2, '"1/0" has no value'),
    "a power tower": (["R1 a 0 {9**9**9}"], 2, "a**b**c is read in two ways"),
    "an overflow": (["R1 a 0 {exp(1000)}"], 2, "has no value"),
    "a sign before a power": (["R1 a 0 {5-(-2**2)}"], 2, "a sign before a power is read in two ways"),
    "the root of a negative number": (["R1 a 0 {sqrt(0-1)}"], 2, "sqrt of -1 is not a real number"),
    "code in an expression": (["R1 a 0 {__import__('os')}"], 2, ""),
    "an unknown function": (["R1 a 0 {sqr(4)}"], 2, 'no function "sqr". Did you mean "sqrt"?'),
    "LTspice's power": (["R1 a 0 {2^3}"], 2, "a power is written **"),
    "braces that stay open": (["R1 a 0 {1+2"], 2, "is not closed"),
    "a bracket that stays open": (["R1 a 0 {(1+2}"], 2, "a closing bracket is missing"),
    "a name twice": (["R1 a 0 1", "r1 a 0 2"], 3, '"r1" stands in line 2 already'),
    "a multiplier": (["R1 a 0 1 m=2"], 2, '"m" would change the circuit'),
    "a series resistance": (["V1 a 0 5 Rser=1"], 2, '"Rser" is not read; draw it as a part'),
    "a waveform whose rest is not clear": (["V1 a 0 SIN(0 1 1k 0 0 90)"], 2, "what SIN is at rest is not clear"),
    "a word too many": (["V1 a 0 5 volts"], 2, '"volts" is not understood'),
    "a node with brackets": (["R1 Net-(D1-Pad1) 0 1"], 2, "holds one of ( )"),
    "a node called ground": (["R1 ground 0 1"], 2, "is no ground in SPICE"),
    "two nodes of one name": ([".subckt s a", "R1 a m 1", ".ends", "X1 n s", "R2 x1.m 0 1"], 6, "is the name of two"),
    "nothing to continue": (["+ R1 a 0 1"], 2, "this line continues nothing"),
    "no ground": (["R1 a b 1"], None, "no element is connected to ground"),
    "no element": ([".op"], None, "it holds no element"),
    "an odd letter": (["R1 a 0 \x07"], 2, "it holds '\\x07'"),
    "no element's name": (["12 a 0 1"], 2, '"12" is no element'),
    "a letter alone": (["R a 0 1"], 2, '"R" is no element'),
    "one node": (["R1 a"], 2, "R1 needs two nodes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_with_its_line(name: str) -> None:
    lines, line, text = REFUSED[name]
    with pytest.raises(NetlistError) as refused:
        read(*lines)
    assert text in str(refused.value)
    assert refused.value.line == line


OVER_LONG = {
    "lines": "title\n" + "\n" * 200_001,
    "one line": "title\nR1 a 0 1" + " " * 50_001 + "x",
    "continuations": "title\nR1 a 0 1\n" + ("+" + " x" * 100 + "\n") * 300,
    "an expression": "title\nR1 a 0 {1" + "+1" * 1001 + "}\n",
    "brackets": "title\nR1 a 0 {" + "(" * 900 + "1" + ")" * 900 + "}\n",
    "signs": "title\nR1 a 0 {" + "-" * 2500 + "1}\n",
    "parameters": "title\n" + "".join(f".param p{i}={{p{i + 1}}}\n" for i in range(2000)) + "R1 a 0 {p0}\n",
    "definitions": "title\n" + "".join(f".subckt s{i} a b\n" for i in range(1000)),
    "depth": "title\n"
    + "".join(f".subckt s{i} a b\nX1 a b s{i + 1}\n.ends\n" for i in range(100))
    + ".subckt s100 a b\nR1 a b 1\n.ends\nX1 n 0 s0\n",
    "elements": "title\n"
    + "".join(f".subckt s{i} a b\n" + "".join(f"X{j} a b s{i + 1}\n" for j in range(10)) + ".ends\n" for i in range(8))
    + ".subckt s8 a b\nR1 a b 1\n.ends\nX1 n 0 s0\n",
    "empty subcircuits": "title\n"
    + "".join(f".subckt s{i} a b\n" + "".join(f"X{j} a b s{i + 1}\n" for j in range(10)) + ".ends\n" for i in range(8))
    + ".subckt s8 a b\n.ends\nX1 n 0 s0\n",
}


@pytest.mark.parametrize("name", OVER_LONG)
def test_what_is_over_long_is_refused(name: str) -> None:
    with pytest.raises(NetlistError):
        parse_netlist(OVER_LONG[name])


# --- files


def test_a_fault_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "board.cir"
    path.write_text("title\nR1 a 0 1\nQ1 a b c d\n")
    with pytest.raises(FileError, match=r"board\.cir, line 3: \"Q1\" is a bipolar transistor.*Nothing was started\."):
        read_netlist(path)


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)]
)
def test_the_encodings_that_tools_write_are_read(tmp_path: Path, encoding: str, told: bool) -> None:
    path = tmp_path / "board.net"
    path.write_bytes("* Ströme\nR1 a 0 1k\nC1 a 0 10µ\n".encode(encoding))
    netlist = read_netlist(path)
    assert value_of(netlist, "C1") == 1e-5
    assert any("Windows-1252" in note.text for note in netlist.notes) == told


@pytest.mark.parametrize("content", [b"", b" \n", b"\x81\x8d\xff", b"PK\x03\x04", b"t\n" + b"R1 a 0 1\n" * 700_000])
def test_a_file_that_is_no_netlist_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "board.cir"
    path.write_bytes(content)
    with pytest.raises(FileError, match="Nothing was started"):
        read_netlist(path)


def complaint(path: Path) -> str:
    try:
        read_netlist(path)
    except FileError as error:
        return str(error)
    return ""


drawn = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = st.sampled_from(
    ["R1", "D1", "V1", "X1", ".subckt", ".ends", ".param", ".model", ".options", ".end", ".control", " ", "\n", "\n+",
     "{", "}", "'", "(", ")", "=", ",", "a", "0", "s", "1k", "1meg", "**", "-", "AC", "SIN", "D", "temp",
     "gmin", "*", ";", "$"]
)  # fmt: skip


@drawn
@given(st.lists(PIECES | st.text(max_size=3), max_size=60).map("".join))
def test_random_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "board.cir"
    path.write_bytes(("title\n" + text).encode("utf-8", "surrogatepass"))
    assert "\n" not in complaint(path)


@drawn
@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "board.cir"
    path.write_bytes(content)
    assert "\n" not in complaint(path)


# --- to a network

BOARD = (
    "V1 in 0 5",
    "R1 in a 1k",
    "R2 a b 2k",
    "R3 b 0 3k",
    "RLOAD b 0 10k",
    "D1 a 0 dm",
    "C1 b 0 1n",
    ".model dm D(IS=1n N=1.5 RS=2 CJO=1p BV=50)",
    ".save v(b) v(a, b)",
)


def test_a_board_becomes_a_network() -> None:
    network, notes = to_network(read(*BOARD), ["r?"], None, None)
    assert network.tunable_names == ("R1", "R2", "R3")
    assert network.own_conductances == approx([1e-3, 5e-4, 1 / 3e3])
    assert (network.inputs, network.outputs) == ((Port("in"),), (Port("b"), Port("a", "b")))
    assert [branch.name for branch in network.branches] == ["R1", "R2", "R3", "RLOAD", "D1", "D1#rs"]
    junction, series = network.branches[4], network.branches[5]
    assert (junction.plus, junction.minus, series.plus, series.minus) == ("d1#internal", GROUND, "a", "d1#internal")
    # 1.5 times 25.865 mV at 300.15 K, with the constants of ngspice.
    assert junction.theta == approx((1e-9, 1.5 * 1.38064852e-23 / 1.6021766208e-19 * 300.15, 1e-12), rel=1e-12)
    assert series.theta == (0.5,)
    assert {note.line: note.text.split(" is left out")[0] for note in notes} == {
        2: "V1 (5 V)",
        8: "C1",
        9: "model dm: its capacitance and its breakdown at 50 V",
    }


def test_patterns_choose_among_the_resistors_alone() -> None:
    lines = (".subckt s a b", "R1 a b 1", ".ends", "X1 a 0 s", "R2 a 0 1", "R[3] a 0 1", "D1 a 0 d", ".model d D")
    for patterns, wanted in (
        (["*"], ("X1.R1", "R2", "R[3]")),
        (["R*"], ("R2", "R[3]")),
        (["*.r*"], ("X1.R1",)),
        (["R[3]", "x1.*"], ("X1.R1", "R[3]")),
    ):
        assert to_network(read(*lines), patterns, [], [])[0].tunable_names == wanted
    with pytest.raises(NetlistError, match=r'no resistor is called "D1"\. Its resistors: X1\.R1, R2'):
        to_network(read(*lines), ["D1"], [], [])


def test_a_source_that_is_no_input_is_refused_with_its_line() -> None:
    with pytest.raises(
        NetlistError, match=r"V1 is a voltage source of 5 V at in, which is no input.*task\.inputs\.bias"
    ) as refused:
        to_network(read(*BOARD), ["R*"], [Port("a")], [Port("b")])
    assert refused.value.line == 2


def test_a_source_between_two_nodes_drives_a_pair() -> None:
    assert ports_of(read("V1 a b 1", "V2 0 c 1", "R1 a 0 1", "R2 b c 1"))[0] == (Port("a", "b"), Port("c"))


def test_a_port_that_only_a_capacitor_reaches_is_refused() -> None:
    with pytest.raises(NetlistError, match='no node "out"'):
        to_network(read("V1 in 0 1", "R1 in 0 1", "C1 in out 1n"), ["R1"], None, [Port("out")])
