"""Tokens that are made, JWTs by a url, limits, TLS, proxies: who is let in, until when, and what is left behind of it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

import playhead as ph
from playhead_server import jwts, sse
from playhead_server.server import Running, Settings, running
from playhead_server.tokens import Tokens
from tests.conftest import TOKEN, playhead, process, wait_for


def asked(server: Any, token: str, method: str = "GET", path: str = "/api/events", **options: Any) -> httpx.Response:
    """One answer."""
    headers = {"X-Playhead-Token": token} | options.pop("headers", {})
    return httpx.request(method, f"{server.url}{path}", headers=headers, trust_env=False, **options)


@contextlib.contextmanager
def socket_of(server: Running, token: str) -> Iterator[ClientConnection]:
    """A socket that was welcomed."""
    address = f"ws{server.url.removeprefix('http')}/api/events/ws"
    with connect_socket(address, additional_headers={"X-Playhead-Token": token}, proxy=None) as socket:
        assert json.loads(socket.recv())["op"] == "welcome"
        yield socket


def test_tokens_by_the_command_line(tmp_path: Path) -> None:
    """Made alone on stdout, kept as a hash, listed without it, taken at once by a running server, and taken back."""
    recording = tmp_path / "log.playhead"
    missing = playhead("token", "create", str(recording))
    assert missing.returncode == 1 and "playhead serve" in missing.stderr
    with process(recording) as server:
        words = ["--name", "night", "--scope", "publish", "--scope", "read", "--organization", "ours", "--expires", "1h"]
        made = playhead("token", "create", str(recording), *words)
        token = made.stdout.strip()
        assert made.returncode == 0 and token.startswith("ph_") and token not in made.stderr
        kept = recording / "tokens.json"
        assert token.split("_", 2)[2] not in kept.read_text() and stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert asked(server, token, "POST", json={"type": "a"}).status_code == 201
        assert [event["organizationId"] for event in asked(server, token).json()["events"]] == ["ours"]
        assert asked(server, token, "DELETE", "/api/events?olderThan=0s").status_code == 403
        assert asked(server, f"{token}x").status_code == asked(server, token[:-1]).status_code == 401
        shown = playhead("token", "list", str(recording)).stdout
        assert "night" in shown and "publish, read for ours" in shown and token.split("_", 2)[2] not in shown
        facts = json.loads(playhead("token", "list", str(recording), "--json").stdout)
        assert [set(one) for one in facts] == [{"id", "name", "scopes", "organizationId", "createdAt", "expiresAt"}]
        assert playhead("token", "revoke", facts[0]["id"], str(recording)).returncode == 0
        assert asked(server, token).status_code == 401
        again = playhead("token", "revoke", facts[0]["id"], str(recording))
        assert again.returncode == 1 and "playhead token list" in again.stderr
        for words, says in ((["--scope", "write"], "none of"), (["--expires", "2020-01-01T00:00:00Z"], "over already")):
            refused = playhead("token", "create", str(recording), *words)
            assert refused.returncode == 1 and says in refused.stderr
        _, out, err = server.end()
        assert token not in out + err


def test_a_token_ends_by_itself(tmp_path: Path) -> None:
    """What has expired is refused and says so; a file that is no longer one lets nobody in and harms no other token."""
    tokens = Tokens(tmp_path / "tokens.json")
    text, made = tokens.create("short", ["read"], None, datetime.now(UTC) + timedelta(seconds=1.5))
    settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, tokens=tokens.path)
    with running(settings) as server:
        assert asked(server, text).status_code == 200
        wait_for(lambda: asked(server, text).status_code == 401)
        assert "expired" in asked(server, text).json()["detail"]
        assert text not in repr(server) + repr(made) + repr(settings)
        tokens.path.write_text("{")
        assert asked(server, text).status_code == 401 and asked(server, TOKEN).status_code == 200


def test_who_is_connected_is_cut_off_with_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is closed 4401, a stream ends, within a heartbeat of the token being revoked; a ticket is worth nothing."""
    monkeypatch.setattr(sse, "_CHECK_S", 0.0)
    tokens = Tokens(tmp_path / "tokens.json")
    text, made = tokens.create("short", ["read"], None, None)
    settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, tokens=tokens.path, heartbeat_s=0.2)
    with running(settings) as server, socket_of(server, text) as socket:
        ticket = asked(server, text, "POST", "/api/tickets").json()["ticket"]
        stream = httpx.stream("GET", f"{server.url}/api/events/stream", headers={"X-Playhead-Token": text}, trust_env=False)
        with stream as response:
            lines = response.iter_lines()
            assert next(lines).startswith("retry")
            tokens.revoke(made.id)
            list(lines)  # it ends
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                socket.recv(10)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 4401
        assert httpx.get(f"{server.url}/api/events/stream?ticket={ticket}", trust_env=False).status_code == 401


