"""A folder of an object store: read, created and replaced on condition, so that no writer loses another's change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from service.errors import BadSetting

if TYPE_CHECKING:
    from obstore import UpdateVersion  # exists for type checkers alone

CONNECT_TIMEOUT: Final = timedelta(seconds=2)
REQUEST_TIMEOUT: Final = timedelta(seconds=10)
"""Of one request, with a version's largest file."""

RETRIES: Final = 3
RETRY_TIMEOUT: Final = timedelta(seconds=15)
"""From the first try of a request until no other one is begun."""


_UNCONDITIONAL: Final = "only s3://, gs:// and az:// have the conditional writes that it needs"


class Seen(NamedTuple):
    """An object as it was read, and what names that state; "" where the object store has no such name."""

    content: bytes
    e_tag: str
    version: str


class Listed(NamedTuple):
    """An object's name and when it was written."""

    name: str
    modified: datetime


class Bucket:
    """Objects by name below a URL: `s3://bucket/folder`, `gs://…` or `az://…`. Thread-safe.

    Credentials, region and endpoint come from the environment, under the names that each provider's own tools use.
    Every method raises BadSetting, in one sentence that names the URL, when the object store does not do its work.
    """

    def __init__(self, url: str) -> None:
        """Take a URL; nothing is asked yet."""
        self.url = url
        if url.startswith(("file:", "memory:")):
            raise BadSetting(f"registry {url}: {_UNCONDITIONAL}")
        with self._told("cannot be opened"):
            store = from_url(
                url,
                client_options={
                    "connect_timeout": CONNECT_TIMEOUT,
                    "timeout": REQUEST_TIMEOUT,
                    # Given options replace all that the environment says, so this one is taken over.
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT},
            )
        if not isinstance(store, S3Store | GCSStore | AzureStore):
            raise BadSetting(f"registry {url}: {_UNCONDITIONAL}")
        self._store = store

    def read(self, name: str, seen: Seen | None = None) -> Seen | None:
        """Return an object, None when there is none; `seen` itself when it did not change since. Cost: one request."""
        with self._told(f"{name} cannot be read"):
            try:
                result = self._store.get(name, options={"if_none_match": seen.e_tag} if seen else {})
                meta = result.meta
                return Seen(bytes(result.bytes()), meta["e_tag"] or "", meta["version"] or "")
            except NotModifiedError:
                return seen
            except FileNotFoundError:
                return None

    def create(self, name: str, content: bytes) -> bool:
        """Write an object that is not there yet; False when it is."""
        with self._told(f"{name} cannot be written"):
            try:
                self._store.put(name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def replace(self, name: str, content: bytes, seen: Seen) -> bool:
        """Write an object that is still as it was seen; False when it is not."""
        state: UpdateVersion = {"e_tag": seen.e_tag}
        if seen.version:
            state["version"] = seen.version
        with self._told(f"{name} cannot be written"):
            try:
                self._store.put(name, content, mode=state, use_multipart=False)
            except (PreconditionError, FileNotFoundError):
                return False
            return True

    def listed(self, folder: str, after: str = "") -> list[Listed]:
        """Return the objects of a folder, those whose name comes after another one. Cost: a request for each 1,000."""
        with self._told(f"{folder} cannot be listed"):
            pages = self._store.list(folder, offset=f"{folder}/{after}" if after else None, chunk_size=1000)
            return [Listed(one["path"], one["last_modified"]) for page in pages for one in page]

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for name in names:
            with self._told(f"{name} cannot be deleted"), suppress(FileNotFoundError):
                self._store.delete(name)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn an error of the object store into one sentence, without the queries of URLs, which may hold secrets."""
        try:
            yield
        except (BaseError, OSError, ValueError, TimeoutError) as error:
            first = str(error).strip().partition("\n")[0].partition(": <?xml")[0]
            # How long it took and how often it was tried differs each time; one outage is one reason.
            reason = re.sub(r"[?][^ ]*| in [0-9.]+.?s, after [0-9]+ retries, .*?retry_timeout: [^ ]+ ", "", first)
            raise BadSetting(f"registry {self.url}: {what}: {reason[:400]}") from error
