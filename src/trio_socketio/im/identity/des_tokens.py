"""Tokens of the original contract: their meta, encrypted with a key that every client has.

They prove next to nothing, so they are off unless the options name a key, and the program warns
when it starts. The id of the user is not part of what is encrypted, which is why this verifier
believes what the client says about it.

A token is the base64 text of DES-CBC with PKCS#7 padding, over the JSON text of ``meta``. The
original compared texts. Here the decrypted text is parsed, since the order of keys and the way
numbers are written differ between languages.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final

from trio_socketio.codec.json_equality import are_equal_json
from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import ConfigurationError, OptionError, RemoteProtocolError
from trio_socketio.im.identity.identity import (
    BAD_SIGNATURE,
    MALFORMED,
    TOO_LARGE,
    Attempt,
    Identity,
    Later,
    Refusal,
    Verdict,
)
from trio_socketio.im.identity.options import DES_CHARACTERS, DesOptions
from trio_socketio.protocol.user_ids import parse_user_id
from trio_socketio.secret_files import read_secret_file

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC
except ImportError as error:  # a program without such tokens can do without
    raise ConfigurationError(
        "DES tokens need cryptography 43 or later: pip install 'trio-socketio[server]'"
    ) from error

MAX_TOKEN_BYTES: Final = 4096
"""The longest token, as max_token_bytes may be far above. DES is slow: a token of this size takes
0.5 ms, and a usual one 0.03."""

_BLOCK_BYTES: Final = 8
_MAX_FILE_BYTES: Final = 4096
_META: Final = "meta"
_USER: Final = "userId"
_MISFIT: Final = "the token does not fit meta"


class DesTokens:
    """Verifies tokens of the original contract.

    A token is of this kind if it is base64 of whole blocks and came with a ``meta`` (LEG-02). All
    misfits are one refusal, so that nobody can find out plaintexts from how they differ.

    Args:
        options: the key and the initialization vector; their files are read.
    Raises:
        OptionError: a file cannot be used; the message does not show what it holds.
    """

    method = "des"

    def __init__(self, options: DesOptions) -> None:
        key = _read("key", options.key, options.key_file)
        iv = _read("iv", options.iv, options.iv_file)
        # Three equal keys make 3DES the DES of one of them.
        self._cipher = Cipher(TripleDES(key * 3), CBC(iv))

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        if _META not in attempt.auth:
            return None
        token = attempt.token
        if len(token) > MAX_TOKEN_BYTES:  # LEG-05
            return Refusal(TOO_LARGE) if token.isascii() else None
        try:
            encrypted = a2b_base64(token, strict_mode=True)
        except (Base64Error, ValueError):
            return None
        if not encrypted or len(encrypted) % _BLOCK_BYTES:
            return None
        try:
            meta = decode_json(self._decrypt(encrypted))
        except RemoteProtocolError:
            return Refusal(BAD_SIGNATURE, _MISFIT)
        if not are_equal_json(meta, attempt.auth[_META]):  # LEG-03
            return Refusal(BAD_SIGNATURE, _MISFIT)
        if _USER not in attempt.auth:
            return Refusal(MALFORMED, "userId is missing")
        try:
            user = parse_user_id(attempt.auth[_USER])  # LEG-04
        except RemoteProtocolError as error:
            return Refusal(MALFORMED, f"userId cannot be used: {error}")
        # It has no date, so a revocation of its user concerns every such token (LEG-06).
        return Identity(user=user)

    async def verify(self, attempt: Attempt) -> Verdict:
        raise AssertionError(f"{attempt!r} was decided at once")

    def _decrypt(self, encrypted: bytes) -> bytes:
        decryptor = self._cipher.decryptor()
        padded = decryptor.update(encrypted) + decryptor.finalize()
        count = padded[-1]
        if not 1 <= count <= _BLOCK_BYTES or not padded.endswith(bytes((count,)) * count):
            raise RemoteProtocolError("the padding is wrong")
        return padded[:-count]


def _read(name: str, text: str | None, file: str | None) -> bytes:
    """Return the first 8 characters of a constant, which are what the original uses."""
    if text is None:
        assert file is not None  # which the options have checked
        try:
            content = read_secret_file(file, f"the {name} of DES tokens in", _MAX_FILE_BYTES)
        except ConfigurationError as error:
            raise OptionError(f"{name}_file", str(error)) from None
        text = content.decode("ascii", "replace")
        if len(text) < DES_CHARACTERS or not (text.isascii() and text.isprintable()):
            raise OptionError(
                f"{name}_file",
                f"{file} must hold one line of at least {DES_CHARACTERS} ASCII characters",
            )
    return text[:DES_CHARACTERS].encode("ascii")
