"""The files of ``trio-socketio init --deploy``: what surrounds the program of a service."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from trio_socketio.errors import ConfigurationError

PURPOSES: Final[Mapping[str, str]] = {
    "trio-socketio.toml": "the configuration that the other files go with",
    "trio-socketio.service": "the unit of systemd",
    "trio-socketio.socket": "its socket unit, for one server without others beside it",
    "nginx.conf": "a site of nginx",
    "haproxy.cfg": "the same for HAProxy",
    "Containerfile": "an image",
    "prometheus-rules.yaml": "alerts",
    "grafana-dashboard.json": "a dashboard",
}
"""What each file is, in the order in which they are told."""

_NEXT_STEPS: Final = """\
next, on a machine with systemd, as root:
  1. install the program in /opt/trio-socketio: python3 -m venv, and pip install it with [server]
  2. useradd --system --no-create-home --shell /usr/sbin/nologin trio-socketio
  3. copy trio-socketio.toml to /etc/trio-socketio/, name your app in it, and check it:
     trio-socketio check-config /etc/trio-socketio/trio-socketio.toml
  4. copy trio-socketio.service to /etc/systemd/system/, then: systemctl daemon-reload,
     and systemctl enable --now trio-socketio
  5. put your own name in place of chat.example in nginx.conf, or a certificate where haproxy.cfg
     expects it, and reload either
the first line of each file says where it belongs; spec/guide/deploy.md has all steps and reasons
"""


def write_files(folder: Path, *, force: bool) -> str:
    """Write all files into a folder, which is made if it does not exist.

    Args:
        folder: where they are written.
        force: whether files that exist are replaced.
    Returns:
        What was written, and what to do next.
    Raises:
        ConfigurationError: a file exists already, and nothing was written (DEPLOY-02); or one
            cannot be written, and the message says which.
    """
    there = [name for name in PURPOSES if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not force:
        raise ConfigurationError(
            f"{folder} has {', '.join(there)} already, and nothing was written: name another "
            "folder, or replace them with --force"
        )
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in read_files():
            path = folder / name
            if force:  # whatever is there, such as a link to a file elsewhere, is not written into
                path.unlink(missing_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    width = max(map(len, PURPOSES))
    wrote = [f"wrote {folder / ''}"]
    wrote += [f"  {name:<{width}}  {purpose}" for name, purpose in PURPOSES.items()]
    return "\n".join(wrote) + "\n" + _NEXT_STEPS


def read_files() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file."""
    folder = files("trio_socketio.cli") / "deploy"
    for name in PURPOSES:
        yield name, (folder / name).read_text(encoding="utf-8")