class _Authority:
    """Who signs JWTs, and a url that says by which keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.is_away = False
        authority = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authority.asked += 1
                body = json.dumps({"keys": authority.public()}).encode()
                self.send_response(503 if authority.is_away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def public(self) -> list[dict[str, Any]]:
        """The keys as a JWKS has them."""
        return [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": name, "use": "sig"}
            for name, key in self.keys.items()
        ]

    def sign(self, name: str, **claims: Any) -> str:
        """A token by one of the keys."""
        return jwt.encode({"scope": "read"} | claims, self.keys[name], "RS256", headers={"kid": name})

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def test_keys_of_a_url_are_kept_and_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request for many tokens; a new key is fetched when it is needed, a removed one is refused, an outage harms nobody."""
    with contextlib.closing(_Authority()) as authority:
        authority.keys["one"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, jwks=authority.url)
        with running(settings) as server:
            first = authority.sign("one", exp=int(datetime.now(UTC).timestamp()) + 600)
            assert [asked(server, first).status_code for _ in range(5)] == [200] * 5 and authority.asked == 1
            authority.keys["two"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            second = authority.sign("two")
            assert asked(server, second).status_code == 401 and authority.asked == 1  # asked a moment ago
            monkeypatch.setattr(jwts, "_SOON_S", 0.0)
            assert asked(server, second).status_code == 200 and authority.asked == 2
            authority.is_away = True
            monkeypatch.setattr(jwts, "_FRESH_S", 0.0)
            assert asked(server, first).status_code == 200 and authority.asked >= 3
            authority.is_away = False
            foreign = authority.sign("one")
            del authority.keys["one"]
            assert asked(server, foreign).status_code == 401 and asked(server, second).status_code == 200


def test_clocks_may_differ_and_algorithms_may_not(tmp_path: Path) -> None:
    """Half a minute of skew is forgiven; a public key as the secret of HS256, or none at all, is refused."""
    with contextlib.closing(_Authority()) as authority:
        authority.keys["one"] = key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, jwks=authority.url, jwt_secret="s" * 32)
        now = int(datetime.now(UTC).timestamp())
        confused = jwt.api_jws.PyJWS().encode(b'{"scope": "admin read"}', "s" * 32, "HS256", headers={"kid": "one"})
        head, body, _ = confused.split(".")
        by_public_key = jwt.api_jws.base64url_encode(
            jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{head}.{body}".encode(), pem)
        ).decode()
        with running(settings) as server:
            for token, status in (
                (authority.sign("one", exp=now - 10), 200), (authority.sign("one", exp=now - 90), 401),
                (authority.sign("one", nbf=now + 10), 200), (authority.sign("one", nbf=now + 90), 401),
                (confused, 200), (f"{head}.{body}.{by_public_key}", 401),
                (jwt.encode({"scope": "read"}, None, "none"), 401), (authority.sign("one", org=7), 401),
            ):  # fmt: skip
                assert asked(server, token).status_code == status


