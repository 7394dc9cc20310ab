"""What is asked of ours alone: figures, what each is held against, and what the ratio must be."""

from dataclasses import dataclass

from bench import shared_seats


@dataclass(frozen=True, slots=True)
class Question:
    """A figure, and what it is held against.

    Args:
        part: which part of the bench measures it.
        beside: what it is held against, in words.
        must, goal: of the ratio; at least, or at most where less is better. 0 is none.
        uws: the same of Node on uWebSockets.js, where it stands beside as well.
    """

    key: str
    part: str
    title: str
    beside: str
    must: float = 0
    goal: float = 0
    less_is_better: bool = False
    uws: str = ""


def _product(name: str, title: str) -> tuple[Question, ...]:
    key = f"product/{name}"
    return (Question(key, key, f"{title}, with all of the product on", "bare", 0.85, 0.95),)


def _workers(name: str, title: str, must: float = 0, goal: float = 0) -> tuple[Question, ...]:
    """Ask for the rate, and for what two workers would do if each of them had a core."""
    part = f"workers/{name}"
    rate, by_cpu = f"{title}, two workers", f"{title}, two workers with a core each, by CPU"
    return (
        Question(part, part, rate, "one process", must, goal),
        Question(f"{part}/cpu", part, by_cpu, "one process with a core", must, goal),
    )


def _workers_and_node(name: str, title: str) -> tuple[Question, ...]:
    part, cores = f"workers-node/{name}", "with a core each"
    node, uws = "two Node processes", "two Node processes (uWebSockets.js)"
    return (
        Question(part, part, f"{title}, two workers", node, uws=uws),
        Question(
            f"{part}/cpu",
            part,
            f"{title}, two workers {cores}, by CPU",
            f"{node} {cores}",
            uws=f"{uws} {cores}",
        ),
    )


QUESTIONS = (
    Question("control/1", "control", "control: emit to one socket, 1 in flight", "acks of one"),
    Question("control/16", "control", "control: emit to one socket, 16 in flight", "acks of one"),
    Question(
        "session-lines", "session-lines", "connects with session lines", "without", 0.85, 0.95
    ),
    Question("watched", "watched", "echo 64 B, 16 in flight, watched", "unwatched", 0.95, 0.98),
    Question(
        "backends",
        "backends",
        "p99 of 200 backends' events beside two that misbehave (us)",
        "quiet",
        5,
        2,
        less_is_better=True,
    ),
    Question("presence/1", "presence", "presence entries to a backend", "written", 1, 2),
    Question(
        "presence/3", "presence", "presence entries to 3 backends, all together", "written", 1, 2
    ),
    Question("jwt-hs256", "jwt-hs256", "connects with a JWT, HS256", "without", 0.75, 0.85),
    Question("jwt-rs256", "jwt-rs256", "connects with a JWT, RS256", "without", 0.6, 0.7),
    Question("jwt-es256", "jwt-es256", "connects with a JWT, ES256", "without"),
    Question("jwt-eddsa", "jwt-eddsa", "connects with a JWT, EdDSA", "without"),
    Question("seats/claims", "seats", "connects with a JWT that claim a seat", "without seats"),
    Question("seats/takeovers", "seats", "connects that take a seat over", "claims"),
    Question(
        "publish-redis/awaited",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "ours, each awaited",
    ),
    Question(
        "publish-redis/threads",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "redis-py in 64 threads",
        10,
        15,
    ),
    Question(
        "publish-redis/coredis",
        "publish-redis",
        "messages that 64 tasks publish to Redis",
        "coredis on trio",
        1,
        5,
    ),
    Question(
        "adapter-local/echo",
        "adapter-local/echo",
        "echo 64 B, 16 in flight, with Redis",
        "without",
        0.97,
        0.98,
    ),
    Question(
        "adapter-local/broadcast",
        "adapter-local/broadcast",
        "broadcast to 1,000, 4 in flight, with Redis",
        "without",
    ),
    Question(
        "adapter-local/rooms",
        "adapter-local/rooms",
        "1,000 rooms of 10, 4 in flight, with Redis",
        "without",
    ),
    Question(
        "unconcerned",
        "unconcerned",
        "CPU for a message to rooms of the other node (us)",
        "of its sender's node, to 10 clients",
        less_is_better=True,
    ),
    Question(
        "seated", "seated", "echo 64 B, 16 in flight, of users with seats", "strangers", 0.95, 0.98
    ),
    Question(
        "shared-seats/claims",
        "shared-seats/claims",
        "connects with a JWT that claim a seat in Redis",
        "in memory",
        0.4,
        0.6,
    ),
    Question(
        "shared-seats/takeovers",
        "shared-seats/takeovers",
        "connects that take a seat over from another node",
        "claims in Redis",
    ),
    Question(
        "shared-seated",
        "shared-seated",
        "echo 64 B, 16 in flight, of users with seats in Redis",
        "in memory",
        0.97,
        0.99,
    ),
    Question(
        "node-lost",
        "node-lost",
        "kill -9 of a node to the last of 1,000 offline entries (ms)",
        "its lease",
        1 + 1 / shared_seats.LEASE_S,
        1.1,
        less_is_better=True,
    ),
    Question(
        "im-ruled",
        "im-ruled",
        "mixed IM load, 1 in flight, of users with rules and seats",
        "strangers without",
        0.9,
        0.95,
    ),
    Question(
        "flood",
        "flood",
        "p99 of 20 clients beside 4 that flood (us)",
        "quiet",
        5,
        2,
        less_is_better=True,
    ),
    Question(
        "forward-poll/trips",
        "forward-poll",
        "polling round trips that a second node passes on",
        "direct",
    ),
    Question(
        "forward-poll/cpu",
        "forward-poll",
        "CPU of the node that passes on, for a polling request (us)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    Question(
        "forward-poll/share",
        "forward-poll",
        "CPU of the node that passes on, for a polling request (us)",
        "of a direct one",
        less_is_better=True,
    ),
    Question(
        "forward-pipe/echo",
        "forward-pipe",
        "echo 64 B, 1 in flight, over a WebSocket that a second node passes on",
        "direct",
    ),
    Question(
        "forward-pipe/cpu",
        "forward-pipe",
        "CPU of the node that passes on, for a message each way (us)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    Question(
        "forward-pipe/share",
        "forward-pipe",
        "CPU of the node that passes on, for a message each way (us)",
        "of a direct one",
        less_is_better=True,
    ),
    Question(
        "forward-memory",
        "forward-memory",
        "memory of the node that passes on, for a WebSocket (KiB)",
        "allowed",
        1,
        0.6,
        less_is_better=True,
    ),
    *_product("echo", "echo 64 B, 16 in flight"),
    *_product("connects", "connects"),
    *_product("im", "mixed IM load, 1 in flight"),
    *_workers("connects", "connects", 1.6, 1.8),
    *_workers("im", "mixed IM load", 1.6, 1.8),
    *_workers("seats", "connects with a seat in Redis"),
    *_workers("echo", "echo 64 B, 256 in flight of 1,000 clients"),
    *_workers("rooms", "100 rooms of 10, 16 in flight"),
    *_workers_and_node("connects", "connects"),
    *_workers_and_node("im", "mixed IM load"),
)
PARTS = tuple(dict.fromkeys(question.part for question in QUESTIONS))
