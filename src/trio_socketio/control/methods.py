"""Methods: typed Python functions whose parameters arrive as JSON.

A function becomes a method with the decorator `rpc`. Its signature says what the parameters are,
and its docstring what they mean; requests are checked against them, and rpc.discover shows them.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec.inspect import type_info as inspect_type

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.caller import Caller
from trio_socketio.control.failures import invalid
from trio_socketio.control.spread import Spread
from trio_socketio.errors import ControlError
from trio_socketio.signatures import is_async

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK: Final = "_rpc"
_NEVER: Final = object()
_PLACE: Final = re.compile(r" - at `\$\.?(?P<path>.*)`$")
_FIELD: Final = re.compile(
    r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL
)
_MAX_SHOWN: Final = 100  # of the name of a field that a caller has made up
_EXPECTED: Final = re.compile(
    r"Expected `(?P<kinds>[^`]+)`(?P<length> of length)?"
    r"(?: (?P<relation>[<>]=?) (?P<bound>\S+))?(?:, got `(?P<got>[^`]+)`)?"
)
_KINDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "bytes": "text in base64",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "text",
}
_RELATIONS: Final = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}
_PLAIN: Final = (
    msgspec.inspect.BoolType,
    msgspec.inspect.FloatType,
    msgspec.inspect.IntType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.NoneType,
    msgspec.inspect.RawType,  # it is encoded already, with its marks
    msgspec.inspect.StrType,
)
_ARGUMENT: Final = re.compile(r" *(?P<name>\w+): (?P<text>.*)")


def rpc(name: str, spread: Spread | None = None) -> Callable[[Function], Function]:
    """Make a function, plain or async, the method of this name.

    A plain function runs where the request is read. An async one has its effect before it first
    awaits something, so that requests of one peer take effect in the order in which they came.

    Args:
        name: as peers call it.
        spread: how it is called on all nodes of a cluster; None if it concerns this node alone.
    """

    def mark(function: Function) -> Function:
        function.__dict__[_MARK] = name, spread
        return function

    return mark


class Method:
    """A method that peers may call.

    It has 13 attributes, because it is read from a signature once and for all.

    Args:
        name: as peers call it.
        function: bound to its object.
        spread: how it is called on all nodes; None if it concerns this node alone.

    Attributes:
        has_bytes: whether the result may hold bytes, or objects from clients.
        is_async: whether the function has to be awaited.
        params: a struct of the parameters.
        result: the type of the result.
        summary: describes it in one line.
        descriptions: what each parameter means.
    """

    __slots__ = (
        "_decode",
        "_defaults",
        "_function",
        "_names",
        "_takes_caller",
        "descriptions",
        "has_bytes",
        "is_async",
        "name",
        "params",
        "result",
        "spread",
        "summary",
    )

    def __init__(
        self, name: str, function: Callable[..., Any], spread: Spread | None = None
    ) -> None:
        self.name = name
        self.spread = spread
        self._function = function
        self.is_async = is_async(function)
        self.summary, self.descriptions = read_docstring(inspect.getdoc(function) or "")
        signature = inspect.signature(function)
        self.result = signature.return_annotation
        self.has_bytes = _may_have_bytes(inspect_type(self.result))
        parameters = signature.parameters.values()
        self._takes_caller = any(one.annotation is Caller for one in parameters)
        fields: list[Any] = []
        rename: dict[str, str] = {}
        for one in parameters:
            if one.annotation is Caller:
                continue
            # A name that is taken in Python, such as except or all, has an underscore behind it.
            rename[one.name] = one.name.removesuffix("_")
            default = () if one.default is one.empty else (one.default,)
            fields.append((one.name, one.annotation, *default))
        self._names = rename
        self._defaults = {one.name: one.default for one in parameters}
        self.params = msgspec.defstruct(
            f"{name} parameters", fields, kw_only=True, forbid_unknown_fields=True, rename=rename
        )
        self._decode = msgspec.json.Decoder(self.params).decode

    def call(self, params: msgspec.Raw | None, caller: Caller) -> Any:
        """Call the function; if it is async, return its coroutine.

        Args:
            params: an array or an object, as it was sent (CONTROL-01).
            caller: makes the call.
        Raises:
            ControlError: the parameters do not fit.
        """
        return self.run(self.read(params), caller)

    def run(self, given: dict[str, Any], caller: Caller) -> Any:
        """Call the function with parameters that were read; if it is async, return its coroutine.

        Raises:
            ControlError: they do not fit.
        """
        if self._takes_caller:
            given["caller"] = caller
        return self._function(**given)

    def read(self, params: msgspec.Raw | None) -> dict[str, Any]:
        """Read parameters, an array or an object, into arguments of the function.

        Raises:
            ControlError: they do not fit.
        """
        text = b"{}" if params is None else bytes(params)
        if text.startswith(b"["):
            text = self._by_name(text)
        try:
            decoded = self._decode(text)
        except msgspec.ValidationError as error:
            raise self._explain(str(error)) from None  # RPC-17
        except (msgspec.DecodeError, RecursionError) as error:
            raise ControlError(Code.INVALID_PARAMS, f"params: {error}") from None
        return {name: getattr(decoded, name) for name in decoded.__struct_fields__}

    def tell(self, given: Mapping[str, Any], left_out: Collection[str] = ()) -> dict[str, Any]:
        """Return the parameters for another node: those that are not what is taken by default.

        A node of an older version may not know the others.

        Args:
            given: what `read` has returned.
            left_out: arguments that the other node does not need.
        """
        return {
            told: given[name]
            for name, told in self._names.items()
            if name not in left_out and given[name] != self._defaults.get(name, _NEVER)
        }

    def _by_name(self, params: bytes) -> bytes:
        """Turn parameters by position into parameters by name."""
        values = msgspec.json.decode(params, type=list[msgspec.Raw])
        if len(values) > len(self._names):
            raise ControlError(
                Code.INVALID_PARAMS,
                f"{self.name} takes at most {len(self._names)} parameters, not {len(values)}",
            )
        pairs = zip(self._names.values(), values, strict=False)
        return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), bytes(raw)) for name, raw in pairs)

    def _explain(self, text: str) -> ControlError:
        """Turn the message of an error of msgspec into one that names the parameter."""
        misfit = read_misfit(text)
        if not misfit.is_unknown:
            return invalid(misfit.place or "params", misfit.reason)
        nested = "." in misfit.place
        similar = () if nested else get_close_matches(misfit.place, self._names.values(), 1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        return invalid(misfit.place, f"{self.name} has no such parameter{hint}")  # CONTROL-02


class Misfit(NamedTuple):
    """Why a value is not of the type that it has to be.

    Args:
        place: the path to what is wrong within the value, as ``rooms[0].roomId``; empty for the
            value as a whole.
        reason: what is wrong, in the terms of JSON.
        is_unknown: whether it is a field that is not known.
    """

    place: str
    reason: str
    is_unknown: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


def read_misfit(text: str) -> Misfit:
    """Read the message of a ValidationError of msgspec (IDENT-93)."""
    found = _PLACE.search(text)
    place = found["path"] if found else ""
    text = text[: found.start()] if found else text
    field = _FIELD.fullmatch(text)
    if field is None:
        return Misfit(place, _in_words_of_json(text))
    name = field["name"][:_MAX_SHOWN]
    place = f"{place}.{name}" if place else name
    if field["what"] == "missing required":
        return Misfit(place, "is missing")
    return Misfit(place, "is not expected here; leave it out", is_unknown=True)


def _in_words_of_json(text: str) -> str:
    """Replace the names of Python's types in a message, as callers know JSON alone."""
    found = _EXPECTED.fullmatch(text)
    if found is None:
        return text[:1].lower() + text[1:]
    kinds = found["kinds"].split(" | ")
    told = f"expected {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}"
    if found["relation"]:
        what = " whose length is" if found["length"] else ","
        bound = found["bound"].removesuffix(".0")
        told += f"{what} {_RELATIONS[found['relation']]} {bound}"
    if found["got"] == "float" and "int" in kinds:
        return f"{told}, not a fraction"
    return f"{told}, not {_KINDS.get(found['got'], found['got'])}" if found["got"] else told


