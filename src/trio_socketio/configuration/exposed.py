"""Finds the files with secrets and private keys that every user of the machine can read."""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trio_socketio.configuration.loading import Loaded
from trio_socketio.configuration.tables import Configuration, Place
from trio_socketio.errors import ConfigurationError

if TYPE_CHECKING:
    from trio_socketio.im.identity.options import JwtKey

_Named = tuple[str, Path | str | None]
"""The name of an option, and the file that it names; None if it names none."""


def find_exposed(loaded: Loaded, given: Path | None) -> Iterator[str]:
    """Yield a warning for each file with a secret that every user of the machine can read.

    Files that cannot be examined are left out: reading them is an error later.

    Args:
        loaded: the configuration.
        given: its file, which may hold secrets as well; None if there is none.
    """
    told = set()
    for option, file in (*_inline(loaded, given), *_secret_files(loaded.configuration)):
        if file is None or str(file) in told:
            continue
        path = Path(file)
        try:
            mode = path.stat().st_mode
            # All folders above it count: no one gets to a file in a folder below /root.
            folders = [folder.stat().st_mode for folder in path.resolve().parents]
        except OSError:
            continue
        if mode & stat.S_IROTH and all(folder & stat.S_IXOTH for folder in folders):  # CFG-37
            told.add(str(file))
            yield (
                f"every user of this machine can read {file}, which holds a secret ({option}): set "
                f"its mode to 600, or to 640 with the group of the server; it is "
                f"{stat.S_IMODE(mode):o}"
            )


def _inline(loaded: Loaded, given: Path | None) -> Iterator[_Named]:
    """Yield the secrets in the configuration file itself."""
    if given is None:
        return
    configuration, settings = loaded
    des, tokens = configuration.identity.des, configuration.identity.tokens
    secrets: dict[Place, bool] = {
        ("redis", "url"): configuration.redis.address.password is not None,
        ("identity", "des", "key"): des is not None and des.key is not None,
        ("identity", "des", "iv"): des is not None and des.iv is not None,
        ("identity", "tokens"): any(token.token is not None for token in tokens),
        ("admin_ui", "password_hash"): configuration.admin_ui.password_hash is not None,
    }
    for place, is_set in secrets.items():
        above = (place[:length] for length in range(2, len(place) + 1))
        found = [settings[one] for one in above if one in settings]
        if is_set and found and found[-1].origin == str(given):  # else a variable holds it
            yield f"[{place[0]}] {'.'.join(place[1:])}", given


def _secret_files(configuration: Configuration) -> Iterator[_Named]:
    for table in ("listen", "control", "admin"):
        group = getattr(configuration, table)
        yield _key(table, "certfile", group.certfile, "keyfile", group.keyfile)
    cluster, identity = configuration.cluster, configuration.identity
    cert, key = cluster.internal_tls_cert, cluster.internal_tls_key
    yield _key("cluster", "internal_tls_cert", cert, "internal_tls_key", key)
    yield from _each("[cluster] secret_files", cluster.secret_files)
    yield from _each("[control] tokens", (token.file for token in configuration.control.tokens))
    yield "[redis] password_file", configuration.redis.password_file
    yield from _each("[identity] tokens", (token.file for token in identity.tokens))
    if identity.jwt is not None:  # the keys of other algorithms are public
        symmetric = (key.file for key in identity.jwt.keys if _is_symmetric(key))
        yield from _each("[identity] jwt.keys", symmetric)
    if identity.des is not None:
        yield "[identity] des.key_file", identity.des.key_file
        yield "[identity] des.iv_file", identity.des.iv_file
    if identity.webhook is not None:
        yield "[identity] webhook.secret_file", identity.webhook.secret_file
    if configuration.presence.webhook is not None:
        yield "[presence] webhook.secret_file", configuration.presence.webhook.secret_file


def _key(
    table: str, cert: str, certfile: Path | str | None, key: str, keyfile: Path | str | None
) -> _Named:
    """Return the file with the private key, which may be that of the certificate."""
    return f"[{table}] {cert if keyfile is None else key}", keyfile or certfile


def _each(option: str, files: Iterable[str | None]) -> Iterator[_Named]:
    for file in files:
        yield option, file


def _is_symmetric(key: "JwtKey") -> bool:
    """Whether a file holds a secret, going by the option or by a JWK in the file."""
    if key.algorithm is not None:
        return key.algorithm.startswith("HS")
    try:
        from trio_socketio.im.identity.keys import read_key_file  # it needs PyJWT

        found = read_key_file(key.file, key.algorithm, key.kid)
    except (ConfigurationError, ImportError):
        return False  # it is an error when the server reads it
    return any(one.algorithm.startswith("HS") for one in found)
