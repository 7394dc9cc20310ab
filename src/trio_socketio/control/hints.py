"""Words the errors of control clients, with hints on what may be wrong with the address.

It uses only the standard library, as the client for threads does.
"""

from trio_socketio.control.address import Address


def explain_failure(where: Address, error: BaseException) -> str:
    """Say that an address cannot be connected to, and why (CONTROL-52)."""
    text = f"cannot connect to {where}: {error}"
    if not where.secure:
        return text
    import ssl  # here, because the import takes a while

    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
        plain = str(where).replace("tls:", "tcp:", 1)
        text += f"; if it does not speak TLS, write {plain}"
    return text


def explain_silence(where: Address, reason: str) -> str:
    """Say that the server at an address does not greet like a control socket, and why."""
    text = f"{where} does not greet like a control socket: {reason}"
    if where.path or where.secure:
        return text
    return f"{text}; if it speaks TLS, write {str(where).replace('tcp:', 'tls:', 1)}"


def foreign_protocol(line: bytes) -> str:
    """Name the protocol of a line that is not JSON; empty if it is not known."""
    if line.startswith(b"HTTP/"):
        return "it speaks HTTP, so it is not a control socket"
    return ""


def too_long(size: int, most: int) -> str:
    """Say that a line is longer than the server accepts."""
    return (
        f"the line would have {size} bytes, and the server accepts at most {most} "
        "([control] max_line_bytes)"
    )
