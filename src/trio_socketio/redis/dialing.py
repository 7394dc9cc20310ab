"""Opens streams to Redis."""

import os
import ssl
from dataclasses import dataclass, field

import trio

from trio_socketio.errors import OptionError, RedisUnavailable
from trio_socketio.http.outgoing import trust
from trio_socketio.redis.address import Address, parse_address
from trio_socketio.redis.options import RedisOptions
from trio_socketio.secret_files import read_secret_file

MAX_PASSWORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """All that is needed to connect and to log in.

    Args:
        address: where Redis is.
        password: None means that we do not log in.
        tls: verifies the server; None means no TLS.
    """

    address: Address
    password: str | bytes | None = field(repr=False)
    tls: ssl.SSLContext | None


def read_access(options: RedisOptions) -> Access:
    """Read the files that the options name, which may have been replaced meanwhile (REDIS-08).

    Raises:
        ConfigurationError: a file cannot be used.
    """
    address = parse_address(options.url)
    password: str | bytes | None = address.password
    if options.password_file is not None:
        password = read_secret_file(options.password_file, "the password", MAX_PASSWORD_BYTES)
        if not password:
            raise OptionError("password_file", f"{options.password_file} is empty")
    return Access(address, password, trust(options.ca_file) if address.is_secure else None)


async def open_stream(access: Access) -> trio.abc.Stream:
    """Connect, and shake hands if TLS is spoken.

    Raises:
        OptionError: the certificate is not trusted; that will not change by itself.
        RedisUnavailable: nothing answers.
    """
    address = access.address
    try:
        if address.path is not None:
            return await trio.open_unix_socket(address.path)
        stream = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise RedisUnavailable(f"cannot connect: {explain(error)}") from None
    if access.tls is None:
        return stream
    secured = trio.SSLStream(stream, access.tls, server_hostname=address.host)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(secured)
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):  # REDIS-07
            raise OptionError("ca_file", explain(error)) from None
        raise RedisUnavailable(f"cannot connect: TLS: {explain(error)}") from None
    except BaseException:
        await trio.aclose_forcefully(secured)
        raise
    return secured


def explain(error: BaseException) -> str:
    """Say what is wrong with the network; trio wraps the system's error, or several of them."""
    if isinstance(error, BaseExceptionGroup):
        return explain(error.exceptions[0])
    if isinstance(error.__cause__, (OSError, BaseExceptionGroup)):
        return explain(error.__cause__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):  # trio puts the address into strerror, which the log line has
        number = error.errno or 0
        return os.strerror(number) if number > 0 else str(error.strerror or error)
    return str(error) or type(error).__name__
