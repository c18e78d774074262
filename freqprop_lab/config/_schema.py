"""From a document to a checked model, every fault told with file, line, field and the nearest valid name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from freqprop_lab.config._text import Document, FileError, Where
from freqprop_lab.names import cut, nearest, shown


class Section(BaseModel):
    """A section of a file: unknown fields are refused with the nearest known one; values don't change afterwards.

    Strict: true is no number, "10" no whole number, and yes is text. An empty section has its defaults: who comments
    out all of its fields means that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [info.alias or name for name, info in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    message = f'unknown field "{cut(str(key))}".{nearest(str(key), known)} Allowed here: {shown(known)}'
                    raise PydanticCustomError("unknown_field", "{message}", {"message": message, "inside": (str(key),)})
        return {} if data is None else data


def fault(message: str, *inside: str | int) -> PydanticCustomError:
    """Return the error that a validator of a section raises where one of its fields is at fault: the line is that's."""
    return PydanticCustomError("field_fault", "{message}", {"message": message, "inside": inside})


Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model]) -> Model:
    """Check a document against a model. Raises FileError for the first fault, naming how many more there are."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        by_field: dict[Where, list[Any]] = {}
        for found in error.errors(include_url=False):
            by_field.setdefault(_place(found, document.data), []).append(found)
        where, faults = next(iter(by_field.items()))
        message = _describe(where, faults, document)
        if document.is_changed(where):
            message = f"{message.rstrip('.')} (this value was given beside the file)"
        more = len(by_field) - 1
        if more:
            stop = "" if message.endswith(("?", ".")) else "."
            message = f"{message}{stop} {more} more fault{'s' if more > 1 else ''} in this file"
        raise FileError(document.path, message, document.line(where)) from None


def _place(found: Any, data: Any) -> Where:
    """Keep those parts of pydantic's place that stand in the file; it adds the names of a union's members."""
    kept: list[str | int] = []
    last = len(found["loc"]) - 1
    for number, part in enumerate(found["loc"]):
        inside = len(data) if isinstance(data, list) else 0
        if (isinstance(data, dict) and part in data) or (isinstance(part, int) and part < inside):
            kept.append(part)
            data = data[cast("Any", part)]
        elif number == last and found["type"] == "missing":
            kept.append(part)
    if found["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kept.append(found["ctx"]["discriminator"].strip("'"))
    return (*kept, *found.get("ctx", {}).get("inside", ()))


_OF_NAMES = r"^[\w .-]+$"
_TOLD = ("unknown_field", "field_fault", "value_error")  # kinds of fault whose words are our own


def _describe(where: Where, faults: Sequence[Any], document: Document) -> str:
    first = faults[0]
    context, kind, given = first.get("ctx", {}), first["type"], first.get("input")
    name = _dotted((*document.section_of, *where))
    section = _dotted((*document.section_of, *where[:-1]))
    if kind == "missing":
        return f'field "{name}" is missing'
    if kind in ("literal_error", "enum"):
        allowed = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f'field "{name}" is {_brief(given)}; allowed: {", ".join(allowed)}.{nearest(str(given), allowed)}'
    if kind == "union_tag_invalid":
        allowed = context["expected_tags"].replace("'", "").split(", ")
        tag = str(context["tag"])
        return f'field "{name}" is "{cut(tag)}"; allowed: {", ".join(allowed)}.{nearest(tag, allowed)}'
    if kind == "union_tag_not_found":
        return f'field "{name}" is missing; it says which kind of {where[-2] if len(where) > 1 else "section"} is meant'
    if kind in _TOLD:
        place = f'in "{section}": ' if kind == "unknown_field" else f'field "{name}": '
        said = context.get("message") or context["error"]
        return f"{place if (section if kind == 'unknown_field' else name) else ''}{said}"
    words = dict.fromkeys(_plain_words(found, alone=len(faults) == 1) for found in faults)
    return f'field "{name}" is {_brief(given)}; {", or ".join(words)}'


def _dotted(where: Where) -> str:
    return ".".join(cut(f"{part}") for part in where)


def _brief(given: Any) -> str:
    return "empty" if given is None else cut(f'"{given}"' if isinstance(given, str) else repr(given))


def _letters(pattern: str) -> str:
    """Say which letters a pattern wants: in words where it is that of names, else by itself."""
    if pattern == _OF_NAMES:
        return "letters, digits, spaces, points, - and _ are allowed"
    return f"text of the form {pattern.replace('{', '{{').replace('}', '}}')} is wanted"


def _list(given: Any) -> str:
    """Show the list that is wanted in the place of one value."""
    if isinstance(given, str) and given:
        written = given.replace("{", "{{").replace("}", "}}")
        return f'a list is wanted, also for one value: ["{cut(written)}"]'
    return "a list such as [1, 2] is wanted"


def _plain_words(found: Any, *, alone: bool) -> str:
    context: dict[str, Any] = found.get("ctx", {})
    section = "a section with fields of its own is wanted"
    pair = "a list such as [1, 2] is wanted"
    words = {
        "greater_than": "it must be above {gt}",
        "greater_than_equal": "it must be at least {ge}",
        "less_than": "it must be below {lt}",
        "less_than_equal": "it must be at most {le}",
        "int_type": "a whole number is wanted, written without point or exponent",
        "bool_type": "true or false is wanted",
        "string_type": "text is wanted",
        "string_too_short": "it must not be empty",
        "string_too_long": "at most {max_length} letters are allowed",
        "string_pattern_mismatch": _letters(context.get("pattern", "")),
        "list_type": _list(found.get("input")) if alone else pair,
        "tuple_type": pair,
        "too_short": "it must have at least {min_length} values, it has {actual_length}",
        "too_long": "it must have at most {max_length} values, it has {actual_length}",
        "model_type": section,
        "model_attributes_type": section,
        "dict_type": section,
        "finite_number": "a finite number is wanted",
        "value_error": "{error}",
    }
    template = words.get(found["type"])
    return template.format(**context) if template else cast("str", found["msg"])
