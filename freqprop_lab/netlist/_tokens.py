"""A logical line's words and values. Braces and quotes hold an expression, which comes out in braces."""

from __future__ import annotations

from freqprop_lab.names import cut
from freqprop_lab.netlist._elements import NetlistError
from freqprop_lab.netlist._lines import Line

_SIGNS = "=(),"


def tokens(line: Line, text: str) -> list[str]:
    """Split values: `r=2*x` is three and more tokens, `{2*x}` one. Raises NetlistError for what is not closed."""
    found: list[str] = []
    word = ""
    place = 0
    while place < len(text):
        letter = text[place]
        if letter in "{'":
            end = _close(line, text, place)
            found += [word, "{" + text[place + 1 : end] + "}"]
            word, place = "", end
        elif letter in '"}':
            raise NetlistError(
                f"unexpected {letter}; an expression stands in braces {{...}} or quotes '...'", line.number
            )
        elif letter.isspace() or letter in _SIGNS:
            found += [word, letter if letter in _SIGNS else ""]
            word = ""
        else:
            word += letter
        place += 1
    return [part for part in (*found, word) if part]


def _close(line: Line, text: str, start: int) -> int:
    if text[start] == "'":
        end = text.find("'", start + 1)
    else:
        depth, end = 0, -1
        for place in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                end = place
                break
    inner = text[start + 1 : end]
    if end < 0 or "{" in inner or "}" in inner:
        what = "is not closed" if end < 0 else "holds braces"
        raise NetlistError(f"the expression {cut(text[start:])} {what}", line.number)
    return end


def pairs(line: Line, found: list[str]) -> dict[str, str]:
    """Take `name = value` pairs, names in lower case. Raises NetlistError for anything between them."""
    taken: dict[str, str] = {}
    place = 0
    while place < len(found):
        name = found[place].lower()
        if name == ",":
            place += 1
            continue
        if found[place + 1 : place + 2] != ["="] or place + 2 >= len(found) or found[place + 2] in _SIGNS:
            raise NetlistError(f'"{cut(found[place])}" is not understood; name=value is wanted there', line.number)
        if name in taken:
            raise NetlistError(f'"{cut(name)}" is given twice', line.number)
        taken[name] = found[place + 2]
        place += 3
    return taken


def words_before_pairs(found: list[str]) -> int:
    """Return how many tokens stand before the first `name =`."""
    return found.index("=") - 1 if "=" in found else len(found)
