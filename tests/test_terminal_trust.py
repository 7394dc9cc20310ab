"""``trio-socketio connect``: whom it trusts, what it speaks, and what it says when it cannot."""

import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import run_cli
from tests.client.serving import create_server
from trio_socketio import ServerOptions, open_server
from trio_socketio.cli import main


class Authority:
    """Signs the certificates of servers; its own is in a file."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    @asynccontextmanager
    async def serving(self, name: str = "127.0.0.1") -> AsyncIterator[str]:
        """A server whose certificate is for that name; gives its URL."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(name).configure_cert(context)
        async with open_server(create_server(), ssl_context=context) as addresses:
            yield f"https://127.0.0.1:{addresses[0][1]}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def connect(*arguments: str, lines: str = "") -> tuple[int, str, list[str]]:
    """Exit code, output, and the lines of complaint."""
    ended = await trio.run_process(
        [sys.executable, "-m", "trio_socketio", "connect", *arguments],
        stdin=lines.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode().splitlines()


@pytest.mark.req("CMD-07", "CMD-08")
@trio_test
async def test_a_certificate_is_trusted_by_its_authority_alone(
    authority: Authority, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with authority.serving() as url:
        for arguments in ((), ("--cafile", str(other))):
            code, output, (line,) = await connect(url, *arguments)
            assert (code, output) == (1, "")
            assert f"cannot connect to {url}: the certificate of the server is not trusted" in line
            assert line.endswith("with --cafile")
        code, output, told = await connect(
            url, "--cafile", str(authority.file), lines='?echo "safe"\n'
        )
        assert code == 0
        assert '?echo "safe"' in output
        assert len(told) == 1
        assert told[0].startswith("trio-socketio: connected as ")


@pytest.mark.req("CMD-07")
@trio_test
async def test_insecure_trusts_anybody_and_warns(authority: Authority) -> None:
    async with authority.serving("elsewhere.example") as url:
        code, _, (line,) = await connect(url, "--cafile", str(authority.file))
        assert code == 1
        assert "not valid for '127.0.0.1'" in line
        assert "--insecure" in line
        code, output, told = await connect(url, "--insecure", lines="?echo 1\n")
        assert code == 0
        assert "?echo 1" in output
        assert told[0].startswith("trio-socketio: warning: --insecure: the certificate")
        assert len(told) == 2


@pytest.mark.req("CMD-07")
@trio_test
async def test_trust_without_tls_is_warned_of(authority: Authority) -> None:
    async with open_server(create_server()) as addresses:
        url = f"http://127.0.0.1:{addresses[0][1]}"
        for arguments in (("--insecure",), ("--cafile", str(authority.file))):
            code, _, told = await connect(url, *arguments)
            assert code == 0
            assert f"warning: {arguments[0]} has no effect" in told[0]
            assert len(told) == 2


@pytest.mark.req("CMD-07")
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read: No such file"), ("no certificate", "no certificate in PEM form")],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    ended = run_cli("connect", "https://127.0.0.1:1", "--cafile", str(file))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"--cafile {file}: " in ended.stderr
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cafile", "x", "--insecure"), "--insecure: not allowed with argument --cafile"),
        (("--parser", "yaml"), "invalid choice: 'yaml' (choose from"),
    ],
)
def test_arguments_that_contradict(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["connect", "https://a", *arguments])
    assert says in capsys.readouterr().err


@pytest.mark.req("CMD-08")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_tls_where_none_is_spoken_and_the_other_way(
    authority: Authority, transport: str
) -> None:
    async with authority.serving() as url:
        plain = url.replace("https", "http")
        code, _, (line,) = await connect(plain, "--transports", transport)
        assert (code, line.endswith("try https:// instead of http://")) == (1, True)
    async with open_server(create_server()) as addresses:
        secure = f"https://127.0.0.1:{addresses[0][1]}"
        code, _, (line,) = await connect(secure, "--transports", transport)
        assert (code, line.endswith("try http:// instead of https://")) == (1, True)


@pytest.mark.req("CMD-08")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://no.such.host.invalid", "unknown host 'no.such.host.invalid': "),
        ("http://127.0.0.1:1", "Connection refused: no server listens there"),
        ("unix:/no/such/socket", "there is no socket /no/such/socket"),
    ],
)
def test_nobody_there(url: str, says: str) -> None:
    ended = run_cli("connect", url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"trio-socketio: cannot connect to {url}: {says}")
    assert ended.stderr.count("\n") == 1


@pytest.mark.req("CMD-08")
@trio_test
async def test_the_parser_that_the_server_speaks() -> None:
    server = create_server(ServerOptions(parser="msgpack"))
    async with open_server(server) as addresses:
        url = f"http://127.0.0.1:{addresses[0][1]}"
        code, output, _ = await connect(url, "--parser", "msgpack", lines="?echo 1.5\n")
        assert code == 0
        assert "?echo 1.5" in output
        code, _, complaints = await connect(url)
        assert (code, len(complaints)) == (1, 1), complaints
        assert complaints[0].endswith("the server may speak another parser; see --parser")
