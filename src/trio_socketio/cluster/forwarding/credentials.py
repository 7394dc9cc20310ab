"""By what nodes know one another: secrets of the cluster, or certificates of its own authority."""

import ssl
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.secret_files import read_secret_file

if TYPE_CHECKING:
    from trio_socketio.cluster.options import ClusterOptions

MIN_SECRET_BYTES: Final = 32
_MAX_SECRET_BYTES: Final = 4096


class Credentials(NamedTuple):
    """What was read from the files that the options name.

    Args:
        secrets: the first signs; any of them is accepted.
        server: the context for connections of other nodes; None means cleartext.
        client: the context for connections to other nodes; None means cleartext.
        digest: of all files; another one means that they have changed.
    """

    secrets: tuple[bytes, ...] = ()
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    digest: bytes = b""


def read_credentials(options: "ClusterOptions") -> Credentials:
    """Read the files.

    Raises:
        OptionError: one cannot be used.
    """
    digest = sha256()
    secrets = []
    for path in options.secret_files:
        try:
            secret = read_secret_file(path, "the secret", _MAX_SECRET_BYTES)
        except ConfigurationError as error:
            raise OptionError("secret_files", str(error)) from None
        if len(secret) < MIN_SECRET_BYTES:
            raise OptionError(
                "secret_files",
                f"{path} must hold at least {MIN_SECRET_BYTES} bytes, such as those of: "
                "openssl rand -hex 32",
            )
        digest.update(sha256(secret).digest())
        secrets.append(secret)
    if len(set(secrets)) < len(secrets):
        raise OptionError("secret_files", "two files hold the same secret")
    if options.internal_tls_cert is None:
        return Credentials(tuple(secrets), digest=digest.digest())
    for name in ("internal_tls_cert", "internal_tls_key", "internal_tls_ca"):
        path = getattr(options, name)
        if path is not None:
            try:
                digest.update(sha256(Path(path).read_bytes()).digest())
            except OSError as error:
                raise OptionError(name, f"cannot read {path}: {error.strerror}") from None
    return Credentials(
        tuple(secrets),
        _create_context(options, ssl.PROTOCOL_TLS_SERVER),
        _create_context(options, ssl.PROTOCOL_TLS_CLIENT),
        digest.digest(),
    )


def _create_context(options: "ClusterOptions", protocol: int) -> ssl.SSLContext:
    """Create a context that trusts certificates of the cluster's own authority, and no others.

    Names in certificates are not compared: whoever has one is a node, and nodes are told one
    another's addresses over Redis.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED  # FWD-42
    assert options.internal_tls_cert is not None
    try:
        context.load_cert_chain(
            options.internal_tls_cert, options.internal_tls_key, password=lambda: ""
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _explain(options, options.internal_tls_cert, error) from None
    try:
        context.load_verify_locations(options.internal_tls_ca)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise OptionError("internal_tls_ca", f"cannot be used: {error}") from None
    return context


def _explain(options: "ClusterOptions", cert: Path, error: Exception) -> OptionError:
    """Say why a certificate and its key cannot be used; OpenSSL says "PEM lib" for most causes."""
    key = options.internal_tls_key
    if key is None and b"PRIVATE KEY-----" not in cert.read_bytes():  # FWD-61
        return OptionError(
            "internal_tls_cert",
            f"{cert} holds no private key: name the file that does with internal_tls_key, or put "
            "the key into this one as well",
        )
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return OptionError("internal_tls_key", f"{key or cert} is not the key of {cert}")
    if isinstance(error, ssl.SSLError):
        return OptionError(
            "internal_tls_cert",
            f"{cert} cannot be used{f' with the key {key}' if key else ''}: expected a certificate "
            f"and an unencrypted private key in PEM form ({reason or error})",
        )
    return OptionError("internal_tls_cert", f"cannot be used with internal_tls_key: {error}")
