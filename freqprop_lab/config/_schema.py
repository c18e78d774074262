"""From a document to a checked model, every fault told with file, line, field and the nearest valid name."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from freqprop_lab.config._text import Document, FileError, Where
from freqprop_lab.names import nearest, shown


class Section(BaseModel):
    """A section of a file: unknown fields are refused with the nearest known one; values don't change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [info.alias or name for name, info in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    raise PydanticCustomError(
                        "unknown_field", "{message}", {"message": _unknown(str(key), known), "key": str(key)}
                    )
        return data


Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model]) -> Model:
    """Check a document against a model. Raises FileError for the first fault, naming how many more there are."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        first, line = _describe(faults[0], document)
        more = len({fault["loc"] for fault in faults}) - 1
        also = f" ({more} more fault{'s' if more > 1 else ''} in this file)" if more > 0 else ""
        raise FileError(
            document.path, f"{first.rstrip('.')}{'' if first.endswith('?') else '.'} Nothing was started.{also}", line
        ) from None


def _unknown(key: str, known: list[str]) -> str:
    return f'unknown field "{key}".{nearest(key, known)} Allowed here: {shown(known)}'


def _describe(fault: Any, document: Document) -> tuple[str, int | None]:
    where = _in_file(fault["loc"], document.data, missing=fault["type"] == "missing")
    context = fault.get("ctx", {})
    line = document.line((*where, context["key"]) if fault["type"] == "unknown_field" else where)
    field = _dotted(where)
    kind, given = fault["type"], fault.get("input")
    if kind == "unknown_field":
        message = context["message"]
        return (f'in "{field}": {message}' if field else message), line
    if kind == "missing":
        return f'field "{field}" is missing', line
    if kind in ("literal_error", "enum"):
        allowed = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f'"{field}" is {given!r}; allowed: {", ".join(allowed)}.{nearest(str(given), allowed)}', line
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        allowed = context.get("expected_tags", "").replace("'", "").split(", ")
        tag, name = str(context.get("tag", "")), context["discriminator"].strip("'")
        said = f'"{field}.{name}" is "{tag}"' if tag else f'"{field}" lacks the field "{name}"'
        return f"{said}; allowed: {', '.join(allowed)}.{nearest(tag, allowed)}", document.line((*where, name))
    if kind == "value_error":
        return f'"{field}": {context["error"]}' if field else str(context["error"]), line
    return f'"{field}" is {_brief(given)}; {_plain_words(fault)}', line


def _in_file(place: Where, data: Any, *, missing: bool) -> Where:
    """Keep those parts of pydantic's place that stand in the file; it adds the names of a union's members."""
    kept: list[str | int] = []
    for number, part in enumerate(place):
        last = number == len(place) - 1
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            kept.append(part)
            data = data[cast("Any", part)]
        elif last and missing:
            kept.append(part)
    return tuple(kept)


def _dotted(where: Where) -> str:
    return ".".join(f"{part}" for part in where)


def _brief(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain_words(fault: Any) -> str:
    context: dict[str, Any] = fault.get("ctx", {})
    words = {
        "greater_than": "it must be above {gt}",
        "greater_than_equal": "it must be at least {ge}",
        "less_than": "it must be below {lt}",
        "less_than_equal": "it must be at most {le}",
        "int_parsing": "a whole number is wanted",
        "int_type": "a whole number is wanted",
        "int_from_float": "a whole number is wanted",
        "bool_type": "true or false is wanted",
        "bool_parsing": "true or false is wanted",
        "string_type": "text is wanted",
        "list_type": "a list such as [1, 2] is wanted",
        "tuple_type": "a list such as [1, 2] is wanted",
        "too_short": "at least {min_length} values are wanted",
        "too_long": "at most {max_length} values are wanted",
        "model_type": "a section with fields of its own is wanted",
        "dict_type": "a section with fields of its own is wanted",
        "finite_number": "a finite number is wanted",
    }
    template = words.get(fault["type"])
    return template.format(**context) if template else cast("str", fault["msg"])
