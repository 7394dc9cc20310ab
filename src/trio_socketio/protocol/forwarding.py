"""How one node passes requests on to another: the lines between them, and what each has to prove.

::

    the node that dials                        the node that answers

    hello    ------------------------------->
             <-------------------------------  welcome, or refused
    request, head, body -------------------->
             <-------------------------------  an answer of HTTP, not looked at here
    release  ------------------------------->
    pulse    ------------------------------->
             <-------------------------------  pulse

Requests and pulses follow one another, each when the one before was answered. A release asks for
the answer to a poll that waits for packets, because the node that dials stops. Each side draws a
nonce for the opening. It proves with both of them that it has a secret of the cluster, and both
derive from them the key of this connection alone. So nothing that was said on another connection
is of any use on this one, and no two clocks have to agree.

The body of a request is not part of any proof: whoever can change what travels between two nodes
is kept out by TLS, and by nothing else. Without secrets, TLS alone proves who is who.
"""

import hmac
import re
from enum import auto
from typing import Final, NamedTuple

import msgspec

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError
from trio_socketio.protocol.tables import Name

VERSION: Final = 1
MAX_LINE_BYTES: Final = 512
NONCE_BYTES: Final = 16
PULSE: Final = b"pulse\n"
"""The answer to a pulse."""

_NO_PROOF: Final = "-"
_NO_ADDRESS: Final = "-"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
_MAC: Final = r"([0-9a-f]{64}|-)"
_HELLO: Final = re.compile(
    rf"hello ([0-9]{{1,9}})(?: {_NAME} ({_NAME}) ([A-Za-z0-9_-]{{1,32}}) ([0-9a-f]{{32}}) {_MAC})?"
    r"( .*)?"
).fullmatch
_WELCOME: Final = re.compile(rf"welcome ([0-9]{{1,9}}) ([0-9a-f]{{32}}) {_MAC}").fullmatch
_REFUSED: Final = re.compile(r"refused ([a-z]{1,20})(?: ([ -~]*))?").fullmatch
_REQUEST: Final = re.compile(
    rf"request {_MAC} ([1-9][0-9]{{0,8}}) ([0-9]{{1,9}}) ([cs]) ([-.:%_0-9A-Za-z]{{1,64}})"
).fullmatch
_SIGNED: Final = re.compile(rf"(pulse|release) {_MAC}").fullmatch
_ADDRESS: Final = re.compile(r"[-.:%_0-9A-Za-z]{1,64}").fullmatch

_REASONS: Final = frozenset(("full", "malformed", "node", "proof", "tls", "version"))
_RECORD: Final = 0x16
"""The first byte of a TLS handshake."""


