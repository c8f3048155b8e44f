"""What every worker has live, whichever worker is asked."""

from __future__ import annotations

import os
from pathlib import Path

import structlog
from google.protobuf import json_format

from service.notices import Notices
from service.pb import fraud_pb2 as pb
from service.registry.watcher import Watcher

_LOG = structlog.get_logger(__name__)


class Lineups:
    """Tells the lineup of this worker and of those that share its port, in the words of the wire."""

    def __init__(self, watcher: Watcher, run_path: Path) -> None:
        """Get what it needs; until `join` it knows of this worker alone."""
        self._watcher = watcher
        self._run_path = run_path
        self._notices: Notices | None = None
        self._posted = b""
        self._problem = ""

    def join(self, port: int) -> None:
        """Become one of the workers of a port; `post` tells the others."""
        self._notices = Notices(self._run_path, str(port), os.getpid())

    def post(self) -> None:
        """Tell the other workers what this one has live, if that has changed or somebody cleared the directory.

        Where the directory cannot be written the service goes on; every worker then tells of itself alone.
        """
        if self._notices is None:
            return
        told = json_format.MessageToJson(self.own(), indent=None).encode()
        if told == self._posted and self._notices.stands:
            return
        try:
            self._notices.post(told)
        except OSError as error:
            if str(error) != self._problem:
                _LOG.warning("lineup not told to the other workers", path=str(self._run_path), reason=str(error))
            self._problem = str(error)
            return
        self._posted, self._problem = told, ""

    def leave(self) -> None:
        """Be none of the workers any more."""
        if self._notices is not None:
            self._notices.withdraw()

    def describe(self) -> pb.GetLineupResponse:
        """Return what every worker of the port has live: this one now, the others at most half a second ago."""
        workers = [self.own()]
        for told in self._notices.others() if self._notices is not None else ():
            worker = pb.WorkerLineup()
            try:
                json_format.Parse(told, worker, ignore_unknown_fields=True)
            except json_format.ParseError as error:
                _LOG.warning("notice of another worker not understood", reason=str(error))
                continue
            workers.append(worker)
        workers.sort(key=lambda worker: worker.worker)
        return pb.GetLineupResponse(workers=workers)

    def own(self) -> pb.WorkerLineup:
        """Return what this worker has live, and every version's state."""
        lineup = self._watcher.lineup
        worker = pb.WorkerLineup(worker=os.getpid(), reason=self._watcher.reason)
        if lineup is not None:
            worker.lineup_revision = lineup.revision
            worker.answer.extend(lineup.versions)
            worker.champion = lineup.champion
            worker.challengers.extend(lineup.challengers)
            worker.policy_version = lineup.policy.version
            if lineup.canary is not None:
                worker.canary = lineup.canary.version
                worker.canary_share = lineup.canary.draw.share
        for state in self._watcher.states:
            worker.versions.add(
                version=state.version,
                status=pb.VersionStatus.Value(state.status.name),
                reason=state.reason,
                since_ms=state.since_ms,
            )
        return worker
