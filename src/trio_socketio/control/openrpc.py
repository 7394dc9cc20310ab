"""Describes the control API as an OpenRPC document, made from the methods themselves.

Spec: OpenRPC 1.3.2. The methods that the server calls on its peers are under ``x-calls``.
"""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Annotated, Any, Final

import msgspec

from trio_socketio.codec.json_rpc import Code, encode_value
from trio_socketio.control.api import API_VERSION, BackendEvent, Greeting, PresenceNotice
from trio_socketio.control.methods import Method, read_docstring, rpc

Document = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
"""An OpenRPC document that is encoded already."""

_REF: Final = "#/components/schemas/{name}"
_MEANINGS: Final = {
    Code.PARSE_ERROR: "The text is not JSON.",
    Code.INVALID_REQUEST: "The message is not one of JSON-RPC 2.0.",
    Code.METHOD_NOT_FOUND: "There is no such method.",
    Code.INVALID_PARAMS: "A parameter cannot be used; data.parameter names it.",
    Code.INTERNAL_ERROR: "The server, or a backend, has failed.",
    Code.UNAUTHORIZED: "The caller has given no valid token.",
    Code.FORBIDDEN: "The token does not allow this method.",
    Code.NOT_FOUND: "A parameter names something that does not exist; data.parameter says which.",
    Code.PARTIAL: "Only a part was done.",
    Code.TIMEOUT: "It took too long, but may have been done all the same.",
    Code.OVERLOADED: "Too much is under way; nothing was done. data.retry_after_ms says when to "
    "try again.",
    Code.STORE_UNAVAILABLE: "The store cannot be reached.",
    Code.CURSOR_EXPIRED: "The cursor is older than what is kept.",
    Code.GENERATION_CHANGED: "The store has started anew since the cursor was given.",
    Code.EXISTS: "It exists already.",
    Code.TOO_LARGE: "Something does not fit into a line or a batch.",
    Code.DRAINING: "The server is stopping.",
    Code.UNAVAILABLE: "No backend or service can do it at the moment; nothing was done.",
    Code.INVALID_CONFIGURATION: "The configuration cannot be used; nothing was changed.",
}


class Discovery:
    """The method rpc.discover.

    Args:
        methods: by name; all must be there when it is first called.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._document: msgspec.Raw | None = None

    @rpc("rpc.discover")
    def discover(self) -> Document:
        """Describe every method, its parameters and its result, as an OpenRPC document."""
        if self._document is None:
            # Encoding takes 3 ms. A peer that asked again and again would be felt by the others.
            self._document = msgspec.Raw(encode_value(describe(self._methods)))
        return self._document


def describe(methods: Mapping[str, Method]) -> dict[str, Any]:
    """Return the OpenRPC document of methods.

    Args:
        methods: by name.
    """
    ordered = [methods[name] for name in sorted(methods)]
    fields = {one.name: msgspec.structs.fields(one.params) for one in ordered}
    types = [field.type for one in ordered for field in fields[one.name]]
    types += [one.result for one in ordered]
    types += [Greeting, BackendEvent, PresenceNotice]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    following = iter(schemas)
    params = {
        one.name: [_describe_param(one, field, next(following)) for field in fields[one.name]]
        for one in ordered
    }
    results = {one.name: next(following) for one in ordered}
    hello, event, notice = following
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "The control API of trio-socketio",
            "version": API_VERSION,
            "description": "JSON-RPC 2.0, one JSON text per line, on a Unix socket or TCP, and as "
            'POST /rpc on the admin port. Bytes are written as {"$bytes": base64}, and an object '
            'that has exactly the key $bytes or $object as {"$object": the object}.',
        },
        "methods": [
            {
                "name": one.name,
                "summary": one.summary,
                "paramStructure": "either",
                "params": params[one.name],
                "result": {"name": "result", "schema": results[one.name]},
            }
            for one in ordered
        ],
        "x-calls": [
            {
                "name": "hello",
                "summary": "A notification, which the server sends first.",
                "paramStructure": "by-name",
                "params": hello,
            },
            {
                "name": "backend.event",
                "summary": "Handle an event of a client. The result answers the client's "
                "acknowledgement; null is an answer without arguments.",
                "paramStructure": "by-name",
                "params": event,
                "result": {"name": "result", "schema": {}},
            },
            {
                "name": "backend.presence",
                "summary": "A notification of a subscription to a presence log. An entry may come "
                "again after a reconnection, always with the same cursor.",
                "paramStructure": "by-name",
                "params": notice,
            },
        ],
        "components": {
            "schemas": {name: _describe(components[name]) for name in sorted(components)},
            "errors": {
                code.name: {"code": int(code), "message": meaning}
                for code, meaning in _MEANINGS.items()
            },
        },
    }


def _describe_param(
    method: Method, field: msgspec.structs.FieldInfo, schema: dict[str, Any]
) -> dict[str, Any]:
    described = {
        "name": field.encode_name,
        "description": method.descriptions[field.encode_name],
        "required": field.required,
        "schema": schema,
    }
    if not field.required and field.default is not msgspec.UNSET:  # which cannot be sent
        is_made = field.default is msgspec.NODEFAULT
        default = field.default_factory() if is_made else field.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return described


def _describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Move the docstring's description of each field to that field."""
    summary, descriptions = read_docstring(cleandoc(schema.get("description", "")))
    schema["description"] = summary
    for name, shown in schema.get("properties", {}).items():
        if name in descriptions:
            shown["description"] = descriptions[name]
    return schema
