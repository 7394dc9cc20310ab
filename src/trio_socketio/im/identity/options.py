"""The options of identity: who may enter, and how that is found out."""

from collections.abc import Collection
from typing import Final, Literal, get_args

from trio_socketio.errors import OptionError, RemoteProtocolError
from trio_socketio.http.outgoing import check_url
from trio_socketio.option_checks import OptionGroup, check_groups, check_range
from trio_socketio.protocol.namespace_patterns import ByNamespace, is_pattern
from trio_socketio.protocol.user_ids import parse_user_id

Method = Literal["static", "jwt", "des", "backend", "webhook"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
"""In the order in which they are asked."""

MAX_DEADLINE_S: Final = 3.0
"""A backend or webhook that has not answered by then has refused the client."""
MIN_TOKEN: Final = 8
"""The fewest characters of a static token."""
DES_CHARACTERS: Final = 8
"""How many characters of a constant are the key, or the initialization vector, of DES."""
DES_IS_WEAK: Final = (
    "lets in whoever has the key, as any user: every client has the key, the id of the user is not "
    "part of the token, and no token expires; use it only until the old clients are gone, and in "
    "no namespace that others need"
)


class StaticToken(OptionGroup, frozen=True, kw_only=True):
    """A token that stands for a user, for development: whoever knows it is that user.

    Args:
        user: the id of the user.
        token: the token; None if it is in a file.
        file: the path of a file that holds the token and nothing else.
    """

    _secret = frozenset(("token",))

    user: str
    token: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_user_id(self.user)
        except RemoteProtocolError as error:
            raise OptionError("user", str(error)) from None
        if self.token is None and self.file is None:
            raise OptionError("token", "is missing, and there is no file either", hides_value=True)
        if self.token is not None and self.file is not None:
            raise OptionError("file", "cannot be given beside token: leave one of them out")
        if self.token is not None and len(self.token) < MIN_TOKEN:
            reason = f"expected at least {MIN_TOKEN} characters"
            raise OptionError("token", reason, hides_value=True)


class JwtKey(OptionGroup, frozen=True, kw_only=True):
    """A file with keys that JWTs are verified with.

    Args:
        file: the path of a public key as PEM, of a JWK, of a set of them, or of a secret.
        algorithm: the only one that the key is used with, such as RS256; None means what the file
            says, or else RS256 or what belongs to the key's curve. A file that holds a secret as it
            is needs HS256, HS384 or HS512 here.
        kid: the name of the key; None means what the file says, or a key without a name.
    """

    file: str
    algorithm: str | None = None
    kid: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file:
            raise OptionError("file", "expected the path of a file, not ''")


class JwtOptions(OptionGroup, frozen=True, kw_only=True):
    """How JWTs are verified. They must have the claims exp and sub.

    Args:
        keys: files with keys.
        jwks_url: the https URL of a set of public keys; None if there is none.
        ca_file: certificates to trust for that URL; None means those of the system.
        refresh_s: how often the keys of the URL are fetched.
        previous_keys_s: how long a key is still taken that was left out of the set.
        audience: a token must be for one of them (aud). If there are none, tokens that are for
            somebody are refused.
        issuer: a token must be from one of them (iss). If there are none, iss does not matter.
        leeway_s: by how much the clock of the issuer may differ from ours.
        claims: the names of further claims that the app may ask for.
    """

    _may_be_zero = frozenset(("previous_keys_s", "leeway_s"))
    _urls = frozenset(("jwks_url",))

    keys: tuple[JwtKey, ...] = ()
    jwks_url: str | None = None
    ca_file: str | None = None
    refresh_s: float = 300.0
    previous_keys_s: float = 300.0
    audience: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()
    leeway_s: float = 5.0
    claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups("keys", self.keys, JwtKey)
        for name in ("audience", "issuer", "claims"):
            check_texts(name, getattr(self, name))
        if self.jwks_url is not None:
            check_url("jwks_url", self.jwks_url, self.ca_file)
        elif self.ca_file is not None:
            raise OptionError("ca_file", "has no effect without jwks_url")


class DesOptions(OptionGroup, frozen=True, kw_only=True):
    """How tokens of the original contract are decrypted. Whoever has a client can make them.

    The key and the initialization vector are needed, each here or in a file.

    Args:
        key: the constant whose first 8 characters are the key; None if it is in a file.
        key_file: the path of a file that holds it and nothing else.
        iv: the constant whose first 8 characters are the initialization vector; None likewise.
        iv_file: the path of a file that holds it and nothing else.
    """

    _secret = frozenset(("key", "iv"))

    key: str | None = None
    key_file: str | None = None
    iv: str | None = None
    iv_file: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("key", "iv"):
            text, file = getattr(self, name), getattr(self, f"{name}_file")
            if text is not None and file is not None:
                raise OptionError(
                    f"{name}_file", f"cannot be given beside {name}: leave one of them out"
                )
            if text is not None and not (
                len(text) >= DES_CHARACTERS and text.isascii() and text.isprintable()
            ):
                reason = f"expected at least {DES_CHARACTERS} ASCII characters"
                raise OptionError(name, reason, hides_value=True)


class WebhookOptions(OptionGroup, frozen=True, kw_only=True):
    """A URL that is asked who a client is, with a signed POST.

    Args:
        url: https, or http on this machine.
        secret_file: the path of a file with the secret that signs the requests, 32 bytes or more.
        ca_file: certificates to trust for that URL; None means those of the system.
        max_in_flight: how many questions may wait for their answers; further ones are refused.
        max_failures: after so many failures in a row it is not asked for open_s.
        open_s: see max_failures.
    """

    _urls = frozenset(("url",))

    url: str
    secret_file: str
    ca_file: str | None = None
    max_in_flight: int = 64
    max_failures: int = 5
    open_s: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("url", self.url, self.ca_file)
        if not self.secret_file:
            raise OptionError("secret_file", "expected the path of a file, not ''")


class NamespaceIdentity(OptionGroup, frozen=True, kw_only=True):
    """How clients of one namespace are identified.

    Args:
        name: of the namespace; with a * at its end, of all that begin so.
        methods: those that are asked, in this order whatever the order here: static, jwt, des,
            backend or webhook. If there are none, everybody may enter.
    """

    name: str
    methods: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_pattern(self.name):
            raise OptionError(
                "name", f"expected the name of a namespace, as /chat or /room-*, not {self.name!r}"
            )
        check_texts("methods", self.methods)
        for method in self.methods:
            if method not in METHODS:
                raise OptionError("methods", f"expected {', '.join(METHODS)}, not {method!r}")


class IdentityOptions(OptionGroup, frozen=True, kw_only=True):
    """Who may enter, and how that is found out. As long as no method is given, everybody may.

    A client gives its token in the payload of its CONNECT, ``auth: {token}``, or as the event auth.

    It has 13 attributes, because they are the table of one service in the configuration file.

    Args:
        tokens: tokens of users, for development.
        jwt: how JWTs are verified; None means that there are none.
        des: how weak tokens of the original contract are decrypted, for its old clients; None means
            that there are none. Only a namespace whose methods name des takes them.
        backend: whether backends on the control socket are asked.
        webhook: a URL that is asked instead of a backend; None if there is none.
        namespaces: what holds for single namespaces. All others ask for identity, by all
            methods but des.
        by_event: whether clients without a token in their CONNECT may send it as the event auth.
        auth_timeout_s: how long such a client may take until it has been identified. A client whose
            CONNECT was refused is hung up on after the same time, unless it is identified by then.
        deadline_s: how long a backend, a webhook or a JWKS URL may take, 3 at most.
        expiry_grace_s: how long after its token has expired a client is put out.
        max_token_bytes: the largest token.
        max_lifetime_s: for how long a JWT may be valid. So long are revocations kept.
        max_revocations: how many revocations are kept.
    """

    _may_be_zero = frozenset(("expiry_grace_s",))
    _reloadable = frozenset(
        ("tokens", "jwt", "des", "webhook", "expiry_grace_s", "max_token_bytes")
    )
    _one_of = ("tokens", "jwt", "des", "backend", "webhook")

    tokens: tuple[StaticToken, ...] = ()
    jwt: JwtOptions | None = None
    des: DesOptions | None = None
    backend: bool = False
    webhook: WebhookOptions | None = None
    namespaces: tuple[NamespaceIdentity, ...] = ()
    by_event: bool = True
    auth_timeout_s: float = 5.0
    deadline_s: float = 3.0
    expiry_grace_s: float = 25.0
    max_token_bytes: int = 8192
    max_lifetime_s: float = 30 * 86_400.0
    max_revocations: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups("tokens", self.tokens, StaticToken)
        check_groups("namespaces", self.namespaces, NamespaceIdentity)
        check_range(self, "deadline_s", 0.001, MAX_DEADLINE_S)
        check_range(self, "max_token_bytes", 64, 1 << 20)
        if self.backend and self.webhook is not None:
            raise OptionError("webhook", "is not asked beside backend: leave one of them out")
        names = [one.name for one in self.namespaces]
        for name in names:
            if names.count(name) > 1:
                raise OptionError("namespaces", f"two of them are named {name!r}")
        for one in self.namespaces:
            for method in one.methods:
                if method not in self.methods:
                    raise OptionError(
                        "namespaces", f"{one.name} names the method {method}, which is not set up"
                    )

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that are set up, in the order in which they are asked."""
        there = {
            "static": bool(self.tokens),
            "jwt": self.jwt is not None,
            "des": self.des is not None,
            "backend": self.backend,
            "webhook": self.webhook is not None,
        }
        return tuple(method for method in METHODS if there[method])

    @property
    def asks(self) -> bool:
        """Whether any namespace may ask for identity."""
        return bool(self.methods)

    def methods_in(self, namespace: str) -> tuple[str, ...]:
        """Return the methods that are asked in a namespace, or in all whose name fits a pattern."""
        named = {one.name: one.methods for one in self.namespaces}
        others = tuple(method for method in self.methods if method != "des")  # LEG-12
        return ByNamespace(named, others).find(namespace)

    def fault_of_claim(self, claim: str, methods: Collection[str]) -> str:
        """Say why clients that are identified by these methods cannot have a claim (RULE-11).

        Returns:
            An empty text if they can.
        """
        if "jwt" in methods:
            is_kept = self.jwt is not None and claim in self.jwt.claims
            return "" if is_kept else "which [identity] jwt.claims does not name: add it there"
        if "backend" in methods or "webhook" in methods:
            return ""
        return (
            "but no client there has any: have [identity] jwt, backend or webhook identify them, "
            "or leave out the claim"
        )

    def asks_in(self, namespace: str) -> bool:
        """Whether a namespace asks for identity."""
        asked = {one.name: bool(one.methods) for one in self.namespaces}
        return ByNamespace(asked, self.asks).find(namespace)


def check_texts(name: str, texts: object) -> None:
    """Refuse a value that is not a tuple or list of texts.

    Raises:
        OptionError: it is something else, such as one text.
    """
    if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
        raise OptionError(name, f"expected a list of texts, not {texts!r}")
