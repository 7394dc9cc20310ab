"""``serve`` with presence: real clients come and go, and a backend follows them."""

from pathlib import Path

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.test_cli_services import free_port, get
from trio_socketio import open_client
from trio_socketio.control import follow_presence, open_control

APP = str(Path(__file__).with_name("apps") / "presence_app.py")
LIMIT_S = 15


@pytest.mark.req("FEED-33")
@pytest.mark.req("FEED-40")
@trio_test
async def test_a_backend_follows_real_clients(tmp_path: Path) -> None:
    """It outlives the server, and counts anew with the next one."""
    admin, control = free_port(), f"unix:{tmp_path / 'run' / 'control.sock'}"
    arguments = ("--app", f"{APP}:create", "--control", control, "--admin", f"127.0.0.1:{admin}")
    with trio.fail_after(2 * LIMIT_S):
        async with follow_presence("/chat", control) as batches:
            for user in ("ann", "bob"):
                async with serving(*arguments) as server:
                    url = f"http://127.0.0.1:{await server.wait_port()}"
                    batch = await anext(batches)
                    assert (batch.online, batch.entries) == (0, [])
                    async with open_client(url, namespaces="/chat", auth={"user": user}):
                        batch = await anext(batches)
                        (online,) = batch.entries
                        assert (online["type"], online["user"]) == ("online", user)
                        assert "token" in online  # of the claim, which is no secret
                        async with open_control(control) as backend:
                            found = await backend.call("presence.get", [[user], "/chat"])
                        assert found["users"][0]["seats"][0]["id"] == online["id"]
                        metrics = (await get(admin, "/metrics")).text
                        assert "tsio_presence_subscriptions 1.0" in metrics
                        assert "tsio_presence_entries_sent_total 1.0" in metrics
                        assert "tsio_presence_lag_entries 1.0" in metrics
                        assert "tsio_presence_lag_seconds 0." in metrics
                        assert "tsio_presence_groups 0.0" in metrics
                    (offline,) = (await anext(batches)).entries
                    assert (offline["type"], offline["token"]) == ("offline", online["token"])
                    assert await server.end() == 0
