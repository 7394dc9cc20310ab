"""Several hosts, hosts with several addresses, and addresses that a machine does not have."""

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from trio_socketio import Server, open_server
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime import listeners as listener_module
from trio_socketio.runtime.addresses import Address, resolve_hosts
from trio_socketio.runtime.listeners import open_tcp_listeners

Answers = dict[str, list[str]]


@contextmanager
def resolving(names: Answers) -> Iterator[None]:
    """In the block names have these addresses, whatever the machine says."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
            await trio.lowlevel.checkpoint()
            found = names.get(host if isinstance(host, str) else host.decode())
            if found is None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [answer(ip) for ip in found]

        async def getnameinfo(self, *_: Any) -> Any:
            raise AssertionError("nobody asks")

    before = trio.socket.set_custom_hostname_resolver(Resolver())
    try:
        yield
    finally:
        trio.socket.set_custom_hostname_resolver(before)


def answer(ip: str) -> tuple[Any, ...]:
    if ":" in ip:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, 0, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)


@contextmanager
def failing(family: int, number: int, *, when: str = "socket") -> Iterator[None]:
    """In the block sockets of that family cannot be made, or not be bound."""

    class Socket(socket.socket):
        def __init__(self, its_family: int, *rest: Any) -> None:
            if its_family == family and when == "socket":
                raise OSError(number, "cannot be made")
            super().__init__(its_family, *rest)

        def bind(self, address: Any) -> None:
            if self.family == family and when == "bind":
                raise OSError(number, "cannot be bound")
            super().bind(address)

    class Module:
        socket = Socket

        def __getattr__(self, name: str) -> Any:
            return getattr(socket, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener_module, "socket", Module())
        yield


async def addresses_of(hosts: str | Sequence[str], port: int = 0) -> list[Any]:
    listeners = await open_tcp_listeners(hosts, port)
    try:
        return [listener.getsockname()[:2] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


@pytest.mark.req("CMD-01")
@trio_test
async def test_several_hosts_have_one_port() -> None:
    found = await addresses_of(["127.0.0.1", "::1", "127.0.0.2"])
    assert [ip for ip, _ in found] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert len({port for _, port in found}) == 1


@pytest.mark.req("CMD-01")
@trio_test
async def test_all_is_both_families_on_one_port() -> None:
    listeners = await open_tcp_listeners("all", 0)
    port = listeners[0].getsockname()[1]
    for listener, (family, ip) in zip(
        listeners, [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")], strict=True
    ):
        assert listener.family == family
        assert listener.getsockname()[:2] == (ip, port)
    assert listeners[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    for host in ("127.0.0.1", "::1"):
        stream = await trio.open_tcp_stream(host, port)
        await stream.aclose()
    for listener in listeners:
        listener.close()


@pytest.mark.req("CMD-01")
@trio_test
async def test_a_name_may_have_both_families_and_an_address_twice() -> None:
    with resolving({"localhost": ["::1", "127.0.0.1", "127.0.0.1"]}):
        found = await addresses_of("localhost")
    assert [ip for ip, _ in found] == ["::1", "127.0.0.1"]
    assert len({port for _, port in found}) == 1


@pytest.mark.req("CMD-01")
@trio_test
async def test_a_free_port_is_free_on_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second address has the first port that was tried taken: another one is tried."""
    tried: list[int] = []
    listen = listener_module._listen

    def taken_at_first(address: Address, port: int) -> socket.socket:
        if address.ip == "127.0.0.2":
            tried.append(port)
            if len(tried) < 4:
                raise OSError(errno.EADDRINUSE, "taken")
        return listen(address, port)

    monkeypatch.setattr(listener_module, "_listen", taken_at_first)
    found = await addresses_of(["127.0.0.1", "127.0.0.2"])
    assert [port for _, port in found] == [tried[-1]] * 2
    assert len(tried) == 4
    tried.clear()
    taken = pytest.MonkeyPatch()
    taken.setattr(listener_module, "_FREE_PORT_ATTEMPTS", 3)
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.2:\d+: another program has it"):
        await addresses_of(["127.0.0.1", "127.0.0.2"])
    taken.undo()
    assert len(tried) == 3


@pytest.mark.req("CMD-01")
@trio_test
async def test_a_taken_port_names_the_address() -> None:
    (other,) = await open_tcp_listeners("127.0.0.1", 0)
    port = other.getsockname()[1]
    with other, resolving({"localhost": ["::1", "127.0.0.1"]}):
        with pytest.raises(ConfigurationError) as caught:
            await open_tcp_listeners("localhost", port)
        where = f"127.0.0.1:{port} (localhost)"
        assert str(caught.value) == (
            f"cannot listen on {where}: another program has it; end that one, or choose "
            "another port"
        )
        with pytest.raises(ConfigurationError, match=r"0\.0\.0\.0:\d+ \(all\): another program"):
            await open_tcp_listeners("all", port)
        assert await addresses_of("::1", port) == [("::1", port)]  # nothing was left open


