"""Finds the files with secrets and private keys that every user of the machine can read."""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from trio_socketio.configuration.tables import Configuration

_Named = tuple[str, Path | str | None]
"""The name of an option, and the file that it names; None if it names none."""


def find_exposed(configuration: Configuration) -> Iterator[str]:
    """Yield a warning for each file with a secret that every user of the machine can read.

    What cannot be looked at is left out: it is an error when it is read.
    """
    told = set()
    for option, file in _secret_files(configuration):
        if file is None or str(file) in told:
            continue
        path = Path(file)
        try:
            mode, folder = path.stat().st_mode, path.parent.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IROTH and folder & stat.S_IXOTH:  # CFG-37
            told.add(str(file))
            yield (
                f"every user of this machine can read {file}, which holds a secret ({option}): set "
                f"its mode to 600, or to 640 with the group of the server; it is "
                f"{stat.S_IMODE(mode):o}"
            )


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
        symmetric = (key for key in identity.jwt.keys if (key.algorithm or "").startswith("HS"))
        yield from _each("[identity] jwt.keys", (key.file for key in symmetric))
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
