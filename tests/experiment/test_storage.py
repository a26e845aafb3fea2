"""Runs that keep their models in a bucket, by an S3 server on the loopback address."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bts_tune.cli.main import EXIT_OK, EXIT_USAGE, main
from bts_tune.errors import EXIT_INTERRUPTED, ConfigError
from bts_tune.results.find import is_whole
from bts_tune.results.storage.remote import RemoteFiles, require_writable
from tests.experiment import faulty
from tests.experiment.conftest import Command
from tests.experiment.test_run import wait_for_rows

for needed in ("moto", "flask_cors", "boto3"):
    pytest.importorskip(needed, reason="needs an S3 server: pip install 'bts-tune[test-storage]'")

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with the bucket 'mine'."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket="mine")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def uri(server: str, path: str) -> str:
    return f"s3://{path}?endpoint_override=http://{server}&region=us-east-1"


def test_files_of_a_bucket_are_written_read_listed_and_removed(server: str) -> None:
    place = RemoteFiles(uri(server, "mine/a")) / "run"
    assert str(place) == "s3://mine/a/run"
    assert place.files() == {}
    assert place.read("models/x/last.pt") is None
    place.write("models/x/last.pt", b"12345")
    place.write("models/x/last.pt", b"123456")
    place.write("models/y/last.pt", b"1")
    assert RemoteFiles(place.uri).read("models/x/last.pt") == b"123456"
    assert place.files() == {"models/x/last.pt": 6, "models/y/last.pt": 1}
    place.remove("models/x")
    place.remove("models/y/last.pt")
    place.remove("models/y/last.pt")
    assert place.files() == {}


def test_a_bucket_that_is_not_there_is_told(server: str) -> None:
    with pytest.raises(ConfigError, match="--storage s3://other/a: cannot be written: there is no bucket 'other'"):
        require_writable(uri(server, "other/a"), "--storage")


def test_a_run_keeps_its_models_in_a_bucket_goes_on_from_there_and_is_mirrored(
    command: Command, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, _ = faulty.environment(tmp_path)
    command.environment = {**environment, **KEYS, "AWS_ENDPOINT_URL": f"http://{server}", "AWS_REGION": "us-east-1"}
    space = faulty.space(tmp_path, "slow-a", "b", epochs=4)
    more = ["--storage", "s3://mine/runs", "--concurrent", "2", "--cpus-per-trial", "1"]
    process = command.start(*command.run_arguments(space, "far", *more))
    path = command.folder / "results" / "far"
    wait_for_rows(path, 6, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == EXIT_INTERRUPTED, errors
    assert "Models and checkpoints are kept at s3://mine/runs/far" in output
    place = RemoteFiles(uri(server, "mine/runs/far"))
    assert "models/slow-a/last.pt" in place.files()
    assert not (path / "models").exists()
    code, output, errors = command("--resume", "far", "--no-dashboard")
    assert (code, errors) == (EXIT_OK, ""), output
    folder = command.record("far")
    kept = [json.loads(line).get("kept_epochs") for line in folder.trials_file.read_text().splitlines()]
    assert max(count for count in kept if count is not None) >= 2
    for record in folder.trials():
        assert [row["epoch"] for row in record.rows] == [1, 2, 3, 4]
        assert record.test
        assert is_whole(folder.model_folder(record.trial))
    models = {f"models/{trial}/model.{kind}" for trial in ("slow-a", "b") for kind in ("json", "safetensors")}
    assert place.files().keys() == {"storage.id", *models}

    pushed = ["push", str(path), uri(server, "mine/runs")]
    assert main(pushed) == EXIT_OK
    assert main(["pull", uri(server, "mine/runs/far"), str(tmp_path / "back")]) == EXIT_OK
    for file in ("rows.jsonl", "trials.jsonl", "run.json", "report.html", "models/b/model.safetensors"):
        assert (tmp_path / "back" / file).read_bytes() == (path / file).read_bytes()
    assert main(pushed) == EXIT_OK
    assert "as it was" in capsys.readouterr().out
    assert main(["push", str(path), uri(server, "other")]) == EXIT_USAGE
    assert "there is no bucket 'other'" in capsys.readouterr().err