@pytest.mark.req("CMD-02")
@pytest.mark.parametrize("when", ["socket", "bind"])
@trio_test
async def test_without_ipv6_all_is_ipv4(when: str, caplog: pytest.LogCaptureFixture) -> None:
    number = errno.EAFNOSUPPORT if when == "socket" else errno.EADDRNOTAVAIL
    with caplog.at_level(logging.INFO), failing(socket.AF_INET6, number, when=when):
        found = await addresses_of("all")
    assert [ip for ip, _ in found] == ["0.0.0.0"]
    (line,) = caplog.messages
    assert line == f"not listening on [::]:{found[0][1]} (all): this machine has no IPv6"


@pytest.mark.req("CMD-02")
@trio_test
async def test_an_address_that_is_missing_is_an_error_if_its_host_has_no_other() -> None:
    with failing(socket.AF_INET6, errno.EADDRNOTAVAIL, when="bind"):
        with resolving({"localhost": ["::1", "127.0.0.1"], "six": ["::1"]}):
            assert len(await addresses_of("localhost")) == 1
            with pytest.raises(ConfigurationError, match=r"\[::1\]:0 \(six\): this machine has no"):
                await open_tcp_listeners("six", 0)
        with pytest.raises(ConfigurationError, match="this machine has no such address"):
            await open_tcp_listeners(["127.0.0.1", "::1"], 0)


@pytest.mark.req("CMD-02")
@trio_test
async def test_other_failures_are_errors_and_leave_nothing_open() -> None:
    with failing(socket.AF_INET6, errno.EACCES, when="bind"):
        with pytest.raises(ConfigurationError, match="ports below 1024 need root"):
            await open_tcp_listeners("::1", 80)
        with pytest.raises(ConfigurationError, match="cannot be bound"):
            await open_tcp_listeners("::1", 8080)


@pytest.mark.req("CMD-03")
@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        (
            ["127.0.0.1", "127.0.0.1"],
            "hosts '127.0.0.1' and '127.0.0.1' both name 127.0.0.1",
        ),
        (
            ["127.0.0.1", "localhost"],
            "hosts '127.0.0.1' and 'localhost' both name 127.0.0.1",
        ),
        (
            ["::1", "0:0:0:0:0:0:0:1"],
            "hosts '::1' and '0:0:0:0:0:0:0:1' both name ::1",
        ),
        (["all", "all"], "hosts 'all' and 'all' both name 0.0.0.0"),
        (["all", "::1"], "hosts 'all' and '::1' overlap: :: already means every IPv6 address"),
        (["127.0.0.1", "0.0.0.0"], "hosts '127.0.0.1' and '0.0.0.0' overlap"),
        ([], "several, not []"),
        ([None], "several, not [None]"),
    ],
)
@trio_test
async def test_hosts_that_overlap_are_refused_with_both_names(hosts: Any, says: str) -> None:
    names: Answers = {
        "localhost": ["::1", "127.0.0.1"],
        "0:0:0:0:0:0:0:1": ["::1"],
        **{ip: [ip] for ip in ("127.0.0.1", "::1", "0.0.0.0")},
    }
    with resolving(names), pytest.raises(ConfigurationError) as caught:
        await open_tcp_listeners(hosts, 0)
    assert says in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65536])
@trio_test
async def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"port must be 0 to 65535, not {port}"):
        await open_tcp_listeners("127.0.0.1", port)


@trio_test
async def test_a_link_local_address_keeps_its_scope() -> None:
    (address,) = await resolve_hosts("fe80::1%1")
    assert address == Address("fe80::1%1", socket.AF_INET6, "fe80::1", 1)
    assert address.to_bind(3000) == ("fe80::1", 3000, 0, 1)
    assert address.show(3000) == "[fe80::1]:3000 (fe80::1%1)"


@pytest.mark.req("CMD-01")
@trio_test
async def test_a_server_serves_on_all_of_them() -> None:
    server = Server()
    async with open_server(server, host=["127.0.0.1", "::1"]) as addresses:
        assert [address[0] for address in addresses] == ["127.0.0.1", "::1"]
        for address in addresses:
            stream = await trio.open_tcp_stream(*address[:2])
            await stream.send_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 404")
            await stream.aclose()
