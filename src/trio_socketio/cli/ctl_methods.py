"""The methods of the control API as its OpenRPC document describes them, for ``ctl``.

Spec: OpenRPC 1.3.2.
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn

from trio_socketio.control.sync_client import unescape
from trio_socketio.errors import ConfigurationError

_NAMES: Final = {
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "object",
    "null": "null",
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}

Schema = Mapping[str, Any]


class Parameter(NamedTuple):
    """A parameter of a method.

    Args:
        name: as it is sent.
        description: what it means.
        required: whether it may not be left out.
        schema: what values it takes, in JSON Schema; it has the default.
    """

    name: str
    description: str
    required: bool
    schema: Schema


class MethodDescription(NamedTuple):
    """A method.

    Args:
        name: as it is called.
        summary: what it does.
        parameters: by name, those that are required first.
        result: what it answers, in JSON Schema.
    """

    name: str
    summary: str
    parameters: dict[str, Parameter]
    result: Schema

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Read parameters that are written as KEY=VALUE.

        Raises:
            ConfigurationError: a parameter is unknown, missing, given twice or of another type.
        """
        params: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                raise ConfigurationError(f"{word!r}: a parameter is written KEY=VALUE")
            parameter = self.parameters.get(name)
            if parameter is None:
                raise ConfigurationError(f"{name}: {self._similar(name)}")  # CTL-04
            given = _read(parameter, text)
            if isinstance(given, list) and isinstance(params.get(name), list):
                params[name] += given  # a list may be given item by item
            elif name in params:
                raise ConfigurationError(f"{name}: it is given twice")
            else:
                params[name] = given
        for name, parameter in self.parameters.items():
            if parameter.required and name not in params:
                raise ConfigurationError(  # CTL-05
                    f"{name} is missing: {self.name} needs {name}=VALUE "
                    f"({expected(parameter.schema)}; {parameter.description.rstrip('.')})"
                )
        return params

    def _similar(self, name: str) -> str:
        similar = get_close_matches(name, self.parameters, 1)
        if similar:
            return f"{self.name} has no such parameter; did you mean {similar[0]}?"
        has = ", ".join(self.parameters)
        return f"{self.name} has no such parameter; it has {has or 'none'}"


class Api:
    """The methods that a server has.

    Args:
        document: of OpenRPC.

    Attributes:
        methods: by name.
        schemas: of results and their parts, by name.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.methods = {one["name"]: _describe(one) for one in document["methods"]}
        self.schemas: dict[str, Schema] = document["components"]["schemas"]

    def find(self, name: str) -> MethodDescription:
        """Return the method of this name.

        Raises:
            ConfigurationError: there is none.
        """
        if name not in self.methods:
            # People remember the verb: kick is users.kick.
            similar = [one for one in self.methods if one.endswith(f".{name}")]
            similar = similar[:5] or get_close_matches(name, self.methods, 1)
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            raise ConfigurationError(f"there is no method {name!r}{hint}")
        return self.methods[name]


def _describe(method: Mapping[str, Any]) -> MethodDescription:
    parameters = {
        one["name"]: Parameter(
            one["name"], one.get("description", ""), one.get("required", False), one["schema"]
        )
        for one in method["params"]
    }
    return MethodDescription(
        method["name"], method.get("summary", ""), parameters, method["result"]["schema"]
    )


def expected(schema: Schema) -> str:
    """Say which values a schema takes, in a few words."""
    if "anyOf" in schema:
        return " or ".join(map(expected, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return reference(schema)
    kind = schema.get("type")
    if kind is None:
        return "any value"
    if kind == "array":
        items = expected(schema.get("items", {}))
        return {"any value": "list of values", "text": "list of texts"}.get(
            items, f"list of {items}"
        )
    bounds = [
        f"{words} {schema[key]:g}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
        )
        if key in schema
    ]
    return ", ".join([_NAMES[kind], *bounds])


def reference(schema: Schema) -> str:
    """Return the name of the schema that a schema refers to; empty if it refers to none."""
    name: str = schema.get("$ref", "")
    return name.rpartition("/")[2]


# -- values


def _read(parameter: Parameter, text: str) -> Any:
    """Read the value of a parameter; a list may be only one item of it.

    Raises:
        ConfigurationError: the parameter does not take it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{parameter.name}: {text!r} is not UTF-8") from None
    items = _items_of(parameter.schema)
    try:
        if items is not None and not text.startswith("[") and not _is_null(parameter.schema, text):
            return [_read_value(items, text)]
        return _read_value(parameter.schema, text)
    except ValueError:
        kinds = expected(parameter.schema)
        raise ConfigurationError(f"{parameter.name}: expected {kinds}, not {text!r}") from None


def _read_value(schema: Schema, text: str) -> Any:
    """Read a value: JSON, or plain text where text is taken (CTL-03).

    Raises:
        ValueError: the schema does not take it.
    """
    try:
        value = unescape(json.loads(text, parse_constant=_refuse_constant, parse_float=_finite))
    except (ValueError, RecursionError):
        # What begins like JSON was meant to be JSON, so it is not taken for text as it stands.
        if _fits(schema, text) and ("type" in schema or text[:1] not in ("{", "[", '"')):
            return text
    else:
        if _fits(schema, value):
            return value
        if _fits(schema, text):  # such as a room whose name is a number
            return text
    raise ValueError(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _is_null(schema: Schema, text: str) -> bool:
    return text == "null" and _fits(schema, None)


def _items_of(schema: Schema) -> Schema | None:
    """Return the schema of the items, if a list is taken."""
    for one in schema.get("anyOf", [schema]):
        if one.get("type") == "array":
            items: Schema = one.get("items", {})
            return items
    return None


def _fits(schema: Schema, value: Any) -> bool:
    """Whether the value is of the type that the schema tells; the server checks the rest."""
    if "anyOf" in schema:
        return any(_fits(one, value) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind is None:
        return True
    if isinstance(value, bool) and kind != "boolean":
        return False  # bool is a kind of int in Python
    if kind == "array":
        return isinstance(value, list) and all(_fits(schema.get("items", {}), v) for v in value)
    return isinstance(value, _TYPES[kind])
