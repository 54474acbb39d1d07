"""`describe`: the JSON schema of a type as a mask can hold it, and the refusal, by field path, of what none can.

pydantic says what a type's JSON looks like; where that is looser than what the type reads back (an infinite float,
a date of no month), the schema here is narrower. The only module that imports pydantic's schemas; imported lazily.
"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from . import text_formats

# Marks of our own in a schema, taken out again by `held_schema`: why no mask holds a type, and why no text can.
UNHELD, UNSAYABLE = "x-unheld", "x-unsayable"
DECIMAL = "x-decimal"

# Without an exponent, as people write numbers, and never infinite.
_LARGEST = 10**15
_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_BOUND_KEYS = ("ge", "gt", "le", "lt", "now_op")
_BOUND_NAMES = dict(zip(_BOUND_KEYS, (*_LOWER, *_UPPER), strict=False))

# What pydantic calls a format and a pattern holds; None: any text will do.
FORMATS: Final[dict[str, str | None]] = {
    "email": text_formats.EMAIL,
    "uuid": text_formats.uuid(),
    **{f"uuid{version}": text_formats.uuid(version) for version in range(1, 9)},
    "ipv4": text_formats.IPV4,
    "ipv6": text_formats.IPV6,
    "ipvanyaddress": f"{text_formats.IPV4}|{text_formats.IPV6}",
    "password": None,
    "path": None,
}


class TypeSchema(GenerateJsonSchema):
    """pydantic's schema generator, without the forms that are looser than the type itself."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        """Mark a type without a schema instead of failing, so that the refusal can say where it stands."""
        cls = schema.get("cls")
        return {UNSAYABLE: f"{getattr(cls, '__qualname__', None) or error_info} cannot be expressed as JSON"}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """A number that is finite."""
        return _finite(super().float_schema(schema))

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number; pydantic's own schema also allows any string."""
        number: JsonSchemaValue = {"type": "number", DECIMAL: True}
        for key, keyword in _BOUND_NAMES.items():
            if key in schema:
                bound = float(cast(dict[str, Any], schema)[key])
                number[keyword] = int(bound) if bound.is_integer() else bound
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        if "multiple_of" in schema:
            number["multipleOf"] = float(schema["multiple_of"])
        elif places is not None:
            number["multipleOf"] = 1 if places == 0 else float(f"1e-{places}")
        if digits is not None and places is not None:
            largest = 10 ** (digits - places)
            if not any(keyword in number for keyword in _LOWER):
                number["exclusiveMinimum"] = -largest
            if not any(keyword in number for keyword in _UPPER):
                number["exclusiveMaximum"] = largest
        elif digits is not None:
            number[UNHELD] = "Decimal with max_digits but without decimal_places cannot be enforced"
        return _finite(number)

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """A day that exists."""
        return _text(text_formats.DATE, schema, "date")

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """A time of day, with an offset where the type asks for one."""
        return _text(text_formats.NAIVE_TIME + _offset(schema), schema, "time")

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """A day that exists and a time of day, with an offset where the type asks for one."""
        return _text(f"{text_formats.DATE}T{text_formats.NAIVE_TIME}{_offset(schema)}", schema, "datetime")

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """An ISO 8601 duration."""
        return _text(text_formats.DURATION, schema, "timedelta")

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """A URL with a host, of the schemes that the type allows."""
        return _text(text_formats.url(tuple(schema.get("allowed_schemes", ()))), schema, "URL")

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Refused."""
        return {UNSAYABLE: "bytes cannot be expressed as JSON: they have no text of their own"}

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """Refused."""
        return {UNSAYABLE: "complex cannot be expressed as JSON, which has no such numbers"}

    def generator_schema(self, schema: core_schema.GeneratorSchema) -> JsonSchemaValue:
        """Refused: the value read back would be an iterator that validates when it is read."""
        return {UNSAYABLE: "an Iterable cannot be read back as a value; use a list"}

    def json_schema(self, schema: core_schema.JsonSchema) -> JsonSchemaValue:
        """JSON text inside a JSON string."""
        return {"type": "string", UNHELD: "JSON inside a string cannot be enforced"}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """One of the members, if JSON has them."""
        if any(isinstance(member, bytes) for member in schema["expected"]):
            return {UNSAYABLE: "a Literal of bytes cannot be expressed as JSON"}
        return super().literal_schema(schema)

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """One of the members' values, if JSON has them."""
        for member in schema["members"]:
            if not isinstance(member.value, str | int | float | None) or member.value != member.value:
                return {UNSAYABLE: f"{member} cannot be expressed as JSON by its value {member.value!r}"}
        return super().enum_schema(schema)

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """A list of different items, which no mask holds."""
        return {**super().set_schema(schema), UNHELD: _unordered("set", schema)}

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """A list of different items, which no mask holds."""
        return {**super().frozenset_schema(schema), UNHELD: _unordered("frozenset", schema)}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """An object whose keys are held to their type too."""
        result: JsonSchemaValue = {"type": "object"}
        self.update_with_validations(result, schema, self.ValidationsMapping.object)
        values = self.generate_inner(schema["values_schema"]) if "values_schema" in schema else {}
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        keys = self.get_schema_from_definitions(keys["$ref"]) or {} if "$ref" in keys else keys
        if UNSAYABLE in keys or UNHELD in keys:
            return {**result, **{mark: f"as a key, {keys[mark]}" for mark in (UNSAYABLE, UNHELD) if mark in keys}}
        if schema.get("min_length", 0) > 1:  # the same key may come twice
            result[UNHELD] = "a dict of at least two entries cannot be enforced: no mask holds that its keys differ"
        members = keys.get("enum", [keys["const"]] if "const" in keys else [])
        if any(not isinstance(member, str) for member in members):
            return {UNSAYABLE: f"a dict with the keys {members} cannot be expressed as JSON, where keys are strings"}
        pattern = _key_pattern(keys, members)
        if pattern is None:
            kind = keys.get("type", "this kind")
            return {**result, UNHELD: f"a dict with keys of {kind} and their bounds cannot be enforced"}
        if not pattern:
            return {**result, "additionalProperties": values}
        return {**result, "patternProperties": {pattern: values}, "additionalProperties": False}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """One of the alternatives; their tags differ, so that any of them is exactly one of them."""
        result = super().tagged_union_schema(schema)
        result["anyOf"] = result.pop("oneOf")
        return result


