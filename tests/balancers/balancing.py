"""Load balancers as the guide configures them."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from tests.cluster_guide import Ports, block, blocks

KINDS: Final = ("polling", "upgrade", "websocket")
WAYS: Final = ("prefix", "cookie")
"""How a balancer finds the node of a session, in the order in which the guide shows them."""
ANY: Final = "any"
"""Every request goes to the next node."""
LIMIT_S: Final = 20.0


class Missing(Exception):
    """A program is not there that the tests drive."""


def find(program: str) -> str:
    """Return the path of a program.

    Raises:
        Missing: it is not on PATH.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(
            f"{program} is not on PATH; these tests drive nginx, haproxy and node, and make "
            "deployment promtool and systemd-analyze, too, so install them all (on Debian: apt-get "
            "install nginx haproxy nodejs, and for the latter prometheus systemd)"
        )
    return found


def nginx_command(folder: Path, way: str, ports: Ports) -> list[str]:
    """Write the files of nginx; return the command that runs it."""
    name = "round_robin.conf" if way == ANY else "nginx.conf"
    if way != ANY:
        nodes = blocks("nginx", "# nodes.conf")[WAYS.index(way)]
        (folder / "nodes.conf").write_text(ports.put_into(nodes))
    # What a system has in its own files: where to write, so that nginx writes nowhere else.
    places = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = ports.put_into(block("nginx", f"# {name}"))
    text = text.replace("http {\n", f"http {{\n    access_log off;\n{places}", 1)
    (folder / name).write_text(text)
    user = "user root; " if os.geteuid() == 0 else ""  # its workers read and write the folder
    own = f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/balancer.log;"
    return [find("nginx"), "-p", str(folder), "-c", str(folder / name), "-g", own]


def haproxy_command(folder: Path, way: str, ports: Ports) -> list[str]:
    """Write the files of HAProxy; return the command that runs it."""
    texts = {"round_robin.cfg": block("haproxy", "# round_robin.cfg")}
    if way != ANY:
        texts = {"haproxy.cfg": block("haproxy", "# haproxy.cfg")}
        texts["nodes.cfg"] = blocks("haproxy", "# nodes.cfg")[WAYS.index(way)]
    command = [find("haproxy"), "-db"]
    for name, text in texts.items():
        (folder / name).write_text(ports.put_into(text))
        command += ["-f", str(folder / name)]
    return command


BALANCERS: Final[dict[str, Callable[[Path, str, Ports], list[str]]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
}


@asynccontextmanager
async def open_balancer(
    name: str, way: str, folder: Path, ports: Ports, *, nodes: str = ""
) -> AsyncIterator[trio.Process]:
    """Run a balancer with the files of the guide, for as long as the block lasts.

    Args:
        name: nginx or haproxy.
        way: how it finds the node of a session, or ANY.
        folder: for its files.
        ports: those that stand for the ports of the guide.
        nodes: is in nodes.conf in place of what the guide has.
    """
    command = BALANCERS[name](folder, way, ports)
    if nodes:
        (folder / "nodes.conf").write_text(ports.put_into(nodes))
    log = folder / "balancer.out"
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=output)
    try:
        with trio.fail_after(LIMIT_S):
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", ports[3000])).aclose()
                except OSError:
                    await trio.sleep(0.02)
                else:
                    break
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await process.wait()
