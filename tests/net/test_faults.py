"""What has ended a connection is said in words, whatever the system has left out."""

import errno
import os
import socket

import pytest

from trio_socketio.net.faults import explain_fault


@pytest.mark.req("FWD-54")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), "Connection reset by peer"),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
        (OSError("words alone"), "words alone"),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_each_error_has_words(error: OSError, told: str) -> None:
    assert explain_fault(error) == told
