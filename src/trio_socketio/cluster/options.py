"""The options of a node of a cluster."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from trio_socketio.codec.node_messages import NODE_NAME, NODE_NAME_RULE
from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup, split_host_port

ADAPTERS: Final = ("pubsub",)
"""The adapters by which nodes reach each other's clients."""

PLACES: Final = ("local", "least")
"""Which node opens the session of a client that has none."""
MAX_SECRETS: Final = 3

_NAME: Final = re.compile(NODE_NAME).match
_KEY: Final = re.compile(r"[!-~]{1,64}").fullmatch


class ClusterOptions(OptionGroup, frozen=True, kw_only=True):
    """This node of a cluster, whose nodes reach each other over [redis].

    Args:
        node: the name of this node, which no other may have; None means host:pid.
        adapter: how broadcasts reach the clients of other nodes: ``pubsub``, which Node servers
            with @socket.io/redis-adapter understand.
        key: the prefix of the channels that are shared with Node servers and emitters; theirs is
            called ``key`` too.
        request_timeout_s: how long other nodes may take to answer a question, such as which sockets
            are in a room.
        internal: ``HOST:PORT``, where this node listens for other nodes; port 0 takes a free one.
            Then each node passes on what belongs to a session of another one, so that no balancer
            needs sticky sessions. None means that nothing is passed on.
        internal_advertise: ``HOST:PORT``, the address that other nodes are told to connect to; None
            means the one on which this node listens.
        secret_files: the paths of up to three files, each with a secret of the cluster of 32 bytes
            or more. The first proves to other nodes that this is one; any of them is accepted.
            To change the secret without a pause, add the new file as the second one on all nodes,
            then make it the first one on all, then leave the old one out.
        internal_tls_cert: the certificate chain with which this node speaks TLS with other nodes,
            in both directions; None means cleartext. It needs internal_tls_ca.
        internal_tls_key: its private key; None if internal_tls_cert holds it.
        internal_tls_ca: the certificates of the private authority that has issued those of all
            nodes; whoever has one of these is taken for a node.
        place: which node opens the session of a client that has none: ``local``, the one that the
            client has reached, or ``least``, the one with the fewest sessions.
    """

    _reloadable = frozenset(
        ("secret_files", "internal_tls_cert", "internal_tls_key", "internal_tls_ca")
    )

    node: str | None = None
    adapter: str = "pubsub"
    key: str = "socket.io"
    request_timeout_s: float = 5.0
    internal: str | None = None
    internal_advertise: str | None = None
    secret_files: tuple[str, ...] = ()
    internal_tls_cert: Path | None = None
    internal_tls_key: Path | None = None
    internal_tls_ca: Path | None = None
    place: str = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.node is not None and not _NAME(self.node):
            raise OptionError("node", f"expected {NODE_NAME_RULE}, not {self.node!r}")
        if self.adapter not in ADAPTERS:
            raise OptionError("adapter", f"must be {' or '.join(ADAPTERS)}, not {self.adapter!r}")
        if not _KEY(self.key):
            raise OptionError("key", f"expected 1 to 64 visible characters, not {self.key!r}")
        if self.place not in PLACES:
            raise OptionError("place", f"must be {' or '.join(PLACES)}, not {self.place!r}")
        self._check_secrets()
        self._check_tls()
        self._check_internal()

    def _check_secrets(self) -> None:
        files = self.secret_files
        if not isinstance(files, (tuple, list)) or not all(
            isinstance(one, str) and one for one in files
        ):
            raise OptionError("secret_files", "expected a list of paths of files")
        if len(files) > MAX_SECRETS:
            raise OptionError("secret_files", f"names {len(files)} files, and {MAX_SECRETS} may be")
        if len(set(files)) < len(files):
            raise OptionError("secret_files", "names a file twice")

    def _check_tls(self) -> None:
        if self.internal_tls_cert is not None and self.internal_tls_ca is None:
            raise OptionError(
                "internal_tls_ca",
                "must be given with internal_tls_cert: the certificates of the private authority "
                "by which nodes know one another",
            )
        for name in ("internal_tls_key", "internal_tls_ca"):
            if getattr(self, name) is not None and self.internal_tls_cert is None:
                raise OptionError(name, "has no effect without internal_tls_cert")

    def _check_internal(self) -> None:
        """Refuse an address that others could not be told, or that anybody could use.

        Raises:
            OptionError: it says what to do.
        """
        if self.internal_advertise is not None:
            host, port = split_host_port("internal_advertise", self.internal_advertise)
            if not port:
                raise OptionError("internal_advertise", "needs a port that is not 0")
            if _is_everywhere(host):  # FWD-60
                raise OptionError(
                    "internal_advertise",
                    f"{host} is no address to connect to: name the one by which the other nodes "
                    "reach this one, such as 10.0.0.11:4100",
                )
        if self.internal is None:
            if self.internal_advertise is not None:
                raise OptionError("internal_advertise", "has no effect without internal")
            return
        host, _ = split_host_port("internal", self.internal)
        if _is_everywhere(host) and self.internal_advertise is None:
            raise OptionError(
                "internal",
                f"listens on every address, and other nodes have to be told one: name it in "
                f"internal_advertise, or listen on it in place of {host}",
            )
        if not self.secret_files and self.internal_tls_cert is None:
            raise OptionError(
                "internal",
                "lets others pass on requests of clients, so nodes have to prove that they are "
                "nodes: give secret_files, or internal_tls_cert and internal_tls_ca",
            )


def _is_everywhere(host: str) -> bool:
    """Whether a host stands for all addresses of a machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return host in ("all", "0")  # the latter is 0.0.0.0 to the system
