"""Files that are kept elsewhere: in a bucket of S3 or Google Cloud Storage, or in a folder. PyArrow opens them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bts_tune.errors import ConfigError, RunError
from bts_tune.paths import user_path
from bts_tune.results.record.files import write_atomically
from bts_tune.text import first_line, shortened

ALLOWED = "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, or the path of a folder"

_SCHEMES = ("s3", "gs", "file")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

# Without it, a Google Cloud Storage that does not answer is asked for a quarter of an hour.
_PATIENCE = "retry_limit_seconds=30"

_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|UNRECOGNIZED_CLIENT|HTTP status 40[13]|PERMISSION_DENIED"
)
_WHERE_CREDENTIALS_ARE = {
    "s3": (
        ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ".aws/credentials",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    "gs": (
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        ".config/gcloud/application_default_credentials.json",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ),
}


def require_place(uri: str, option: str) -> None:
    """Refuse what names no place, without trying it.

    Raises:
        ConfigError: it is none that can be used; the sentence begins with the option that names it.
    """
    try:
        RemoteFiles(uri)
    except ConfigError as error:
        raise ConfigError(f"{option} {error}") from None


def require_writable(uri: str, option: str) -> None:
    """Try a place before anything is made for it: write a file there, read it back, remove it.

    Raises:
        ConfigError: it is none that can be used, or not now; the sentence begins with the option that names it.
    """
    try:
        place, name = RemoteFiles(uri), f".{secrets.token_hex(8)}.part"
        place.write(name, name.encode())
        whole = place.read(name) == name.encode()
        place.remove(name)
    except (ConfigError, RemoteError) as error:
        raise ConfigError(f"{option} {error}") from None
    if not whole:
        raise ConfigError(f"{option} {place}: what was written there reads otherwise; name another place.")


class RemoteError(RunError):
    """What is kept elsewhere cannot be reached, read or written; the sentence says where and why."""


class RemoteFiles:
    """A folder elsewhere, whose files are written whole or not at all.

    Args:
        uri: where; see `ALLOWED`.

    Raises:
        ConfigError: it is none that can be used.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._fs: Any = None
        match = _SCHEME.match(uri)
        self._scheme = match[1].lower() if match else "file"
        if self._scheme not in _SCHEMES:
            raise ConfigError(f"{uri}: the scheme {self._scheme}:// is not supported; allowed are {ALLOWED}.")
        if match is None:
            if not uri.strip():
                raise ConfigError(f"'{uri}': names no place; allowed are {ALLOWED}.")
            self._base, self._query = str(user_path(uri).absolute()), ""
            return
        try:
            parts = urlsplit(uri)
        except ValueError:  # a bracket, as of an IPv6 address
            raise ConfigError(f"{uri}: is no address; allowed are {ALLOWED}.") from None
        self._query = parts.query
        if "@" in parts.netloc:
            raise ConfigError(
                f"{self._scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}: credentials must not stand in it, "
                f"because the run records it; {self._hint()}."
            )
        if self._scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise ConfigError(f"{uri}: names the machine {parts.netloc!r}; a folder of this one is file:///FOLDER.")
            self._base = parts.path or "/"
        elif not parts.netloc:
            raise ConfigError(f"{uri}: names no bucket; allowed are {ALLOWED}.")
        else:
            self._base = f"{parts.netloc}{parts.path}".rstrip("/")

    def __str__(self) -> str:
        return self._base if self._scheme == "file" else f"{self._scheme}://{self._base}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None}

    def __truediv__(self, name: str) -> RemoteFiles:
        """Return a folder in this one."""
        if self._scheme == "file":
            return RemoteFiles(f"{self._base.rstrip('/')}/{name}")
        return RemoteFiles(f"{self._scheme}://{self._base}/{name}" + (f"?{self._query}" if self._query else ""))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._base.rstrip("/").rpartition("/")[2]

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file systems."""
        return self._scheme == "file"

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none.

        Raises:
            RemoteError: it cannot be read.
        """
        with self._told("read"):
            try:
                if self.is_local:
                    return Path(self._base, name).read_bytes()
                with self._opened().open_input_stream(f"{self._base}/{name}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or write it anew.

        Raises:
            RemoteError: it cannot be written.
        """
        with self._told("written"):
            if self.is_local:
                write_atomically(Path(self._base, name), content)
                return
            # A bucket shows an object when it is whole.
            with self._opened().open_output_stream(f"{self._base}/{name}") as stream:
                stream.write(content)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that it holds; what is not there is no error.

        Raises:
            RemoteError: it cannot be removed.
        """
        with self._told("written"), contextlib.suppress(FileNotFoundError):
            from pyarrow.fs import FileType

            path = f"{self._base}/{name}"
            if self._opened().get_file_info(path).type == FileType.Directory:
                self._opened().delete_dir(path)
            else:
                self._opened().delete_file(path)

    def files(self) -> dict[str, int]:
        """Return the bytes of every file, by its path in this folder.

        Raises:
            RemoteError: they cannot be listed.
        """
        with self._told("read"):
            from pyarrow.fs import FileSelector, FileType

            chosen = FileSelector(self._base, recursive=True, allow_not_found=True)
            found = self._opened().get_file_info(chosen)
            start = len(self._base.rstrip("/")) + 1
            return {one.path[start:]: one.size for one in found if one.type == FileType.File}

    def _opened(self) -> Any:
        if self._fs is None:
            from pyarrow import fs

            if self.is_local:
                self._fs = fs.LocalFileSystem()
            else:
                query = self._query
                if self._scheme == "gs" and "retry_limit_seconds" not in parse_qs(query):
                    query = f"{query}&{_PATIENCE}" if query else _PATIENCE
                self._fs, _ = fs.FileSystem.from_uri(f"{self}" + (f"?{query}" if query else ""))
        return self._fs

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:  # of pyarrow, too
            raise RemoteError(f"{self}: cannot be {done}: {self._reason(error)}.") from None

    def _reason(self, error: BaseException) -> str:
        text = first_line(error)
        bucket = self._base.partition("/")[0]
        if "NO_SUCH_BUCKET" in text or (self._scheme == "gs" and "NOT_FOUND" in text):
            return f"there is no bucket {bucket!r}; make it first, or name another"
        if not self.is_local and _DENIED.search(text):
            if not self._has_credentials():
                return f"access is denied, and no credentials are found; {self._hint()}"
            return "access is denied; the credentials that are found are not valid, or may not do this there"
        if "NETWORK_CONNECTION" in text:
            details = text.rpartition("Details: ")[2] if "Details: " in text else "there is no answer"
            return f"no connection ({shortened(details, 200).rstrip('.')})"
        return shortened(getattr(error, "strerror", None) or text, 200).rstrip(".")

    def _has_credentials(self, environment: Mapping[str, str] = os.environ) -> bool:
        variables, file, _ = _WHERE_CREDENTIALS_ARE[self._scheme]
        named = environment.get("AWS_SHARED_CREDENTIALS_FILE") if self._scheme == "s3" else None
        return (
            any(environment.get(name) for name in variables) or Path(named or os.path.expanduser(f"~/{file}")).is_file()
        )

    def _hint(self) -> str:
        return f"set {_WHERE_CREDENTIALS_ARE[self._scheme][2]}" if self._scheme in _WHERE_CREDENTIALS_ARE else ALLOWED
