"""Sets up the verifiers that the options ask for. All files are read here."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.http.outgoing import Outgoing, parse_target, trust
from trio_socketio.im.identity.backend_verifier import BackendVerifier
from trio_socketio.im.identity.chain import Policies
from trio_socketio.im.identity.claims import ClaimRules
from trio_socketio.im.identity.options import IdentityOptions, JwtOptions
from trio_socketio.im.identity.static_tokens import StaticTokens
from trio_socketio.im.identity.webhook import Webhook

if TYPE_CHECKING:
    from trio_socketio.im.identity.identity import Verifier
    from trio_socketio.im.identity.keys import Key
    from trio_socketio.im.identity.remote_keys import RemoteKeys


class Prepared(NamedTuple):
    """Options whose files were read. Nothing was opened yet.

    Args:
        options: the options.
        policies: which namespaces ask, and whom.
        static: the static tokens; None if there are none.
        remote: the keys of a JWKS URL; None if there is no URL.
        outgoing: sends the requests for them; None likewise.
        webhook: None if there is none.
        backend: asks backends; None if they are not asked. Its `ask` is set by who uses it.
        digests: of the files that each option names; others mean that they have changed.
        trusted: the digest of the certificates that are trusted for the JWKS URL.
    """

    options: IdentityOptions
    policies: Policies
    static: StaticTokens | None = None
    remote: "RemoteKeys | None" = None
    outgoing: Outgoing | None = None
    webhook: Webhook | None = None
    backend: BackendVerifier | None = None
    digests: Mapping[str, bytes] = {}
    trusted: bytes = b""


def prepare(
    options: IdentityOptions,
    clock: Callable[[], float] = time.time,
    before: Prepared | None = None,
) -> Prepared:
    """Read every file that the options name, and make the verifiers.

    It may be called in any thread.

    Args:
        options: the options.
        clock: seconds since 1970.
        before: what was prepared earlier. The keys of a JWKS URL are kept if it is still the same,
            and so are the connections and failures of a webhook. Static tokens that were there
            keep their age.
    Raises:
        OptionError: a file cannot be used, or PyJWT is missing; it names the option within
            [identity], such as webhook.secret_file.
    """
    verifiers: dict[str, Verifier] = {}
    static: StaticTokens | None = None
    remote: RemoteKeys | None = None
    outgoing: Outgoing | None = None
    webhook: Webhook | None = None
    backend: BackendVerifier | None = None
    digests, trusted = _digests(options), b""
    if options.tokens:
        old = None if before is None else before.static
        with _errors_of("tokens"):
            static = verifiers["static"] = StaticTokens(options.tokens, clock(), old)
    if options.jwt is not None:
        if not options.jwt.keys and options.jwt.jwks_url is None:
            raise OptionError("jwt", "has no keys: set jwt.keys or jwt.jwks_url")
        with _errors_of("jwt"):
            # Imported here because they need PyJWT, which a server without JWTs can do without.
            from trio_socketio.im.identity.jwt_verifier import JwtVerifier

        trusted = _digest([options.jwt.ca_file])
        if (
            before is not None
            and before.trusted == trusted
            and _is_same_url(before.options.jwt, options.jwt)
        ):
            remote, outgoing = before.remote, before.outgoing
        elif options.jwt.jwks_url is not None:
            with _errors_of("jwt"):
                remote, outgoing = _open_remote(options, options.jwt)
        keys = _read_keys(options.jwt)
        verifiers["jwt"] = JwtVerifier(keys, _rules(options, options.jwt), remote, clock)
    if options.des is not None:
        for name in ("key", "iv"):
            if getattr(options.des, name) is None and getattr(options.des, f"{name}_file") is None:
                raise OptionError("des", f"has no {name}: set des.{name} or des.{name}_file")
        with _errors_of("des"):
            from trio_socketio.im.identity.des_tokens import DesTokens  # it needs cryptography

            verifiers["des"] = DesTokens(options.des)
    if options.backend:
        if before is not None and before.options.deadline_s == options.deadline_s:
            backend = before.backend
        backend = verifiers["backend"] = backend or BackendVerifier(options.deadline_s, clock)
    if options.webhook is not None:
        if before is not None and _is_same_webhook(before, options, digests):
            webhook = before.webhook
        with _errors_of("webhook"):
            webhook = webhook or Webhook(options.webhook, options.deadline_s, clock)
        verifiers["webhook"] = webhook
    policies = Policies(verifiers, options.namespaces)
    return Prepared(options, policies, static, remote, outgoing, webhook, backend, digests, trusted)


@contextmanager
def _errors_of(option: str) -> Iterator[None]:
    """Name the option in errors that are raised within the block."""
    try:
        yield
    except OptionError as error:
        raise error.within(option) from None
    except ConfigurationError as error:
        raise OptionError(option, str(error)) from None


def _read_keys(options: JwtOptions) -> "tuple[Key, ...]":
    from trio_socketio.im.identity.keys import read_key_file

    keys: list[Key] = []
    for number, one in enumerate(options.keys):
        with _errors_of(f"jwt.keys[{number}]"):
            keys += read_key_file(one.file, one.algorithm, one.kid)
    return tuple(keys)


def _digests(options: IdentityOptions) -> dict[str, bytes]:
    """Digest the files that each option names.

    This is done before they are read, as with certificates (CFG-32): if one is replaced between the
    two looks, the next reload reports it once more, and does not miss it.
    """
    jwt, des, webhook = options.jwt, options.des, options.webhook
    return {
        "tokens": _digest(token.file for token in options.tokens),
        "jwt": b"" if jwt is None else _digest([jwt.ca_file, *(key.file for key in jwt.keys)]),
        "des": b"" if des is None else _digest([des.key_file, des.iv_file]),
        "webhook": b"" if webhook is None else _digest([webhook.ca_file, webhook.secret_file]),
    }


def _digest(files: Iterable[str | None]) -> bytes:
    digest = sha256()
    for file in files:
        try:
            if file is not None and Path(file).is_file():
                digest.update(sha256(Path(file).read_bytes()).digest())
        except OSError:
            continue  # the error is raised when it is read
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


def _is_same_webhook(
    before: Prepared, options: IdentityOptions, digests: Mapping[str, bytes]
) -> bool:
    """Whether a webhook is kept: another one would have forgotten that this one fails."""
    old = before.options
    return (old.webhook, old.deadline_s, before.digests["webhook"]) == (
        options.webhook,
        options.deadline_s,
        digests["webhook"],
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
