"""A cluster that is set up wrongly is told at its start, by name and with the cause."""

import errno
import os
import socket
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tests.cluster.false_nodes import (
    FAKE_SID,
    connect,
    false_node,
    open_as,
    poll,
    read_all,
    welcome,
)
from tests.cluster.forwarding_nodes import (
    SECRET,
    ForwardingNode,
    forwarding_nodes,
    open_sid,
    target_of,
)
from tests.socketio.serving import until
from tests.wire import HttpClient
from trio.testing import MockClock, trio_test

from trio_socketio import ServerOptions
from trio_socketio.cluster.forwarding.answering import OPENING_S
from trio_socketio.cluster.forwarding.credentials import Credentials, read_credentials
from trio_socketio.cluster.forwarding.link import Link
from trio_socketio.cluster.forwarding.metrics import ForwardingCollector
from trio_socketio.cluster.forwarding.peer import Peer
from trio_socketio.cluster.forwarding.peers import tell_faults
from trio_socketio.cluster.forwarding.pool import DialFailed, Pool, Times
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.codec.node_messages import NodeFacts
from trio_socketio.protocol.forwarding import PULSE

SOON = Times(soon_s=0.02, again_s=0.02, most_s=0.05, well_s=1e9)
OTHER = Credentials((b"a secret of another cluster, too",))


@pytest.fixture
def fast_clock() -> MockClock:
    """Time passes ten times as fast, for real sockets too."""
    return MockClock(rate=10.0)


def knows(node: ForwardingNode, name: str, part: str) -> bool:
    """Whether a node knows that another one cannot be reached, and why."""
    return part in (node.forwarding.faults().get(name) or "")


def reaches(node: ForwardingNode, name: str) -> bool:
    return node.forwarding.faults().get(name) == ""


def possible(node: ForwardingNode) -> dict[str, float]:
    """What the metrics say of the other nodes."""
    return {
        sample.labels["node"]: sample.value
        for metric in ForwardingCollector(node.forwarding).collect()
        if metric.name == "tsio_forwarding_possible"
        for sample in metric.samples
    }


def openings_refused(node: ForwardingNode) -> dict[str, float]:
    """What the metrics say of refused connections, without zeros."""
    return {
        sample.labels["reason"]: sample.value
        for metric in ForwardingCollector(node.forwarding).collect()
        if metric.name == "tsio_forwarding_openings_refused"
        for sample in metric.samples
        if sample.value
    }


def has_told(node: ForwardingNode, name: str, other: str) -> bool:
    """Whether a node shows that another one has told that it cannot reach a third one."""
    return any(one.name == name and one.unreached == [other] for one in node.nodes.listed())


def tls_credentials(folder: Path, own: trustme.CA, trusted: trustme.CA) -> Credentials:
    own.issue_cert("node").private_key_and_cert_chain_pem.write_to_path(folder / "node")
    trusted.cert_pem.write_to_path(folder / "ca")
    return read_credentials(
        ClusterOptions(
            internal="127.0.0.1:0",
            internal_tls_cert=folder / "node",
            internal_tls_ca=folder / "ca",
        )
    )


# -- what is told of failures