class Refused(RemoteProtocolError):
    """What came is refused, and the connection ends.

    Args:
        reason: one of a few words, for statistics.
        message: for a person.

    Attributes:
        line: tells the other side.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.line = f"refused {reason} {message}\n".encode("ascii", "backslashreplace")


class Arrived(NamedTuple):
    """A request that another node has passed on.

    Args:
        data: its head and its body.
        address: where its client has connected from, as the other node sees it; empty for a Unix
            socket.
        secure: whether the client uses TLS there.
    """

    data: bytes
    address: str
    secure: bool


class _Proof:
    """Signs or checks what follows the opening of one connection.

    Args:
        secret: one of the cluster; empty if TLS alone proves who is who.
        nonces: that of the hello, then that of the welcome.
    """

    __slots__ = ("_count", "_keyed")

    def __init__(self, secret: bytes, nonces: str) -> None:
        self._count = 0
        self._keyed: hmac.HMAC | None = None
        if secret:
            key = hmac.digest(secret, b"key " + nonces.encode(), "sha256")
            # Copied for each line, which takes half as long as hashing the key again.
            self._keyed = hmac.new(key, digestmod="sha256")

    def compute(self, line: bytes, head: bytes) -> bytes:
        """Compute the MAC of the next line, without it, and of the head behind it (FWD-04)."""
        self._count += 1
        if self._keyed is None:
            return b"-"
        keyed = self._keyed.copy()
        keyed.update(b"%d %b\n%b" % (self._count, line, head))
        return keyed.hexdigest().encode()


def _sign(secret: bytes, text: str) -> str:
    if not secret:
        return _NO_PROOF
    return hmac.digest(secret, text.encode("ascii"), "sha256").hex()


def _decode(line: bytes | bytearray) -> str:
    return line.decode("ascii", "replace")


class Dialer:
    """The side that passes requests on.

    Args:
        name: of this node.
        to: the name of the other node.
        process: names the process of the other node.
        secret: signs; empty if there is none.
        nonce: NONCE_BYTES random bytes.

    Attributes:
        hello: the line that opens the connection.
        is_open: whether the other node has proven itself.
    """

    __slots__ = ("_nonce", "_proof", "_secret", "hello", "is_open")

    def __init__(self, name: str, to: str, process: str, secret: bytes, nonce: bytes) -> None:
        self._secret = secret
        self._nonce = nonce.hex()
        self._proof: _Proof | None = None
        self.is_open = False
        line = f"hello {VERSION} {name} {to} {process} {self._nonce}"
        self.hello = f"{line} {_sign(secret, line)}\n".encode("ascii")

    def receive_welcome(self, line: bytes) -> None:
        """Take the answer to the hello, without its line feed.

        Raises:
            Refused: it is another one than a valid welcome.
        """
        if self._proof is not None:
            raise LocalProtocolError("the connection is open already")
        text = _decode(line)
        refused = _REFUSED(text)
        if refused is not None:
            reason = refused[1] if refused[1] in _REASONS else "malformed"
            raise Refused(reason, f"it refuses: {refused[2] or refused[1]}")
        match = _WELCOME(text)
        if match is None:
            raise Refused("malformed", "the answer to hello is not a welcome")
        version, nonce, mac = match.groups()
        if int(version) != VERSION:
            raise Refused("version", f"this node speaks {VERSION}, not {version}")
        nonces = f"{self._nonce} {nonce}"
        wanted = _sign(self._secret, f"welcome {version} {nonces}")
        if not hmac.compare_digest(mac, wanted):  # FWD-03
            raise Refused("proof", "the other node has not proven that it has the secret")
        self._proof = _Proof(self._secret, nonces)
        self.is_open = True

    def encode_request(self, head: bytes, body: bytes, address: str, *, secure: bool) -> bytes:
        """Encode a request: its line, its head and its body.

        Args:
            head: in the common form of HTTP/1.1.
            body: of the length that the head says.
            address: of the client; empty for a Unix socket.
            secure: whether the client uses TLS.
        """
        where = address.encode("ascii") if _ADDRESS(address) else b"-"
        line = b"%d %d %b %b" % (len(head), len(body), b"s" if secure else b"c", where)
        mac = self._prove(b"request " + line, head)
        return b"".join((b"request ", mac, b" ", line, b"\n", head, body))

    def encode_pulse(self) -> bytes:
        """Encode the question whether the other node is at work."""
        return b"pulse %b\n" % self._prove(b"pulse", b"")

    def encode_release(self) -> bytes:
        """Encode the wish that a poll is answered now, with or without packets (FWD-26)."""
        return b"release %b\n" % self._prove(b"release", b"")

    def _prove(self, line: bytes, head: bytes) -> bytes:
        if self._proof is None:  # FWD-02
            raise LocalProtocolError("nothing is passed on before the other node has proven itself")
        return self._proof.compute(line, head)


class State(Name):
    """The states of the side that answers.

    ::

        OPENING --hello--> RESTING --request--> HEAD --its end, proven--> BODY --its end--> BUSY
                             ^  |                                                            |
                             +--+ pulse                                                      |
                             +------------------------answered-------------------------------+

    A release changes nothing, and may come too late. What is refused leads to ENDED, from every
    state.
    """

    OPENING = auto()
    RESTING = auto()
    HEAD = auto()
    BODY = auto()
    BUSY = auto()  # the request has arrived, and is not answered; only a release may come
    ENDED = auto()


class Event(NamedTuple):
    """What has happened: bytes to send, or a request that has arrived, or a release, or nothing.

    Args:
        answer: to be sent; empty if there is nothing to send.
        arrived: the request; None if none has arrived.
        releases: whether the request that has arrived before is to be answered now.
    """

    answer: bytes = b""
    arrived: Arrived | None = None
    releases: bool = False


class _Coming(msgspec.Struct):
    """A request whose line has come."""

    line: str
    mac: str
    head_bytes: int
    body_bytes: int
    secure: bool
    address: str


class Answerer:
    """The side that answers requests.

    Args:
        name: of this node.
        process: names the process of this node.
        secrets: any of them is accepted; none if TLS alone proves who is who.
        nonce: NONCE_BYTES random bytes.
        max_head_bytes, max_body_bytes: of a request.

    Attributes:
        is_proven: whether the other node has proven that this is no record of another connection.
        state: follows the drawing.
    """

    __slots__ = (
        "_buffer",
        "_coming",
        "_limits",
        "_name",
        "_nonce",
        "_process",
        "_proof",
        "_secrets",
        "is_proven",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        process: str,
        secrets: tuple[bytes, ...],
        nonce: bytes,
        max_head_bytes: int,
        max_body_bytes: int,
    ) -> None:
        self._name = name
        self._process = process
        self._secrets = secrets or (b"",)
        self._nonce = nonce.hex()
        self._limits = max_head_bytes, max_body_bytes
        self._buffer = bytearray()  # grows in place, as a body may come in a thousand pieces
        self._coming: _Coming | None = None
        self._proof: _Proof | None = None
        self.is_proven = False
        self.state = State.OPENING

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes.

        Returns:
            What is to be done, in this order.
        Raises:
            Refused: something is wrong. None of these bytes have had an effect.
        """
        if self.state is State.ENDED:
            return []
        try:
            return self._receive(data)
        except Refused:
            self.state = State.ENDED
            self._buffer, self._coming = bytearray(), None
            raise

    @property
    def is_coming(self) -> bool:
        """Whether a part of a request has come."""
        return self._coming is not None

    def rest(self) -> None:
        """Note that the request was answered."""
        if self.state is not State.BUSY:
            raise LocalProtocolError(f"nothing was asked: the state is {self.state.name}")
        self.state = State.RESTING

    def _receive(self, data: bytes) -> list[Event]:
        buffer: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            buffer = self._buffer
        events: list[Event] = []
        while buffer:
            if self._coming is not None:
                taken = self._take_request(self._coming, buffer, events)
            else:
                taken = self._take_line(buffer, events)
            if not taken:
                break
            buffer = buffer[taken:]
        if buffer is not self._buffer:
            self._buffer = bytearray(buffer)
        return events

    def _take_line(self, buffer: bytes | bytearray, events: list[Event]) -> int:
        if self.state is State.BUSY and buffer[:8] != b"release "[: len(buffer)]:  # FWD-08
            raise Refused("malformed", "something came before the answer")
        if self.state is State.OPENING and buffer[0] == _RECORD:  # FWD-53
            raise Refused(
                "tls",
                "it speaks TLS, and this node does not: give all nodes internal_tls_cert, or none",
            )
        end = buffer.find(b"\n", 0, MAX_LINE_BYTES)
        if end < 0:
            if len(buffer) >= MAX_LINE_BYTES:  # FWD-05
                raise Refused("malformed", f"a line is longer than {MAX_LINE_BYTES} bytes")
            return 0
        line = _decode(buffer[:end])
        if self.state is State.OPENING:
            events.append(Event(self._receive_hello(line)))
            self.state = State.RESTING
            return end + 1
        signed = _SIGNED(line)
        if signed is None:
            self._coming = self._read_request(line)
            self.state = State.HEAD
            return end + 1
        self._check(signed[2], signed[1], b"")
        is_pulse = signed[1] == "pulse"
        events.append(Event(PULSE) if is_pulse else Event(releases=self.state is State.BUSY))
        return end + 1

    def _receive_hello(self, line: str) -> bytes:
        match = _HELLO(line)
        if match is None:
            raise Refused("malformed", "the first line is not a hello")
        version, name, process, nonce, mac, more = match.groups()
        if int(version) != VERSION:  # FWD-06
            raise Refused("version", f"this node speaks {VERSION}, not {version}")
        if mac is None or more is not None:
            raise Refused("malformed", "the first line is not a hello of this version")
        signed = line.rpartition(" ")[0]
        for secret in self._secrets:
            if hmac.compare_digest(mac, _sign(secret, signed)) or not secret:
                break
        else:
            raise Refused("proof", "the node that dials has not proven that it has the secret")
        if (name, process) != (
            self._name,
            self._process,
        ):  # FWD-07; last, as only nodes may learn it
            raise Refused("node", "another node, or another process of this one, is meant")
        nonces = f"{nonce} {self._nonce}"
        self._proof = _Proof(secret, nonces)
        mac = _sign(secret, f"welcome {VERSION} {nonces}")
        return f"welcome {VERSION} {self._nonce} {mac}\n".encode("ascii")

    def _read_request(self, line: str) -> _Coming:
        match = _REQUEST(line)
        if match is None:
            raise Refused("malformed", "a line is not a request")
        mac, head, body, secure, address = match.groups()
        max_head_bytes, max_body_bytes = self._limits
        if int(head) > max_head_bytes or int(body) > max_body_bytes:  # FWD-05
            raise Refused("malformed", "a request is larger than is allowed")
        return _Coming(
            f"request {head} {body} {secure} {address}",
            mac,
            int(head),
            int(body),
            secure == "s",
            "" if address == _NO_ADDRESS else address,
        )

    def _take_request(self, coming: _Coming, buffer: bytes | bytearray, events: list[Event]) -> int:
        if self.state is State.HEAD:
            if len(buffer) < coming.head_bytes:
                return 0
            # Before its body, so that nobody else has as much held as a body may have.
            self._check(coming.mac, coming.line, bytes(buffer[: coming.head_bytes]))
            self.state = State.BODY
        size = coming.head_bytes + coming.body_bytes
        if len(buffer) < size:
            return 0
        self._coming = None
        self.state = State.BUSY
        events.append(Event(arrived=Arrived(bytes(buffer[:size]), coming.address, coming.secure)))
        return size

    def _check(self, mac: str, line: str, head: bytes) -> None:
        assert self._proof is not None
        wanted = self._proof.compute(line.encode(), head)
        if not hmac.compare_digest(mac.encode(), wanted) and wanted != b"-":  # FWD-04
            raise Refused("proof", "a line is not signed with the key of this connection")
        self.is_proven = True
