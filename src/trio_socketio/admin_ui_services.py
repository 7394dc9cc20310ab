"""The Admin UI as a service of the program: its namespace, and its pages on the admin port."""

from typing import TYPE_CHECKING

import msgspec
import trio

from trio_socketio.ops.admin_ui import AdminUI
from trio_socketio.ops.admin_ui.page import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.registry import Collector

    from trio_socketio.cluster.service import Cluster
    from trio_socketio.control.tokens import TokenTable
    from trio_socketio.http.routes import RequestHandler
    from trio_socketio.im.identity.service import IdentityService
    from trio_socketio.im.namespaces.definition import NamespaceDefinition
    from trio_socketio.ops.admin_ui import AdminUIOptions
    from trio_socketio.reloading import Held
    from trio_socketio.socketio.server import Server


class AdminUIServices:
    """The Admin UI, if the configuration asks for it.

    Args:
        server: the server.
        held: the options of the Admin UI, and the tokens of the control socket.
        cluster: the nodes that share the sessions of administrators; None if there is only this
            one.
        identity: asks clients who they are; None if everybody may enter.
        node: the name of this one.

    Raises:
        ConfigurationError: the package bcrypt is missing.
    """

    def __init__(
        self,
        server: "Server",
        held: "Held",
        cluster: "Cluster | None",
        identity: "IdentityService | None",
        node: str,
    ) -> None:
        options = held.configuration.admin_ui
        self._namespace = options.namespace
        self._identity = identity
        self._admin_ui: AdminUI | None = None
        self._page: Page | None = None
        if options.auth is None:
            return
        named = options if options.server_id else _with_server_id(options, node)
        redis = None if cluster is None else cluster.redis
        self._admin_ui = AdminUI(server, named, redis=redis, tokens=held.tokens)
        self._exempt()
        if options.folder is not None:
            self._page = Page(options.folder, outside_fonts=options.outside_fonts)

    def _exempt(self) -> None:
        """Have nobody asked for a token in the namespace of administrators (AUI-15)."""
        if self._admin_ui is not None and self._identity is not None:
            self._identity.give(self._namespace, ())

    @property
    def routes(self) -> "Mapping[str, RequestHandler]":
        """The paths of the admin port at which the pages are."""
        return {} if self._page is None else self._page.routes

    async def start(self) -> None:
        """Read the pages.

        Raises:
            ConfigurationError: the folder does not hold them.
        """
        if self._page is not None:
            await trio.to_thread.run_sync(self._page.load)

    def apply(self, tokens: "TokenTable") -> None:
        """Use other tokens from now on."""
        if self._admin_ui is not None:
            self._admin_ui.use_tokens(tokens)

    def collectors(self) -> "Iterator[Collector]":
        """Return what collects the metrics."""
        if self._admin_ui is not None:
            from trio_socketio.ops.admin_ui.metrics import AdminUICollector

            yield AdminUICollector(self._admin_ui)

    # -- the definitions of namespaces that are made at run time

    def check(self, definition: "NamespaceDefinition") -> None:
        """Do nothing: the namespace is there, so that none of its name can be defined."""

    def define(self, definition: "NamespaceDefinition") -> None:
        """Do nothing, for the same reason."""

    def forget(self, namespace: str) -> None:
        """Go on to ask nobody for a token: another node may have had a definition of the name."""
        if namespace == self._namespace:
            self._exempt()


def _with_server_id(options: "AdminUIOptions", node: str) -> "AdminUIOptions":
    return msgspec.structs.replace(options, server_id=node)
