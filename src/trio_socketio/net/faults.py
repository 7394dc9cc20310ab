"""Says in words why the system or TLS has ended a connection."""

import os
import ssl
from typing import Final

_OF_TLS: Final = {
    "HTTP_REQUEST": "it speaks HTTP, and not TLS",
    "NO_SHARED_CIPHER": "there is no cipher that both sides know",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept our certificate, which has expired",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it requires something else of TLS, such as a certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks another version of TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our certificate, as another authority has "
    "issued it",
    "UNSUPPORTED_PROTOCOL": "it speaks another version of TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
}
"""By OpenSSL's reasons, which are terse, and name what was found, not what is wrong."""


def explain_fault(error: OSError) -> str:
    """Say what is wrong with a connection; "it" is the other side.

    Args:
        error: of the system or, as SSLError is an OSError, of TLS.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return _OF_TLS.get(reason, f"TLS has failed: {reason}")
    if error.strerror:
        return error.strerror  # for a look-up, it says more than the number
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
