"""The options of a connection to Redis."""

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup, check_range
from trio_socketio.redis.address import parse_address


class RedisOptions(OptionGroup, frozen=True, kw_only=True):
    """Where Redis is, and what a connection to it may take.

    Args:
        url: ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://...`` for TLS, or
            ``unix://[[USER]:PASSWORD@]/PATH[?db=DB]``.
        password_file: the path of a file that holds the password and nothing else. It is read
            anew for every connection.
        ca_file: certificates to trust for TLS, read anew as well; None means those of the system.
        prefix: begins the names of the channels that the program has for itself.
        connect_timeout_s: how long it may take to connect and to log in.
        command_timeout_s: how long an answer may take, unless the caller says something else.
        send_timeout_s: a connection that takes nothing for so long is given up.
        probe_s: how often it is checked that messages arrive. The second check in a row that fails
            gives the connection up.
        retry_first_s: how long the first pause before connecting again is at most. The next ones
            are twice as long each; how long each one really is, is left to chance.
        retry_max_s: how long such a pause is at most.
        max_commands: how many commands may wait for their answers.
        max_queue_bytes: how many bytes may wait to be sent.
        max_reply_bytes: the largest answer or message; a larger one ends the connection.
    """

    _secret = frozenset(("url",))

    url: str = "redis://127.0.0.1:6379"
    password_file: str | None = None
    ca_file: str | None = None
    prefix: str = "tsio"
    connect_timeout_s: float = 5.0
    command_timeout_s: float = 5.0
    send_timeout_s: float = 10.0
    probe_s: float = 5.0
    retry_first_s: float = 0.05
    retry_max_s: float = 2.0
    max_commands: int = 100_000
    max_queue_bytes: int = 64 << 20
    max_reply_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        address = parse_address(self.url)
        if self.password_file is not None and address.password is not None:
            raise OptionError(
                "password_file", "cannot be given beside a password in url: leave one of them out"
            )
        if address.user is not None and address.password is None and self.password_file is None:
            reason = "names a user without a password; give one there, or in password_file"
            raise OptionError("url", reason, hides_value=True)
        if self.ca_file is not None and not address.is_secure:
            raise OptionError("ca_file", "has no effect, because url does not begin with rediss://")
        if not self.prefix or not self.prefix.isprintable() or set(self.prefix) & set(" *?[]\\"):
            reason = "expected a word without blanks and without any of * ? [ ] \\"
            raise OptionError("prefix", f"{reason}, not {self.prefix!r}")
        check_range(self, "retry_max_s", self.retry_first_s, 60.0)
        check_range(self, "max_commands", 16, 10_000_000)
        check_range(self, "max_queue_bytes", 1024, 1 << 32)
        check_range(self, "max_reply_bytes", 1024, 1 << 30)

    def __repr__(self) -> str:
        # The URL may hold the password (REDIS-04).
        return f"<RedisOptions of {self}>"

    def __str__(self) -> str:
        return str(parse_address(self.url))
