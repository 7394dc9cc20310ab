"""The options of chat events."""

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup, check_range
from trio_socketio.protocol.namespace_patterns import is_pattern

MAIN = "/"
"""The namespace that has no chat: old clients join it without having asked for it."""


class ChatOptions(OptionGroup, frozen=True, kw_only=True):
    """Chat events: clients join rooms, and send messages to rooms, to users and to everybody.

    Args:
        namespaces: in which clients have these events; a name with a * at its end stands for all
            that begin so. The namespace / has none: old clients are put there without asking.
        confirm: those of them in which messages to users and rooms are sent again until their
            clients have acknowledged them, written as in namespaces. See [deliveries].
        max_targets: how many rooms or users a client may name in one event, 1 to 1000.
    """

    namespaces: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    max_targets: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names("namespaces", self.namespaces)
        check_range(self, "max_targets", 1, 1000)
        _check_names("confirm", self.confirm)
        for name in self.confirm:
            if name not in self.namespaces:
                raise OptionError("confirm", f"{name!r} is not one of namespaces: add it there")


def _check_names(option: str, names: object) -> None:
    if not isinstance(names, (tuple, list)):
        raise OptionError(option, f"expected a list of names, not {names!r}")
    for name in names:
        if type(name) is not str or not is_pattern(name):
            raise OptionError(
                option, f"expected names of namespaces, as /chat or /room-*, not {name!r}"
            )
        if name == MAIN:
            raise OptionError(
                option,
                "/ has no chat events, because old clients are put there without having asked for "
                "it: name another namespace",
            )
        if names.count(name) > 1:
            raise OptionError(option, f"{name!r} is there twice")