@pytest.mark.req("FWD-54", "FWD-53", "FWD-55", "FWD-57")
@pytest.mark.parametrize(
    ("how", "told_here", "told_there", "reason"),
    [
        ("other secret", "has not proven that it has the secret", "has not proven", "proof"),
        ("other authority", "another authority has issued it", "is not trusted: unable", "tls"),
        ("both foreign", "its certificate is not trusted: ", "does not trust our", "tls"),
        ("TLS here alone", "it does not speak TLS", "it speaks TLS, and this node", "tls"),
        ("TLS there alone", "perhaps it speaks TLS", "it does not speak TLS", "tls"),
    ],
)
@trio_test
async def test_both_nodes_tell_what_is_wrong(
    how: str,
    told_here: str,
    told_there: str,
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Node b dials, and node a is dialed."""
    good, foreign = trustme.CA(), trustme.CA()
    one = partial(tls_credentials, tmp_path)
    here, there = {
        "other secret": lambda: (OTHER, Credentials((SECRET,))),
        "other authority": lambda: (one(foreign, good), one(good, good)),
        "both foreign": lambda: (one(foreign, foreign), one(good, good)),
        "TLS here alone": lambda: (one(good, good), Credentials((SECRET,))),
        "TLS there alone": lambda: (Credentials((SECRET,)), one(good, good)),
    }[how]()
    async with forwarding_nodes("a", credentials=there) as nodes:
        a = nodes["a"]
        b = await nodes.start("b", credentials=here, times=SOON)
        await nodes.wait_known()
        await until(lambda: knows(b, "a", told_here))
        await until(lambda: reason in openings_refused(a))
        line = f"requests cannot be passed on to node 'a' at {a.nodes.reach[0]}: "
        await until(lambda: line in caplog.text)
        (told,) = [text for text in caplog.messages if text.startswith(line)]
        assert told_here in told
        (refused,) = {
            text for text in caplog.messages if text.startswith("refused a connection to the int")
        }
        assert told_there in refused
        assert possible(b) == {"a": 0}
        for node in (a, b):  # whichever is asked
            await until(partial(has_told, node, "b", "a"))
        http = HttpClient(b.port)
        await http.request("GET", target_of(await open_sid(a)))
        await http.aclose()
        (failed,) = [text for text in caplog.messages if text.startswith("a request (poll)")]
        assert f"of node 'a' at {a.nodes.reach[0]} failed: " in failed
        assert told_here in failed


@pytest.mark.req("FWD-54", "FWD-55")
@pytest.mark.parametrize(
    ("advertised", "told"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("255.255.255.255:9", "Network is unreachable"),
        ("nowhere.invalid:4100", "nowhere.invalid:4100 is not found: "),
    ],
)
@trio_test
async def test_a_wrong_address_is_told(
    advertised: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with forwarding_nodes("a", times=SOON) as nodes:
        await nodes.start("b", advertise=advertised)
        await nodes.wait_known()
        await until(lambda: knows(nodes["a"], "b", told))
        await until(lambda: told in caplog.text)
        (line,) = [text for text in caplog.messages if "cannot be passed on to node 'b' " in text]
        assert told in line
        assert possible(nodes["a"]) == {"b": 0}


@pytest.mark.req("FWD-54", "FWD-55")
@pytest.mark.parametrize("method", ["__init__", "setsockopt", "connect_ex"])
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EMFILE, errno.ENOBUFS])
@trio_test
async def test_what_the_system_refuses_is_told_unless_it_has_nothing_left(
    method: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        pool, dialed = peer_of(nodes["a"]).pool, trio.Event()

        class Failing(socket.socket):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                dialed.set()
                if method == "__init__":
                    self._fail()

            def setsockopt(self, *_: Any) -> None:
                if method == "setsockopt":
                    self._fail()

            def connect_ex(self, _: Any) -> int:
                return number

            def _fail(self) -> None:
                self.close()
                raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr("trio_socketio.cluster.forwarding.pool.socket.socket", Failing)
            with pytest.raises(DialFailed) as failed:
                pool.dial(Nobody())
        assert dialed.is_set()
        expected = "gone" if number == errno.EAFNOSUPPORT else "full"
        assert (failed.value.reason, failed.value.cause) == (expected, os.strerror(number))


class Nobody:
    """Uses a link for nothing."""

    def link_opened(self, link: Link) -> None:
        """Do nothing."""

    def receive_answer(self, data: bytes) -> None:
        """Do nothing."""

    def link_lost(self, reason: str, cause: str = "") -> None:
        """Do nothing."""


@pytest.mark.req("FWD-54")
@trio_test
async def test_a_port_that_does_not_exist_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with forwarding_nodes("a", times=SOON) as nodes:
        a = nodes["a"]
        assert a.forwarding._peers is not None
        odd = facts(internal="127.0.0.1:70000", sid_prefix="fake", host=a.nodes.host)
        a.forwarding._peers.node_came(odd)
        await until(lambda: knows(a, "odd", "70000 is not a port (0 to 65535)"))


@pytest.mark.req("FWD-53")
@pytest.mark.parametrize(
    ("how", "reason", "told"),
    [
        ("nothing", "late", "it has not proven within 2 s that it is a node"),
        ("hello alone", "late", "it has not proven within 2 s that it is a node"),
        ("leaves", "lost", "it has left before it had proven that it is a node"),
        ("leaves after hello", "lost", "it has left before it had proven that it is a node"),
        (
            "resets",
            "lost",
            "it has left before it had proven that it is a node: Connection reset by peer",
        ),
    ],
)
@trio_test
async def test_who_proves_nothing_is_counted_and_logged(
    how: str, reason: str, told: str, fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with forwarding_nodes("a") as nodes:
        node = nodes["a"]
        stream = (await open_as(node))[1] if "hello" in how else await connect(node)
        if how == "resets":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if reason == "late":
            began = trio.current_time()
            assert await read_all(stream) == b""
            assert trio.current_time() - began > OPENING_S - 0.5
        await stream.aclose()
        await until(lambda: openings_refused(node) == {reason: 1})
        assert f"internal address from 127.0.0.1: {told}" in caplog.text


@pytest.mark.req("FWD-53")
@trio_test
async def test_connections_beyond_the_bound_are_counted_too() -> None:
    async with forwarding_nodes("a", max_connections=1) as nodes:
        streams = [await connect(nodes["a"]) for _ in range(2)]
        assert (await read_all(streams[1])).startswith(b"refused full ")
        assert openings_refused(nodes["a"]) == {"full": 1}
        for stream in streams:
            await stream.aclose()


@pytest.mark.req("FWD-53")
@trio_test
async def test_a_node_whose_client_has_left_is_no_stranger(fast_clock: MockClock) -> None:
    """The connection that was dialed for the client is kept, and has to prove itself as well."""
    dialed, go = trio.Event(), trio.Event()
    received = b""

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal received
        dialed.set()
        await go.wait()
        machine = await welcome(stream)
        async for data in stream:
            received += bytes(data)
            for event in machine.receive(bytes(data)):
                await stream.send_all(event.answer)

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        client = await trio.open_tcp_stream("127.0.0.1", nodes["a"].port)
        await client.send_all(f"GET {target_of(FAKE_SID)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await dialed.wait()
        await client.aclose()
        await until(lambda: nodes["a"].forwarding.counts.requests == 0)
        go.set()
        await until(lambda: received.startswith(b"pulse "))
        peer = peer_of(nodes["a"])
        await until(lambda: peer._ground.idle == 1)


def peer_of(node: ForwardingNode) -> Peer:
    assert node.forwarding._peers is not None
    (peer,) = node.forwarding._peers
    return peer


async def serve_trials(stream: trio.SocketStream) -> None:
    """Answer pulses, and leave at the first request."""
    machine = await welcome(stream)
    async for data in stream:
        for event in machine.receive(bytes(data)):
            if not event.answer:
                return
            await stream.send_all(event.answer)


# -- trials


@pytest.mark.req("FWD-55", "FWD-57")
@trio_test
async def test_nodes_that_are_set_up_well_say_so(caplog: pytest.LogCaptureFixture) -> None:
    async with forwarding_nodes("a", "b", "c", times=SOON) as nodes:
        for node in nodes.values():
            for other in {*nodes} - {node.name}:
                await until(partial(reaches, node, other))
            assert possible(node) == dict.fromkeys({*nodes} - {node.name}, 1)
            shown = {one.name: one for one in node.nodes.listed()}
            for name, one in shown.items():
                assert one.forwarding is (None if name == node.name else True)
                assert one.forwarding_fault == ""
            assert openings_refused(node) == {}
            assert tell_faults(node.forwarding.faults()) == ""
        assert [one for one in caplog.records if one.levelname == "WARNING"] == []


@pytest.mark.req("FWD-56")
@trio_test
async def test_trials_become_rare_and_end_with_the_fault(
    fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    times: list[float] = []
    is_well = False

    async def behave(stream: trio.SocketStream) -> None:
        times.append(trio.current_time())
        if is_well:
            await serve_trials(stream)

    caplog.set_level("INFO")
    pace = Times(soon_s=0.1, again_s=1.0, most_s=4.0, well_s=1e9)
    async with forwarding_nodes("a", times=pace) as nodes, false_node(nodes["a"], behave):
        began = trio.current_time()
        await until_many(times, 5)
        waits = [later - earlier for earlier, later in zip([began, *times], times, strict=False)]
        for wait, least, most in zip(waits, (0, 0.7, 1.4, 2.9, 2.9), (1, 2, 3, 5, 5), strict=True):
            assert least < wait < most, waits
        assert len([one for one in caplog.messages if "cannot be passed on" in one]) == 1
        is_well = True
        await until(lambda: reaches(nodes["a"], "fake"))
        assert "requests can be passed on to node 'fake' again" in caplog.text
        assert possible(nodes["a"]) == {"fake": 1}
        number = len(times)
        await trio.sleep(10)
        assert len(times) == number


async def until_many(found: list[float], number: int) -> None:
    with trio.fail_after(60):
        while len(found) < number:  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.05)


@pytest.mark.req("FWD-56")
@trio_test
async def test_a_node_that_was_reached_is_tried_again() -> None:
    connections = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await serve_trials(stream)

    pace = SOON._replace(well_s=0.02)
    async with forwarding_nodes("a", times=pace) as nodes, false_node(nodes["a"], behave):
        await until(lambda: connections > 3)
        assert reaches(nodes["a"], "fake")


@pytest.mark.req("FWD-55")
@trio_test
async def test_each_cause_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    connections = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await stream.receive_some()
        words = b"proof of nothing" if connections < 5 else b"version it is another one"
        await stream.send_all(b"refused " + words + b"\n")

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        await until(lambda: connections > 8)
        told = [text for text in caplog.messages if "cannot be passed on" in text]
        assert ["it refuses: of nothing" in text for text in told] == [True, False]
        assert ["it refuses: it is another one" in text for text in told] == [False, True]


@pytest.mark.req("FWD-56")
@trio_test
async def test_a_request_that_has_failed_and_a_new_secret_cause_a_trial() -> None:
    connections = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        if connections != 3:  # it has failed once by itself
            await serve_trials(stream)

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        a = nodes["a"]
        await until(lambda: reaches(a, "fake"))
        await trio.sleep(0.1)
        assert connections == 1
        await poll(a)  # over the connection that was kept, and it fails
        await until(lambda: connections == 2)
        await until(lambda: reaches(a, "fake"))
        a.forwarding.apply(a.forwarding._credentials)
        await until(lambda: connections == 4)
        await until(lambda: reaches(a, "fake"))


@pytest.mark.req("FWD-56")
@trio_test
async def test_a_connection_that_was_opened_for_a_request_causes_a_trial() -> None:
    """The node is given newcomers again as soon as it can be reached."""
    connections = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            await serve_trials(stream)

    pace = SOON._replace(again_s=1e9, most_s=1e9)
    async with forwarding_nodes("a", times=pace) as nodes, false_node(nodes["a"], behave):
        await until(lambda: bool(nodes["a"].forwarding.faults()["fake"]))
        await trio.sleep(0.1)
        assert connections == 1
        await poll(nodes["a"])
        await until(lambda: reaches(nodes["a"], "fake"))
        assert connections == 3


@pytest.mark.req("FWD-56")
@trio_test
async def test_requests_that_fail_as_a_node_goes_cause_no_trial() -> None:
    arrived = trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        machine = await welcome(stream)
        async for data in stream:
            for event in machine.receive(bytes(data)):
                if event.answer:
                    await stream.send_all(event.answer)
                else:
                    arrived.set()

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        a = nodes["a"]
        await until(lambda: reaches(a, "fake"))
        peer = peer_of(a)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll, a)
            await arrived.wait()
            peer.leave("gone")
            assert peer.trial.next_deadline() == inf
        assert a.forwarding.counts.refused["gone"] == 1


@pytest.mark.req("FWD-56")
@trio_test
async def test_an_answer_to_a_pulse_may_come_in_pieces() -> None:
    received = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal received
        machine = await welcome(stream)
        async for data in stream:
            for event in machine.receive(bytes(data)):
                for byte in event.answer:
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(0.01)
                received += 1

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        await until(lambda: nodes["a"].forwarding.faults()["fake"] is not None)
        assert reaches(nodes["a"], "fake")
        peer = peer_of(nodes["a"])
        assert peer._ground.idle == 1
        peer._pulse.send()  # over the same connection
        await until(lambda: received == 2 and peer._ground.idle == 1)


@pytest.mark.req("FWD-56")
@trio_test
async def test_the_right_secret_ends_the_wait() -> None:
    pace = SOON._replace(again_s=1e9, most_s=1e9)
    async with forwarding_nodes("a") as nodes:
        b = await nodes.start("b", credentials=OTHER, times=pace)
        await nodes.wait_known()
        await until(lambda: knows(b, "a", "has not proven that it has the secret"))
        b.forwarding.apply(Credentials((SECRET,)))
        await until(lambda: reaches(b, "a"))


@pytest.mark.req("FWD-56")
@trio_test
async def test_a_secret_that_comes_during_a_trial_is_tried_as_well() -> None:
    connections, go = 0, trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await go.wait()
        await serve_trials(stream)

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        await until(lambda: connections == 1)
        nodes["a"].forwarding.apply(Credentials((SECRET,)))
        await trio.sleep(0.1)
        assert connections == 1  # one at a time
        go.set()
        await until(lambda: connections == 2)
        await trio.sleep(0.1)
        assert connections == 2


@pytest.mark.req("FWD-56")
@pytest.mark.parametrize("how", ["full here", "full there", "goes", "ends", "drains"])
@trio_test
async def test_what_is_no_fault_of_the_set_up_is_no_verdict(
    how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections, waits = 0, trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        if how == "full there":
            await stream.receive_some()
            await stream.send_all(b"refused full this node has as many as it may have\n")
        waits.set()
        await trio.sleep_forever()

    async with forwarding_nodes("a", times=SOON) as nodes:
        a = nodes["a"]
        if how == "full here":
            monkeypatch.setattr(Pool, "_connect", lambda _: None)
            waits.set()
        if how == "drains":
            a.forwarding.drain()
            waits.set()
        async with false_node(a, behave):
            await waits.wait()
            if how in ("goes", "ends"):
                peer = peer_of(a)
                peer.leave("gone") if how == "goes" else peer.end_unsent()
                number = connections
            await trio.sleep(0.15)
            assert a.forwarding.faults() == {"fake": None}
            if how == "goes":
                assert connections == number
            elif how == "drains":
                assert connections == 0
            assert "cannot be passed on" not in caplog.text


@pytest.mark.req("FWD-56")
@trio_test
async def test_a_node_that_answers_a_pulse_with_nonsense_cannot_be_reached() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await welcome(stream)
        await stream.receive_some()
        await stream.send_all(PULSE.upper())
        await trio.sleep_forever()

    async with forwarding_nodes("a", times=SOON) as nodes, false_node(nodes["a"], behave):
        await until(lambda: knows(nodes["a"], "fake", "answers a pulse with something else"))


@pytest.mark.req("FWD-34")
@trio_test
async def test_a_node_that_was_found_out_of_reach_is_given_no_newcomers() -> None:
    async with forwarding_nodes("a", place="least", times=SOON) as nodes:
        sids = [await open_sid(nodes["a"]) for _ in range(2)]
        await nodes.start("b", credentials=OTHER)
        await nodes.wait_known()
        await until(lambda: [one.state for one in nodes["a"].nodes.others()] == ["serving"])
        await until(lambda: knows(nodes["a"], "b", "secret"))
        sids += [await open_sid(nodes["a"]) for _ in range(3)]
        assert len(nodes["a"].sessions) == len(sids)
        assert nodes["a"].refused == {}


# -- nodes that nothing can lead to


def facts(**more: object) -> NodeFacts:
    given = {
        "name": "odd", "boot": "x", "host": "h", "pid": 1, "version": "", "started_at_s": 1.0,
        "state": "serving", "connections": 0, "internal": "", "sid_prefix": "",
    } | more  # fmt: skip
    return NodeFacts(**given)  # type: ignore[arg-type]  # they are as in a message


@pytest.mark.req("FWD-58", "FWD-52", "FWD-57")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "it does not listen for other nodes; start it with --internal too"),
        (
            {"internal": "127.0.0.1:4100", "sid_prefix": "fake"},
            "127.0.0.1:4100 is a loopback address of another machine; give that node an --internal",
        ),
    ],
)
@trio_test
async def test_a_node_that_nothing_can_lead_to_is_told_by_name(
    given: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with forwarding_nodes("a") as nodes:
        a = nodes["a"]
        assert a.forwarding._peers is not None
        a.forwarding._peers.node_came(facts(**given))
        assert f"requests cannot be passed on to node 'odd' of host h: {told}" in caplog.text
        assert possible(a) == {"odd": 0}
        assert tell_faults(a.forwarding.faults()) == (
            "requests cannot be passed on to the nodes 'odd'; see system.nodes"
        )
        a.forwarding._peers.node_went(facts(**given), is_cut_off=False)
        assert possible(a) == {}


@pytest.mark.req("FWD-58")
@trio_test
async def test_a_parent_of_workers_needs_no_address(caplog: pytest.LogCaptureFixture) -> None:
    """It has no sessions."""
    async with forwarding_nodes("a") as nodes:
        assert nodes["a"].forwarding._peers is not None
        nodes["a"].forwarding._peers.node_came(facts(workers=2))
        assert nodes["a"].forwarding.faults() == {}
        assert "cannot be passed on" not in caplog.text


@pytest.mark.req("FWD-10", "FWD-57")
@trio_test
async def test_nodes_with_one_prefix_are_shown_as_out_of_reach(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = ServerOptions(sid_prefix="same")
    async with forwarding_nodes("a", "b", options=options, times=SOON) as nodes:
        assert "the nodes 'a' and 'b' have the same sid_prefix" in caplog.text
        assert possible(nodes["a"]) == {"b": 0}
        shown = {one.name: one for one in nodes["a"].nodes.listed()}
        assert shown["b"].forwarding is False
        assert shown["b"].forwarding_fault == "another node has the same sid_prefix"


@pytest.mark.req("FWD-59")
@trio_test
async def test_only_some_names_are_told_of_many() -> None:
    async with forwarding_nodes("a") as nodes:
        assert nodes["a"].forwarding._peers is not None
        for number in range(7):
            nodes["a"].forwarding._peers.node_came(facts(name=f"n{number}"))
        assert tell_faults(nodes["a"].forwarding.faults()) == (
            "requests cannot be passed on to the nodes 'n0', 'n1', 'n2', 'n3', 'n4' and 2 more; "
            "see system.nodes"
        )


@pytest.mark.req("FWD-55", "FWD-58")
@pytest.mark.parametrize("internal", ["", "127.0.0.1:70000"])
@trio_test
async def test_each_of_many_nodes_is_named(internal: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever keeps requests from them, there are more than the lines of one kind may be."""
    async with forwarding_nodes("a", times=SOON) as nodes:
        a = nodes["a"]
        assert a.forwarding._peers is not None
        names = [f"n{number:03}" for number in range(20)]
        for name in names:
            node = facts(name=name, internal=internal, sid_prefix=name, host=a.nodes.host)
            a.forwarding._peers.node_came(node)
        await until(lambda: all(possible(a).get(name) == 0 for name in names))
        for name in names:
            line = f"requests cannot be passed on to node {name!r} "
            assert len([text for text in caplog.messages if text.startswith(line)]) == 1
