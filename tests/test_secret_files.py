"""Files with a secret or a key are used whole."""

from pathlib import Path

import pytest

from trio_socketio.errors import ConfigurationError
from trio_socketio.secret_files import read_secret_file


@pytest.mark.req("IDENT-62")
@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"", b""),
        (b"\n", b""),
        (b"abc", b"abc"),
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b"abc\n\n", b"abc\n"),
        (b"abc\r", b"abc\r"),
        (b" \0abc \t", b" \0abc \t"),
        (b"12345678", b"12345678"),
        (b"12345678\n", b"12345678"),
        (b"12345678\r\n", b"12345678"),
    ],
)
def test_one_newline_is_removed_and_nothing_else(
    tmp_path: Path, content: bytes, secret: bytes
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret_file(str(path), "the secret", 8) == secret


@pytest.mark.req("IDENT-62")
@pytest.mark.parametrize("content", [b"123456789", b"12345678\n\n", b"x" * 1000])
def test_what_is_too_large_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^the secret .*secret is larger than 8 bytes$"):
        read_secret_file(str(path), "the secret", 8)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^cannot read the key .*: No such file"):
        read_secret_file(str(tmp_path / "nowhere"), "the key", 8)
    with pytest.raises(ConfigurationError, match=r"^cannot read the key .*: Is a directory"):
        read_secret_file(str(tmp_path), "the key", 8)