def _may_have_bytes(kind: msgspec.inspect.Type) -> bool:
    """Whether a value of this type may hold bytes, or values of unknown types."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _may_have_bytes(kind.type)
    if isinstance(kind, msgspec.inspect.StructType):
        return any(_may_have_bytes(field.type) for field in kind.fields)
    if isinstance(kind, msgspec.inspect.ListType):
        return _may_have_bytes(kind.item_type)
    if isinstance(kind, msgspec.inspect.DictType):
        return _may_have_bytes(kind.value_type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(map(_may_have_bytes, kind.types))
    return not isinstance(kind, _PLAIN)


def find_methods(group: object) -> Iterator[Method]:
    """Return the methods of an object: its functions that the decorator has marked."""
    for _, function in inspect.getmembers(group, inspect.ismethod):
        mark = getattr(function, _MARK, None)
        if mark is not None:
            name, spread = mark
            yield Method(name, function, spread)


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and the description of each argument."""
    summary, _, rest = text.partition("\n\n")
    _, _, section = f"\n{rest}".partition("\nArgs:\n")
    descriptions: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # the next section
        argument = _ARGUMENT.fullmatch(line) if line.startswith("    ") else None
        if argument is not None and not line.startswith("     "):
            name = argument["name"].removesuffix("_")
            descriptions[name] = argument["text"]
        elif name:
            descriptions[name] += f" {line.strip()}"
    return " ".join(summary.split()), descriptions