def test_a_file_of_keys_is_read_again(tmp_path: Path) -> None:
    """The keys of a JWKS file may change while the server runs; a file that is broken leaves those before it."""
    with contextlib.closing(_Authority()) as authority:
        authority.keys["one"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": authority.public()}))
        with running(Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, jwks=str(file))) as server:
            first = authority.sign("one")
            authority.keys = {"two": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
            assert asked(server, first).status_code == 200 and asked(server, authority.sign("two")).status_code == 401
            file.write_text("{")
            assert asked(server, first).status_code == 200
            file.write_text(json.dumps({"keys": authority.public()}))
            assert asked(server, first).status_code == 401 and asked(server, authority.sign("two")).status_code == 200


def test_a_token_asks_for_so_much_and_no_more(tmp_path: Path) -> None:
    """What is too much is 429 with a time to wait, holds nobody else up, and stores nothing; after that time it is taken."""
    tokens = Tokens(tmp_path / "tokens.json")
    one, other = (tokens.create(name, ["publish", "read"], None, None)[0] for name in ("one", "other"))
    settings = Settings(
        recording=tmp_path / "log.playhead", port=0, token=TOKEN, tokens=tokens.path, max_requests=4, max_events=100
    )
    with running(settings) as server:
        answers = [asked(server, one) for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers[:20]} == {200} and refused
        assert int(refused[0].headers["retry-after"]) >= 1 and "4 requests a second" in refused[0].json()["detail"]
        many = [{"type": "a"}] * 600
        assert asked(server, other, "POST", json=many).status_code == 201  # more than is saved up, and paid for later
        assert asked(server, other, "POST", json=many).status_code == 429
        with socket_of(server, other) as socket:
            socket.send(json.dumps({"op": "publish", "id": "p", "events": [{"type": "a"}]}))
            said = json.loads(socket.recv(10))
            assert (said["op"], said["code"], said["id"]) == ("error", "429", "p")
        assert server.recording.count() == 600
        wait_for(lambda: asked(server, one).status_code == 200)


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate for 127.0.0.1, its key, and the authority to believe."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)

    def made(name: str, public: Any, *, is_authority: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number()).public_key(public)
        builder = builder.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        builder = builder.issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(address, critical=False)
        usage = x509.KeyUsage(True, False, False, False, False, is_authority, is_authority, False, False)
        builder = builder.add_extension(usage, critical=True)
        identity = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(identity, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        return builder.sign(authority, hashes.SHA256())

    files = tuple(folder / name for name in ("cert.pem", "key.pem", "ca.pem"))
    files[0].write_bytes(made("server", key.public_key(), is_authority=False).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    files[2].write_bytes(made("authority", authority.public_key(), is_authority=True).public_bytes(serialization.Encoding.PEM))
    return files[0], files[1], files[2]


def test_https_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish, ask and follow over TLS with a private authority; who does not believe it is told so; bad files are refused."""
    cert, key, authority = _certificate(tmp_path)
    settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, tls_cert=cert, tls_key=key)
    with running(settings) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with ph.connect(server.url, token=TOKEN) as client, pytest.raises(ph.PlayheadError, match="certificate is not acc"):
            client.batches()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with ph.connect() as client:  # the url and token that the server wrote down
            with client.job("j", batch_id="b") as job:
                job.progress(50)
            assert client.flush()
            kinds = [event.type for _, event in zip(range(3), client.follow(after="start"), strict=False)]
            assert kinds == ["job_started", "job_progress", "job_completed"] and client.status.transport == "websocket"
            assert list(client.batches()["batch_id"]) == ["b"]
    swapped = Settings(tmp_path / "b.playhead", port=0, tls_cert=key, tls_key=cert)
    with pytest.raises(ValueError, match="PEM files"), running(swapped):
        pass
    with pytest.raises(ValueError, match="go together"):
        Settings(tmp_path / "b.playhead", tls_cert=cert)


@pytest.mark.parametrize(
    ("trusted", "seen"), [(("127.0.0.0/8",), "203.0.113.9"), (("10.1.2.3",), "127.0.0.1"), ((), "127.0.0.1")]
)
def test_forwarded_headers_count_from_trusted_peers_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trusted: tuple[str, ...], seen: str
) -> None:
    """The log names who was refused: the client behind a proxy that is trusted, else who connected."""
    caplog.set_level(logging.INFO, "playhead.server")
    with running(Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, trusted_proxies=trusted)) as server:
        forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        answer = asked(server, "wrong-token-of-somebody", headers=forwarded)
        assert answer.status_code == 401
    assert f"401 to {seen}, GET /api/events" in caplog.text and "wrong-token-of-somebody" not in caplog.text


def test_tokens_are_left_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All that a run leaves behind, files, logs, answers, reprs, saved pages: no token in any, but in the discovery file."""
    monkeypatch.setenv("PLAYHEAD_SPILL_DIR", str(tmp_path / "spill"))
    caplog.set_level(logging.DEBUG)
    recording, said = tmp_path / "log.playhead", []
    with process(recording, "--log-level", "debug", "--jwt-secret", "secret-of-jwts-0123456789abcdefghij") as server:
        made = playhead("token", "create", str(recording), "--scope", "read", "--scope", "publish")
        token = made.stdout.strip()
        signed = jwt.encode({"scope": "read"}, "secret-of-jwts-0123456789abcdefghij", "HS256")
        with ph.connect(server.url, token=token) as client:
            with client.batch("b") as batch, batch.job("j") as job:
                job.progress(10)
            assert client.flush()
            server.kill()
            client.publish({"type": "a"})  # which goes into a file
            client.flush(1.5)
            server.start()
            assert client.flush(20)
            assert next(iter(client.follow(after="start"))).type == "batch_started"
            with pytest.raises(ph.PlayheadError) as refused:
                client.delete_older(datetime.now(UTC))  # type: ignore[attr-defined]
            player = ph.ReplayPlayer(client, batch_id="b")
            player.save_html(tmp_path / "player.html")
            said.append(str(player.get_state()))
            player.close()
            said += [repr(client), repr(client.status), repr(client.events()), str(refused.value), repr(refused.value)]
            said.append(str(client.events().to_pandas().attrs))
        for one in (token, TOKEN, signed, "wrong-token-of-somebody"):
            for path in ("/metrics", "/api/stats", "/api/openapi.json", "/api/events?limit=x", "/", "/api/batches"):
                said.append(f"{asked(server, one, path=path).text} {asked(server, one, path=path).headers}")
        said += [made.stderr, *(playhead("token", "list", str(recording)).stdout for _ in range(1))]
        said += [playhead("status", server.url, "--token", token).stdout, *server.end()[1:]]
    said.append(caplog.text)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "server.json"]
    assert {"tokens.json", "player.html", "recording.json"} <= {path.name for path in files}
    left = {f"said {n}": text.encode() for n, text in enumerate(said)} | {path.name: path.read_bytes() for path in files}
    for one in (TOKEN, token.split("_", 2)[2], signed, "secret-of-jwts", "wrong-token-of-somebody"):
        assert [name for name, text in left.items() if one.encode() in text] == [], one


def test_the_log_as_json(tmp_path: Path) -> None:
    """An object a line on stderr, of refusals too; the url alone on stdout; no token in either."""
    with process(tmp_path / "log.playhead", "--log-format", "json") as server:
        assert asked(server, "wrong-token-of-somebody").status_code == 401
        status, out, err = server.end()
    lines = [json.loads(line) for line in err.splitlines()]
    assert status == 0 and out == "" and lines
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in lines)
    assert any(line["message"].startswith("401 to 127.0.0.1, GET /api/events") for line in lines)
    assert TOKEN not in err and "wrong-token" not in err


def test_bad_settings_say_what_to_write() -> None:
    """Options that cannot be: one line each."""
    for options, says in (
        ({"trusted_proxies": ("example.com",)}, "10.0.0.0/8"), ({"max_events": -1}, "0 for no limit"),
        ({"log_format": "xml"}, "none of text, json"), ({"jwt_secret": "s" * 31}, "openssl rand -hex 32"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            Settings(Path("log.playhead"), **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the environment decides whom to believe."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield
