"""How a method is called on all nodes of a cluster, and how their results become one."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from trio_socketio.control.pages import Page

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

Result = TypeVar("Result", bound=msgspec.Struct)
Absent = TypeVar("Absent", bound="MissingNodes")

Counts = Annotated[
    dict[str, int],
    Meta(description="how many on each of our nodes; left out if there is no cluster."),
]
Failed = Annotated[
    dict[str, str],
    Meta(description="why nodes have refused to do it; left out if none have."),
]


class MissingNodes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of the names that are missing."""

    nodes: Annotated[
        list[str],
        Meta(
            description="our nodes that have not answered in time, and may have done it all the "
            "same; left out if there are none."
        ),
    ] = []


NONE_MISSING: Final = MissingNodes()
"""The default of a field, which is left out of JSON if it is this very object."""


class OverNodes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of results to which several nodes may have contributed."""

    nodes: Counts = {}
    failed: Failed = {}


class NodePage(Page, frozen=True, kw_only=True, omit_defaults=True):
    """The base of pages to which several nodes may have contributed."""

    nodes: Counts = msgspec.field(default_factory=dict)
    failed: Failed = msgspec.field(default_factory=dict)
    missing: Annotated[
        MissingNodes, Meta(description="what could not be asked; left out if all nodes answered.")
    ] = NONE_MISSING


@dataclass(frozen=True, slots=True)
class Parts:
    """What the nodes have contributed to one result.

    Args:
        results: the result of each node that has made the call, by its name; at least one.
        replies: the answer of each node that was asked another question about it, by its name.
        missing: the names of nodes that have not answered.
        failed: why nodes have refused, by name.
        given: the arguments of the call.
        spared: the names of nodes that were not asked, because the call was made for them, too.
        unknown: how many nodes of other programs there are; None if that is not known.
        max_bytes: the longest answer.
    """

    results: Mapping[str, Any]
    replies: Mapping[str, Any]
    missing: list[str]
    failed: dict[str, str]
    given: Mapping[str, Any]
    spared: Sequence[str] = ()
    unknown: int | None = 0
    max_bytes: int = 1 << 20


Merge = Callable[[Parts], Any]
IsForSharers = Callable[["Server", Mapping[str, Any]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a method is called on all nodes of a cluster.

    By default each node makes the call for its own clients, and the results are merged.

    Args:
        merge: makes one result.
        question: a method of other nodes. If it is set, the call is made once, on one node, and
            reaches the clients of all; the other nodes are only asked this about it.
        answer: the type of the result of that method.
        left_out: arguments of the call that the question does not have.
        added: arguments of the question that the call does not have.
        stops_at_first: whether the call concerns one client, and one node that has it is enough.
        is_for_sharers: says of a call, by its arguments, whether this node makes it for all nodes
            that share its presence store. Then only the others are asked.
    """

    merge: Merge
    question: str = ""
    answer: type | None = None
    left_out: tuple[str, ...] = ()
    added: Mapping[str, Any] = field(default_factory=dict)
    stops_at_first: bool = False
    is_for_sharers: IsForSharers | None = None


_ABOUT_NODES: Final = frozenset(("nodes", "failed", "missing"))


def merge_done(parts: Parts) -> Any:
    """Add up what the nodes have done. What is missing on each of them is missing."""
    results = parts.results
    first = next(iter(results.values()))
    merged: dict[str, Any] = {}
    for name in first.__struct_fields__:
        values = [getattr(one, name) for one in results.values()]
        if name not in _ABOUT_NODES:
            merged[name] = sum(values) if isinstance(values[0], int) else join_lists(values)
    count = next(name for name, value in merged.items() if isinstance(value, int))
    return msgspec.structs.replace(
        first,
        **merged,
        nodes={node: getattr(one, count) for node, one in results.items()},
        failed=parts.failed,
        missing=merge_missing([one.missing for one in results.values()], parts.missing),
    )


def merge_missing(several: list[Absent], nodes: list[str]) -> Absent:
    """Return the names that are missing everywhere, and the nodes that are.

    Args:
        several: what is missing on each node that has answered; at least one.
        nodes: those that have not answered.
    """
    first, *others = several
    common: dict[str, Any] = {}
    for name in first.__struct_fields__:
        absent = [frozenset(getattr(one, name)) for one in others]
        common[name] = [
            one for one in getattr(first, name) if all(one in names for names in absent)
        ]
    return msgspec.structs.replace(first, **{**common, "nodes": nodes})


def merge_pages(
    items: str,
    name: Callable[[Any], str],
    join: Callable[[Any, Any], Any] | None = None,
    label: Callable[[Any, str], Any] | None = None,
    *,
    alike: bool = False,
) -> Merge:
    """Make the function that cuts one page out of those of several nodes.

    Each node has returned its first names after the same name, so the first ones of all nodes are
    among them.

    Args:
        items: the field of the page that has them.
        name: returns the name of an item.
        join: makes one item of two with the same name; None if names are unique.
        label: notes in an item the node that has it.
        alike: whether nodes have much the same items, so the total is not the sum: it is the number
            of names if the page has all of them, and otherwise that of the node with the most.
    """

    def merge(parts: Parts) -> Any:
        pages = parts.results
        found: dict[str, Any] = {}
        for node, page in pages.items():
            for item in getattr(page, items):
                one = item if label is None else label(item, node)
                key = name(one)
                found[key] = join(found[key], one) if join and key in found else one
        names = sorted(found)
        shown = names[: parts.given["limit"]]
        follows = len(names) > len(shown) or any(page.next is not None for page in pages.values())
        totals = [page.total for page in pages.values()]
        return msgspec.structs.replace(
            next(iter(pages.values())),
            **{items: [found[key] for key in shown]},
            total=max(len(names), *totals) if alike else sum(totals),
            next=shown[-1] if follows and shown else None,
            nodes={node: page.total for node, page in pages.items()},
            failed=parts.failed,
            missing=MissingNodes(nodes=parts.missing) if parts.missing else NONE_MISSING,
        )

    return merge


def join_lists(lists: Iterable[Iterable[Any]]) -> list[Any]:
    """Join lists; what is in several of them comes once."""
    return list(dict.fromkeys(item for one in lists for item in one))
