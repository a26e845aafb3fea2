"""What is kept elsewhere: in folders here, and what is said where a bucket cannot be used."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bts_tune.errors import ConfigError
from bts_tune.results.storage.remote import RemoteError, RemoteFiles, require_writable


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no credentials to be found."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that denies everything, as S3 does."""

    class Denied(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Denied) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_of_a_folder_are_written_read_listed_and_removed(tmp_path: Path) -> None:
    place = RemoteFiles(str(tmp_path / "a b")) / "run"
    assert place.files() == {}
    assert place.read("models/x/last.pt") is None
    place.write("models/x/last.pt", b"12345")
    place.write("run.json", b"{}")
    copied = pickle.loads(pickle.dumps(place))
    assert copied.read("models/x/last.pt") == b"12345"
    assert copied.files() == {"models/x/last.pt": 5, "run.json": 2}
    assert copied.name == "run"
    place.remove("models/x")
    place.remove("models/x")
    assert place.files() == {"run.json": 2}
    assert (tmp_path / "a b" / "run" / "run.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host/x", "the scheme ftp:// is not supported; allowed are s3://BUCKET/FOLDER"),
        ("s3:///x", "names no bucket"),
        ("file://data/runs", "names the machine 'data'; a folder of this one is file:///FOLDER."),
        ("", "names no place"),
        ("s3://key:hidden@bucket/x", "credentials must not stand in it"),
        ("s3://[bucket]/runs", "s3://[bucket]/runs: is no address; allowed are"),
        ("/dev/null/x", "cannot be written: Not a directory"),
        ("s3://bucket/x?colour=red", "Unexpected query parameter in S3 URI: 'colour'"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_sentence(uri: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        require_writable(uri, "--storage")
    text = str(error.value)
    assert text.startswith("--storage ")
    assert said in text
    assert "hidden" not in text
    assert text.count("\n") == 0


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/x: cannot be written: Not a directory"):
        require_writable(str(tmp_path / "file" / "x"), "--storage")


def test_a_bucket_that_denies_tells_of_missing_credentials(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"s3://bucket/x?endpoint_override=http://{refusing}&region=us-east-1"
    with pytest.raises(ConfigError, match="access is denied, and no credentials are found; set AWS_ACCESS_KEY_ID"):
        require_writable(uri, "--storage")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ConfigError, match="the credentials that are found are not valid, or may not do this there"):
        require_writable(uri, "--storage")
    with pytest.raises(RemoteError, match="s3://bucket/x: cannot be read: access is denied"):
        RemoteFiles(uri).read("run.json")


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConfigError, match=r"s3://bucket/x: cannot be written: no connection \(Failed to connect"):
        require_writable(f"s3://bucket/x?endpoint_override=http://127.0.0.1:{port}&region=us-east-1", "--storage")
