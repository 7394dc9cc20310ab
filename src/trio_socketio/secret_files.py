"""Reads files that hold a secret or a key."""

from pathlib import Path

from trio_socketio.errors import ConfigurationError


def read_secret_file(path: str, what: str, max_bytes: int) -> bytes:
    """Read a whole file, less the newline that an editor has put at its end.

    Nothing else is removed: a secret that was cut or stripped silently would be another one.

    Args:
        path: of the file.
        what: names the contents in errors, such as "the key"; the path follows it.
        max_bytes: how large the contents may be.
    Raises:
        ConfigurationError: the file cannot be read, or is larger. The message does not show it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 3)  # a newline has up to 2 bytes
    except OSError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {error.strerror}") from None
    content = content[:-2] if content.endswith(b"\r\n") else content.removesuffix(b"\n")
    if len(content) > max_bytes:
        raise ConfigurationError(f"{what} {path} is larger than {max_bytes} bytes")
    return content
