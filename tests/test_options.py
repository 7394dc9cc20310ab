"""What a program may not set."""

from math import inf
from typing import Any

import pytest

from trio_socketio import ConfigurationError, ServerOptions


@pytest.mark.parametrize(
    "given",
    [
        {"ping_interval_s": inf},
        {"ping_timeout_s": inf},
        {"ping_timeout_s": 0},
        {"trusted_proxies": ("127.0.0.0/8",)},
        {"cors_origins": ("example.com",)},
        {"path": "socket.io"},
        {"max_dynamic_namespaces": 0},
        {"parser": "yaml"},
        {"state_recovery_max_disconnection_s": 0},
        {"state_recovery_max_packets": 0},
        {"state_recovery_max_bytes": -1},
        {"state_recovery_max_sessions": 0},
        {"initial_packet": "\ud800"},
        {"initial_packet": 5},
        {"hook_timeout_s": 0},
    ],
)
def test_unusable_options_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ServerOptions(**given)
