"""The files of ``init --deploy``, taken apart."""

import json
import re
from functools import cache
from typing import Any, Final

import yaml

from trio_socketio.cli.deploy_files import read_files

FILES: Final = dict(read_files())
_METRIC: Final = re.compile(r"\b((?:tsio|process)_\w+)(?:\{([^}]*)\})?")
_GROUPED: Final = re.compile(r"\bby \(([^)]*)\)")
_MATCHED: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """The settings of a unit of systemd, by section; a setting may occur several times."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in FILES[name].splitlines():
        if line.startswith("["):
            settings = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            settings.append((key, value))
    return sections


def service() -> dict[str, str]:
    """The settings of the service that hold: of several with one name, the last."""
    return dict(unit("trio-socketio.service")["Service"])


def header(name: str) -> str:
    """Where the first line of a file says that it belongs."""
    found = re.match(r"# (/[\w./-]+)", FILES[name])
    assert found, name
    return found[1]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, each on one line."""
    lines = [line for line in FILES["Containerfile"].splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (name, " ".join(rest.split()))
        for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def image_variables() -> dict[str, str]:
    """The environment that the image sets."""
    pairs = " ".join(rest for name, rest in instructions() if name == "ENV").split()
    return dict(pair.split("=", 1) for pair in pairs)


def image_command(name: str) -> list[str]:
    """An instruction of the Containerfile that is a list of words."""
    (words,) = [rest for found, rest in instructions() if found == name]
    command = json.loads(words[words.index("[") :])
    assert all(isinstance(word, str) for word in command)
    return list(command)


@cache
def alerts() -> list[dict[str, Any]]:
    """The rules for Prometheus."""
    document = yaml.safe_load(FILES["prometheus-rules.yaml"])
    return [rule for group in document["groups"] for rule in group["rules"]]


@cache
def dashboard() -> dict[str, Any]:
    """The dashboard for Grafana."""
    found: dict[str, Any] = json.loads(FILES["grafana-dashboard.json"])
    return found


def expressions() -> list[str]:
    """Everything that is asked of Prometheus."""
    board = dashboard()
    targets = [one for panel in board["panels"] for one in panel.get("targets", ())]
    notes = board["annotations"]["list"]
    return [one["expr"] for one in (*alerts(), *targets, *notes)]


def metrics_in(expression: str) -> dict[str, set[str]]:
    """The metrics of an expression, each with the labels by which they are chosen."""
    found: dict[str, set[str]] = {}
    for name, matchers in _METRIC.findall(expression):
        found.setdefault(name, set()).update(_MATCHED.findall(matchers))
    return found


def labels_grouped_by(expression: str) -> set[str]:
    return {label.strip() for labels in _GROUPED.findall(expression) for label in labels.split(",")}