def describe(adapter: TypeAdapter[Any]) -> JsonSchemaValue:
    """Return the schema of a type, with the marks in it; for `type_refusal` and `held_schema`."""
    return TypeSchema(by_alias=True).generate(adapter.core_schema, mode="validation")


def _finite(number: JsonSchemaValue) -> JsonSchemaValue:
    """Give a number the bounds that it lacks."""
    lower = next((number[keyword] for keyword in _LOWER if keyword in number), None)
    upper = next((number[keyword] for keyword in _UPPER if keyword in number), None)
    if lower is None and (upper is None or upper > -_LARGEST):
        number["minimum"] = -_LARGEST
    if upper is None and (lower is None or lower < _LARGEST):
        number["maximum"] = _LARGEST
    return number


def _text(pattern: str, schema: Any, what: str) -> JsonSchemaValue:
    result: JsonSchemaValue = {"type": "string", "pattern": f"^(?:{pattern})$"}
    bounds = [key for key in _BOUND_KEYS if key in schema]
    if bounds or isinstance(schema.get("tz_constraint"), int):
        named = " and ".join("a bound to now" if key == "now_op" else key for key in bounds)
        result[UNHELD] = f"{what} with {named or 'one offset'} cannot be enforced"
    return result


def _offset(schema: core_schema.TimeSchema | core_schema.DatetimeSchema) -> str:
    match schema.get("tz_constraint"):
        case "naive":
            return ""
        case None:
            return f"(?:{text_formats.OFFSET})?"
        case _:
            return text_formats.OFFSET


def _unordered(kind: str, schema: Any) -> str:
    inner = schema.get("items_schema", {})
    name = getattr(inner.get("cls"), "__name__", None) or inner.get("type", "Any")
    return f"{kind}[{name}] cannot be enforced: no mask holds that its items are all different"


def _key_pattern(keys: JsonSchemaValue, members: list[str]) -> str | None:
    """Return the regex of a dict's keys: empty for any text, None where there is none."""
    if members:
        return f"^(?:{'|'.join(map(_escaped, members))})$"
    constraints = keys.keys() - {"type", "title", "description"}
    match keys.get("type", "string"):
        case "string" if not constraints:
            return ""
        case "string" if constraints == {"pattern"}:
            return str(keys["pattern"])
        case "string" if constraints == {"format"} and keys["format"] in FORMATS:
            pattern = FORMATS[keys["format"]]
            return f"^(?:{pattern})$" if pattern else ""
        case "string" if constraints <= {"minLength", "maxLength"}:
            return rf"^(?:.|\n){{{keys.get('minLength', 0)},{keys.get('maxLength', '')}}}$"
        case "integer" if not constraints:
            return "^-?(?:0|[1-9][0-9]{0,17})$"
        case "boolean":
            return "^(?:true|false)$"
        case _:
            return None


def _escaped(text: str) -> str:
    return "".join("\\" + character if character in r"\.^$*+?{}[]|()/-" else character for character in text)
