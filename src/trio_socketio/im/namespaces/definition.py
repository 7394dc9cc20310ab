"""What a namespace that is made at run time is like."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trio_socketio.errors import OptionError
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.socketio.founding import MAX_DYNAMIC_NAME, is_dynamic_name

MAX_BYTES: Final = 64 * 1024
"""The longest definition, as JSON."""

MAX_SOCKETS: Final = 10_000_000

_UNFIT: Final = frozenset("*?#")
"""What a name cannot have: a * ends a pattern, and in a URL a ? or # ends the path, which is the
name for clients."""

Methods = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=32)], ...], Meta(max_length=16)
]
"""Names of methods by which clients are identified."""

MaxSockets = Annotated[int, Meta(ge=1, le=MAX_SOCKETS)]


class SeatDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The seats of a namespace; see the options of [presence].

    Args:
        policy: newest, reject, many, or none for no seats.
        maximum: how many seats a user may have with the policy many, which needs it.
        takeover: strict or fast.
        linger_s: how long the seat of a lost client is held, in seconds; it needs [recovery].
    """

    policy: Literal["newest", "reject", "many", "none"] = "newest"
    maximum: Annotated[int, Meta(ge=1, le=1000)] | None = None
    takeover: Literal["strict", "fast"] = "strict"
    linger_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0

    def __post_init__(self) -> None:
        if self.policy == "many" and self.maximum is None:
            raise ValueError("policy many needs a maximum, which is how many seats a user may have")
        if self.policy != "many" and self.maximum is not None:
            raise ValueError("maximum has no effect without the policy many")


class NamespaceDefinition(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A namespace that was made at run time. Whatever is left out is as the configuration says.

    Args:
        namespace: its name.
        identity: the methods that identify its clients; with an empty list nobody is asked, and
            null means what [identity] says of its name.
        seats: the seats of its users; null means what [presence] says of its name.
        rules: what its clients may do, as in [rules] namespaces, without the name; null means what
            [rules] says of its name.
        chat: whether it has the chat events, also if [chat] namespaces does not name it.
        confirm: whether messages of its clients are delivered with confirmation; null means what
            [chat] says of its name.
        durable: whether such deliveries outlive a restart; null means what [deliveries] says of its
            name.
        recovery: whether lost clients can come back to their sockets, if [recovery] is on.
        max_sockets: how many clients each node lets in; null means any number.
        revision: rises with every change of any namespace.
    """

    namespace: str
    identity: Methods | None = None
    seats: SeatDefinition | None = None
    rules: dict[str, Any] | None = None
    chat: bool = False
    confirm: bool | None = None
    durable: bool | None = None
    recovery: bool = True
    max_sockets: MaxSockets | None = None
    revision: int = 0

    def needs_new_clients(self, other: "NamespaceDefinition") -> bool:
        """Whether clients that are in by another definition have to come in anew for this one.

        They were identified by other methods, or have seats by other rules (NSP-09).
        """
        return (self.identity, self.seats, self.recovery) != (
            other.identity,
            other.seats,
            other.recovery,
        )


def check_name(text: str) -> str:
    """Return the name of a namespace that can be made; a leading slash may be left out.

    Raises:
        OptionError: no client could ask for it, or it is the main one.
    """
    name = full_name(text)
    if name == "/":
        raise OptionError("namespace", "the main namespace / is always there")
    if not _UNFIT.isdisjoint(name) or not is_dynamic_name(name):  # NSP-40
        raise OptionError(
            "namespace",
            f"expected at most {MAX_DYNAMIC_NAME} characters, without , * ? # and control "
            f"characters, not {text[:100]!r}",
        )
    return name


def encode_definition(definition: NamespaceDefinition) -> bytes:
    """Return a definition as JSON, without its revision.

    Raises:
        OptionError: it is too long.
    """
    found = msgspec.json.encode(msgspec.structs.replace(definition, revision=0))
    if len(found) > MAX_BYTES:
        raise OptionError("rules", f"the definition has {len(found)} bytes, more than {MAX_BYTES}")
    return found


_decode: Final = msgspec.json.Decoder(NamespaceDefinition).decode


def decode_definition(data: bytes, revision: int) -> NamespaceDefinition:
    """Read a definition that was kept.

    Raises:
        ValueError: it cannot be read, for example because a later version has written it.
    """
    found = _decode(data)
    try:
        check_name(found.namespace)
    except OptionError as error:
        raise ValueError(str(error)) from None
    return msgspec.structs.replace(found, revision=revision)
