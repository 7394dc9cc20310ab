"""nginx and HAProxy with the files of ``init --deploy``, which are changed as their comments say.

Ports and paths become those of the test, and 10.0.0.12 and 10.0.0.13 addresses of this machine.
"""

import os
import random
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio
import trustme
from tests.balancers.balancing import find
from tests.deployed_files import FILES

NAMES: Final = "abc"
_PORTS: Final = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections, of which there are thousands here."""
ADDRESSES: Final = {"a": "127.0.0.1", "b": "127.0.0.2", "c": "127.0.0.3"}
LIMIT_S: Final = 20.0


def free_port() -> int:
    """Return a port that nobody listens on, on any of our addresses."""
    while True:
        port = random.choice(_PORTS)
        with suppress(OSError), ExitStack() as taken:
            for address in ("0.0.0.0", "::1"):
                taken.enter_context(socket.create_server((address, port), family=_family(address)))
            return port


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@dataclass
class Place:
    """Where everything of a test is.

    Args:
        folder: for all files.
        nodes: how many nodes there are, up to three; several pass requests on to one another.
        redis: the URL of their Redis.
    """

    folder: Path
    nodes: int = 1
    redis: str = ""
    http: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    internal: int = field(default_factory=free_port)
    certbot: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        authority = trustme.CA()
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self.cafile = self.folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.cafile))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        chain, key = (self.folder / name for name in ("fullchain.pem", "privkey.pem"))
        issued.cert_chain_pems[0].write_to_path(str(chain))
        issued.private_key_pem.write_to_path(str(key))
        (self.folder / "certs").mkdir()
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "certs" / "one.pem"))
        (self.folder / "nodes.secret").write_text(
            "a secret of the nodes of a test, and of no others"
        )
        (self.folder / "nodes.secret").chmod(0o600)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https}"

    def configure(self, name: str) -> Path:
        """Write the configuration of a node."""
        text = FILES["trio-socketio.toml"].replace("127.0.0.1", ADDRESSES[name])
        text = text.replace("# allow_eio3", "allow_eio3")
        if self.nodes > 1:
            further = r"^# (?=\[redis\]|url|\[cluster\]|node|internal|secret_files)"
            text = re.sub(further, "", text, flags=re.MULTILINE)
            text = text.replace('"a"', f'"{name}"').replace("redis://10.0.0.10:6379", self.redis)
        text = text.replace("10.0.0.11:4100", f"{ADDRESSES[name]}:{self.internal}")
        text = text.replace("/etc/trio-socketio", str(self.folder))
        text = text.replace("/run/trio-socketio", str(self.folder / f"run-{name}"))
        path = self.folder / f"{name}.toml"
        path.write_text(self._with_ports(text))
        return path

    def control(self, name: str) -> str:
        """The address of a node's control socket."""
        return f"unix:{self.folder / f'run-{name}' / 'control.sock'}"

    def add_nodes(self, text: str) -> str:
        """Turn the lines on that stand for further nodes; give the text the ports of the test."""
        for name, address in (("b", "10.0.0.12"), ("c", "10.0.0.13")):
            if NAMES.index(name) < self.nodes:
                text = re.sub(rf"# (?=server .*{re.escape(address)})", "", text)
            text = text.replace(address, ADDRESSES[name])
        return self._with_ports(text)

    def _with_ports(self, text: str) -> str:
        ports = {"3000": self.port, "9100": self.admin, "80": self.http, "443": self.https}
        ports["8888"] = self.certbot
        return re.sub(
            r"(?<=:)(?:80|443)\b|\b(?:80|443)(?=;| ssl)|\b(?:3000|9100|8888)\b",
            lambda found: str(ports[found[0]]),
            text,
        )


def nginx_command(place: Place) -> list[str]:
    """Write the site, and what a system has around it; return the command that runs nginx."""
    folder = place.folder
    site = place.add_nodes(FILES["nginx.conf"])
    site = site.replace("/etc/letsencrypt/live/chat.example", str(folder))
    site = site.replace("chat.example", "127.0.0.1").replace("/var/www/acme", str(folder / "acme"))
    (folder / "site.conf").write_text(site)
    limits = re.findall(r"^#     (worker_rlimit_nofile .*|events .*)$", site, re.MULTILINE)
    assert len(limits) == 2
    places = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        "\n".join(limits) + f"\nhttp {{\n    access_log off;\n{places}    include site.conf;\n}}\n"
    )
    user = "user root; " if os.geteuid() == 0 else ""  # its workers read and write the folder
    own = f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/proxy.log;"
    return [find("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", own]


def haproxy_command(place: Place) -> list[str]:
    """Write the configuration; return the command that runs HAProxy as its unit does."""
    text = place.add_nodes(FILES["haproxy.cfg"])
    text = text.replace("/etc/haproxy/certs/", f"{place.folder / 'certs'}/")
    text = text.replace("maxconn 50000", "maxconn 5000")  # what this machine may open is less
    text = text.replace("/run/haproxy/admin.sock", str(place.folder / "haproxy.sock"))
    if os.geteuid() != 0:
        text = re.sub(r"^    (?:user|group) haproxy\n", "", text, flags=re.MULTILINE)
    (place.folder / "haproxy.cfg").write_text(text)
    return [find("haproxy"), "-W", "-f", str(place.folder / "haproxy.cfg")]


PROXIES: Final[dict[str, Callable[[Place], list[str]]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
}
_RELOAD: Final = {"nginx": signal.SIGHUP, "haproxy": signal.SIGUSR2}


@dataclass
class Proxy:
    """A proxy that runs."""

    name: str
    process: trio.Process

    def reload(self) -> None:
        """Do what `systemctl reload` does."""
        self.process.send_signal(_RELOAD[self.name])

    def workers(self) -> set[int]:
        """The processes that carry connections."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False
        )
        return {int(line) for line in found.stdout.split()}


@asynccontextmanager
async def open_proxy(name: str, place: Place, **variables: str) -> AsyncIterator[Proxy]:
    """Run a proxy for as long as the block lasts.

    Args:
        name: nginx or haproxy.
        place: the ports and files.
        variables: further ones of the environment.
    """
    command = PROXIES[name](place)
    log = place.folder / "proxy.out"
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            command, stdout=output, stderr=output, env={**os.environ, **variables}
        )
    proxy = Proxy(name, process)
    try:
        with trio.fail_after(LIMIT_S):
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", place.https)).aclose()
                except OSError:
                    await trio.sleep(0.02)
                else:
                    break
        yield proxy
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(5, shield=True) as scope:
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
