"""Opens a client after checking its arguments, and closes it at the end of its block."""

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from trio_socketio.client.client import Client
from trio_socketio.client.endpoint import Dialer, OpenStream, parse_url
from trio_socketio.client.link import Link
from trio_socketio.client.nursery import open_bare_nursery
from trio_socketio.client.options import ClientOptions
from trio_socketio.client.session import TRANSPORTS
from trio_socketio.client.settings import Auth, Settings
from trio_socketio.codec.parsers import Parser, find_parser
from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.signatures import find_misfit


@asynccontextmanager
async def open_client(
    url: str,
    *,
    namespaces: str | Iterable[str] = "/",
    auth: Auth | None = None,
    headers: Mapping[str, str] | None = None,
    transports: Sequence[str] = TRANSPORTS,
    ssl_context: ssl.SSLContext | None = None,
    open_stream: OpenStream | None = None,
    options: ClientOptions | None = None,
    parser: str | Parser = "json",
) -> AsyncIterator[Client]:
    """Open a client. It is connected and has joined its namespaces when the block begins.

    Events that arrive before the block first awaits something are held, so that handlers which it
    registers until then miss nothing. When the connection is lost, it is opened again, and what is
    emitted meanwhile waits. At the end of the block handlers are cancelled, and the client says
    goodbye.

    Args:
        url: ``http[s]://host[:port]``, ``ws[s]://...`` or ``unix:/file``. Its path, if it has one,
            is used as the path of Socket.IO, and its query is sent with every request.
        namespaces: to join. The methods of the client itself concern the first of them.
        auth: what the server gets when a namespace is joined: an object, or a function, plain or
            async, that is called with the namespace's name each time.
        headers: sent with every request. Those that describe the request itself, such as Host and
            Content-Length, are not allowed.
        transports: the first one opens the connection; with "polling" first, "websocket" among
            them allows the upgrade.
        ssl_context: for https; by default, the certificates that the system trusts are trusted.
        open_stream: opens each stream, through a proxy for instance, TLS included if it is wanted.
        options: times and bounds.
        parser: the parser of the server: "json", "msgpack" or one of your own.
    Raises:
        ConnectFailed: the server cannot be reached, or is not a Socket.IO server.
        ConnectRefused: the server does not let us into a namespace, and says why.
        ConfigurationError: an argument cannot be used.
        Exception: whatever auth raises.
    """
    # CLI-29: all arguments are checked before anything is opened.
    if options is None:
        options = ClientOptions()
    elif not isinstance(options, ClientOptions):
        raise ConfigurationError(f"options are ClientOptions, not {options!r}")
    _check_transports(transports)
    _check_auth(auth)
    # CLI-17: the handshake does not tell which parser the server has. A wrong one ends the
    # connection as soon as it cannot decode what arrives.
    settings = Settings(options, auth, find_parser(parser))
    dialer = Dialer(parse_url(url, options.path), headers or {}, ssl_context, open_stream)
    link = Link(dialer, transports, settings)
    try:
        client = Client(link, _names(namespaces))
    except LocalProtocolError as error:
        raise ConfigurationError(str(error)) from None
    async with open_bare_nursery() as connection:
        connection.start_soon(link.run)
        try:
            await link.wait_opened()
            async with open_bare_nursery() as handlers:
                link.memberships.dispatch(handlers)
                yield client
        finally:
            await link.aclose()


def _names(namespaces: object) -> list[object]:
    if isinstance(namespaces, str):
        return [namespaces]
    names = list(namespaces) if isinstance(namespaces, Iterable) else []
    if not names:
        raise ConfigurationError(f"namespaces are at least one name, not {namespaces!r}")
    return names


def _check_transports(transports: object) -> None:
    if (
        not isinstance(transports, Sequence)
        or not transports
        or any(name not in TRANSPORTS for name in transports)
    ):
        raise ConfigurationError(f"transports are some of {TRANSPORTS}, not {transports!r}")


def _check_auth(auth: object) -> None:
    if callable(auth):
        misfit = find_misfit(auth, ("namespace",))
        if misfit is not None:
            raise ConfigurationError(f"auth: {misfit}")
    elif auth is not None and not isinstance(auth, Mapping):
        raise ConfigurationError(f"auth is an object or a function that gives one, not {auth!r}")
