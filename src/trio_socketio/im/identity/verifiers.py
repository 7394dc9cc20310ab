"""Sets the verifiers up that the options ask for. All files are read here."""

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trio_socketio.control.failures import unavailable
from trio_socketio.errors import ConfigurationError
from trio_socketio.http.outgoing import Outgoing, parse_target, trust
from trio_socketio.im.identity.backend_verifier import AskBackend, BackendVerifier
from trio_socketio.im.identity.chain import Policies
from trio_socketio.im.identity.claims import ClaimRules
from trio_socketio.im.identity.options import IdentityOptions, JwtOptions
from trio_socketio.im.identity.static_tokens import StaticTokens
from trio_socketio.im.identity.webhook import Webhook

if TYPE_CHECKING:
    from trio_socketio.im.identity.identity import Verifier
    from trio_socketio.im.identity.remote_keys import RemoteKeys


class Prepared(NamedTuple):
    """Options whose files were read. Nothing was opened yet.

    Args:
        options: the options.
        policies: which namespaces ask, and whom.
        remote: the keys of a JWKS URL; None if there is no URL.
        outgoing: sends the requests for them; None likewise.
        webhook: None if there is none.
        digest: of the contents of all files.
    """

    options: IdentityOptions
    policies: Policies
    remote: "RemoteKeys | None" = None
    outgoing: Outgoing | None = None
    webhook: Webhook | None = None
    digest: bytes = b""


async def _no_backend(namespace: str, question: object, timeout_s: float) -> bytes:
    raise unavailable("there is no control socket")


def prepare(
    options: IdentityOptions,
    clock: Callable[[], float] = time.time,
    ask_backend: AskBackend | None = None,
    before: Prepared | None = None,
) -> Prepared:
    """Read every file that the options name, and make the verifiers.

    It may be called in any thread.

    Args:
        options: the options.
        clock: seconds since 1970.
        ask_backend: calls a backend; None if there is no control socket.
        before: what was prepared earlier; the keys of a JWKS URL are kept if it is still the same.
    Raises:
        ConfigurationError: a file cannot be used, or PyJWT is missing.
    """
    verifiers: dict[str, Verifier] = {}
    remote: RemoteKeys | None = None
    outgoing: Outgoing | None = None
    webhook: Webhook | None = None
    if options.tokens:
        verifiers["static"] = StaticTokens(options.tokens)
    if options.jwt is not None:
        if not options.jwt.keys and options.jwt.jwks_url is None:
            raise ConfigurationError("[identity] jwt has no keys: set jwt.keys or jwt.jwks_url")
        # Imported here because they need PyJWT, which a server without JWTs can do without.
        from trio_socketio.im.identity.jwt_verifier import JwtVerifier
        from trio_socketio.im.identity.keys import read_key_file

        if before is not None and _is_same_url(before.options.jwt, options.jwt):
            remote, outgoing = before.remote, before.outgoing
        elif options.jwt.jwks_url is not None:
            remote, outgoing = _open_remote(options, options.jwt)
        keys = [
            key
            for one in options.jwt.keys
            for key in read_key_file(one.file, one.algorithm, one.kid)
        ]
        verifiers["jwt"] = JwtVerifier(tuple(keys), _rules(options, options.jwt), remote, clock)
    if options.backend:
        verifiers["backend"] = BackendVerifier(
            ask_backend or _no_backend, options.deadline_s, clock
        )
    if options.webhook is not None:
        webhook = Webhook(options.webhook, options.deadline_s, clock)
        verifiers["webhook"] = webhook
    policies = Policies(verifiers, options.namespaces)
    return Prepared(options, policies, remote, outgoing, webhook, _digest(options))


def _digest(options: IdentityOptions) -> bytes:
    """Digest the files that were read, so that a reload can tell whether they have changed."""
    names = [token.file for token in options.tokens]
    if options.jwt is not None:
        names += [key.file for key in options.jwt.keys]
    if options.webhook is not None:
        names.append(options.webhook.secret_file)
    digest = sha256()
    for name in names:
        if name is not None:
            try:
                digest.update(sha256(Path(name).read_bytes()).digest())
            except OSError as error:  # it was taken away a moment ago
                raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    return digest.digest()


def _rules(options: IdentityOptions, jwt: JwtOptions) -> ClaimRules:
    return ClaimRules(
        audiences=frozenset(jwt.audience),
        issuers=frozenset(jwt.issuer),
        leeway_s=jwt.leeway_s,
        max_lifetime_s=options.max_lifetime_s,
        kept=tuple(jwt.claims),
    )


def _is_same_url(old: JwtOptions | None, new: JwtOptions) -> bool:
    return old is not None and all(
        getattr(old, name) == getattr(new, name)
        for name in ("jwks_url", "ca_file", "refresh_s", "previous_keys_s")
    )


def _open_remote(options: IdentityOptions, jwt: JwtOptions) -> "tuple[RemoteKeys, Outgoing]":
    from trio_socketio.im.identity.key_cache import KeyCache
    from trio_socketio.im.identity.remote_keys import RemoteKeys

    assert jwt.jwks_url is not None
    target = parse_target(jwt.jwks_url)
    outgoing = Outgoing(target, trust(jwt.ca_file) if target.secure else None)
    remote = RemoteKeys(
        outgoing,
        str(target),
        KeyCache(jwt.previous_keys_s),
        timeout_s=options.deadline_s,
        refresh_s=jwt.refresh_s,
    )
    return remote, outgoing
