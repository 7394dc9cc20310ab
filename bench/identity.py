"""What it costs to ask clients who they are: connects with a JWT, seats, and messages of users.

Keys, tokens and configurations are made anew for each run of the bench.
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bench.generator import Measurement
from bench.loading import (
    Answer,
    load,
    measure_connects,
    side_by_side,
    warm_up,
    windows,
)
from bench.machine import BUILD, Cores
from bench.rows import CLIENTS, SMALL
from bench.servers import Running, run_server
from bench.throughput import Pace
from trio_socketio.configuration.text import toml_value

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
USERS = 1000
VALID_S = 86_400
SECRET = "a secret of the bench that is as long as HS256 demands, and longer"

_CONFIGURATION = """
[identity]
jwt.keys = [{{ file = "{key}", algorithm = "{algorithm}" }}]
jwt.claims = {claims}
[presence]
policy = "{policy}"
"""


def connects_with(algorithm: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure connects with a JWT, and no seat, beside those of a server that asks nobody."""

    def run(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
        def connects(options: Sequence[str]) -> Measurement:
            with run_server("trio", cores, options=options) as server:
                tokens = tokens_of(algorithm) if options else ()
                return measure_connects(server, cores, *tokens, *windows(pace))

        options = configured(algorithm, "none")
        return {f"jwt-{algorithm.lower()}": side_by_side(connects, options, number)}

    return run


def claims_and_takeovers(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure connects that claim a seat and release it, and those that take one over."""
    tokens = tokens_of("HS256")

    def connects(server: Running, workload: str = "connects") -> Measurement:
        asked = (*tokens, *windows(pace))
        return measure_connects(server, cores, *asked, workload=workload)

    def without() -> Measurement:
        with run_server("trio", cores, options=configured("HS256", "none")) as server:
            return connects(server)

    beside = without() if number % 2 else None
    with run_server("trio", cores, options=configured("HS256", "newest")) as server:
        claims, takeovers = connects(server), connects(server, "takeovers")
    beside = beside or without()
    return {
        "seats/claims": Answer.of(claims, beside),
        "seats/takeovers": Answer.of(takeovers, claims),
    }


def messages_of_users(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure an echo of clients that are identified and have seats, beside one of strangers."""
    echo = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)

    def messages(options: Sequence[str]) -> Measurement:
        who = tokens_of("HS256") if options else ()
        with run_server("trio", cores, options=options) as server:
            load("echo", server, cores, *echo, *who, *warm_up(pace))
            return load("echo", server, cores, *echo, *who, *windows(pace))[0]

    return {"seated": side_by_side(messages, configured("HS256", "newest"), number)}


def configured(
    algorithm: str, policy: str, *, rules: dict[str, Any] | None = None, **presence: str | float
) -> tuple[str, ...]:
    """Write a configuration that asks for JWTs; return the options of the server that has it.

    Args:
        algorithm: of the JWTs.
        policy: of the seats.
        rules: of one namespace, which may go by the claim im.
        presence: more options of [presence].
    """
    name = "-".join([algorithm, policy, *map(str, presence.values())])
    if rules is not None:
        name += f"-rules-{crc32(toml_value(rules).encode()):x}"
    path = _folder() / f"{name}.toml"
    text = _CONFIGURATION.format(
        key=_sign(algorithm)[0],
        algorithm=algorithm,
        policy=policy,
        claims=[] if rules is None else ["im"],
    )
    text += "".join(f"{key} = {value!r}\n" for key, value in presence.items())
    if rules is not None:
        text += f"[rules]\nnamespaces = {toml_value([rules])}\n"
    path.write_text(text)
    return ("--config", str(path))


def tokens_of(algorithm: str, im: dict[str, Any] | None = None) -> tuple[str, str]:
    """Return the options of the load generator for tokens of USERS users.

    Args:
        algorithm: of the JWTs.
        im: the claim of that name; None if they have none.
    """
    _, tokens, private = _sign(algorithm)
    if im is not None:
        more = json.dumps(im).encode()
        tokens = tokens.with_name(f"{algorithm}-{crc32(more):x}.tokens")
        _write_tokens(tokens, algorithm, private, im=im)
    return ("--tokens", str(tokens))


@cache
def _sign(algorithm: str) -> tuple[Path, Path, Any]:
    """Make a key, and sign tokens with it.

    Returns:
        The files of both, and what signs.
    """
    key, tokens = (_folder() / f"{algorithm}.{kind}" for kind in ("key", "tokens"))
    private: Any = {
        "HS256": lambda: SECRET,
        "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[algorithm]()
    if isinstance(private, str):
        key.write_text(private)
        signing = private
    else:
        public = private.public_key()
        key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        signing = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_tokens(tokens, algorithm, signing)
    return key, tokens, signing


def _write_tokens(tokens: Path, algorithm: str, signing: Any, **claims: Any) -> None:
    now = int(time.time())
    dated = {"iat": now, "exp": now + VALID_S, **claims}
    signed = [jwt.encode({"sub": f"user {n}", **dated}, signing, algorithm) for n in range(USERS)]
    tokens.write_text("\n".join(signed) + "\n")


def _folder() -> Path:
    folder = BUILD / "identity"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
