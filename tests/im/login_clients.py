"""Users who log in again and again, in a process of their own: raw sockets, and packets by bytes.

``python -m tests.im.login_clients PORTS USERS LOGINS SEED`` logs each user in LOGINS times, on
WebSocket and on long-polling, at one of the servers on PORTS (joined by commas). The client before
is still there, or leaves, or breaks its connection, or logs in at the same moment. The result is
one line of JSON.
"""

import sys
import time
from collections import deque
from random import Random
from typing import Final

from tests.im.raw_clients import HUNG_UP, STUCK_S, Client, Crowd, Polling, WebSocket

AT_A_TIME: Final = 40
"""So many users may be about to log in: more would only wait for each other."""
KEPT: Final = 2  # how many clients that were put out a user keeps connected


class User:
    """A user, with all the clients that are connected."""

    def __init__(self, number: int, logins: int) -> None:
        self.name = f"raw{number}"
        self.logins_left = logins
        self.clients: list[Client] = []
        self.is_ready = True


class Logins:
    """All users."""

    def __init__(self, ports: list[int], users: int, logins: int, seed: int) -> None:
        self.crowd = Crowd()
        self._ports = ports
        self._dice = Random(seed)
        self._users = {f"raw{number}": User(number, logins) for number in range(users)}
        self._ready = deque(self._users.values())
        self._busy = 0

    def run(self) -> None:
        crowd = self.crowd
        while self._ready or self._busy:
            while self._ready and self._busy < AT_A_TIME:
                self._log_in(self._ready.popleft())
            for name in dict.fromkeys(client.user for client in crowd.read(0.5)):
                self._look(self._users[name])
            if time.monotonic() - crowd.moved_at > STUCK_S:
                stuck = [user.clients for user in self._users.values() if not user.is_ready]
                crowd.complain(f"nobody was let in for {STUCK_S} s: {stuck[:5]}")
                return
        crowd.end([client for user in self._users.values() for client in user.clients])

    def _log_in(self, user: User) -> None:
        user.is_ready = False
        self._busy += 1
        chance = self._dice.random()
        old = [client for client in user.clients if client.state == "in"]
        for client in old:
            if chance < 0.10:
                client.leave()
            elif chance < 0.25:
                client.drop()
        count = 2 if chance > 0.85 and user.logins_left > 1 else 1
        for _ in range(count):
            kind = Polling if self._dice.random() < 0.4 else WebSocket
            port = self._dice.choice(self._ports)
            user.clients.append(Client(self.crowd, user.name, port, kind))
        user.logins_left -= count

    def _look(self, user: User) -> None:
        """See whether the logins of a user are decided, and that one client alone is in."""
        inside = self.crowd.find_inside(user.clients)
        if user.is_ready or any(client.state == "coming" for client in user.clients):
            return
        if len(inside) > 1:
            return  # one of them polls, and will learn that it is out
        if not inside and not any(client.why == HUNG_UP for client in user.clients):
            self.crowd.complain(f"{user.clients}: none of them is in")
        self._settle(user)

    def _settle(self, user: User) -> None:
        for client in user.clients:
            client.ask_in_vain()
        out = [client for client in user.clients if client.state == "out"]
        for client in out[: max(0, len(out) - KEPT)]:
            client.drop()
            user.clients.remove(client)
        user.is_ready = True
        self._busy -= 1
        if user.logins_left:
            self._ready.append(user)
        else:
            for client in user.clients:
                if client.state == "in":
                    client.leave()


def main() -> None:
    ports = [int(port) for port in sys.argv[1].split(",")]
    users, logins, seed = map(int, sys.argv[2:])
    driver = Logins(ports, users, logins, seed)
    driver.run()
    sys.stdout.write(driver.crowd.tell(logins=users * logins))


if __name__ == "__main__":
    main()
