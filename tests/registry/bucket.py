"""An S3 of the tests' own on a free loopback port; each request is done before the next one begins, as S3 promises."""

from __future__ import annotations

import logging
import os
import signal
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from service.registry.bucket import Bucket
from service.registry.remote import attach, refresh

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Faults:
    """Does to the request of a number what a file says: `pid number fault`.

    `after` kills the process when the request is done, before its answer; `lost` answers with an error instead;
    `careless` (the number 0: every request) forgets the conditions of a write.
    """

    def __init__(self, app: App, plan: Path) -> None:
        """Stand before an application; the file need not be there yet."""
        self._app = app
        self._path = plan
        self._plan = ""
        self._requests = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        plan = self._path.read_text() if self._path.exists() else ""
        if plan != self._plan:
            self._plan, self._requests = plan, 0
        self._requests += 1
        pid, number, fault = plan.split() if plan else ("0", "0", "")
        if fault == "careless":
            environ = {name: value for name, value in environ.items() if not name.startswith("HTTP_IF_")}
        if self._requests != int(number):
            return self._app(environ, start_response)
        if fault == "lost":
            list(self._app(environ, lambda *_: None))
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []
        answer = self._app(environ, start_response)
        os.kill(int(pid), signal.SIGKILL)
        return answer


@contextmanager
def s3_server(plan: Path) -> Iterator[str]:
    """Serve S3 and give its address; conditional writes are kept, faults are planned in the file `plan`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of moto and what it imports, at import alone
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  takes a second
            DomainDispatcherApplication,
            create_backend_app,
        )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Faults(DomainDispatcherApplication(create_backend_app), plan)
    server = make_server("127.0.0.1", 0, app, threaded=False)
    thread = threading.Thread(target=server.serve_forever, name="s3")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def environment(address: str) -> Iterator[None]:
    """Let this process, and those that it starts, reach the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        yield


def make_bucket(address: str, name: str) -> str:
    """Make a bucket and return the URL of a folder in it."""
    with urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT"), timeout=10):
        return f"s3://{name}/models"


class Remote:
    """A bucket of a test's own, and copies of the registry in it."""

    def __init__(self, address: str, name: str, folder: Path) -> None:
        """Make the bucket."""
        self.url = make_bucket(address, name)
        self.bucket = Bucket(self.url)
        self._folder = folder
        self._numbers = count(1)

    def copy(self) -> Path:
        """Return a new copy; nothing was brought to it yet."""
        registry = self._folder / f"copy-{next(self._numbers)}"
        attach(registry, self.url)
        return registry

    def seen(self) -> Path:
        """Return a new copy with everything that is to be seen."""
        registry = self.copy()
        refresh(registry)
        return registry
