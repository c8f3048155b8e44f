"""The peer: Feast with its Aerospike store, and LightGBM, behind the same kind of gRPC server; in a venv of its own.

    python -m tests.bench.feast_peer load  JOB
    python -m tests.bench.feast_peer serve JOB --threads 4

Feast is set up as its documentation asks for speed, and is spared work that our service does: its views hold
finished features, so that it sums no windows and needs no on-demand view; its registry is cached for ever; values
are taken from its protobuf answer, which is quicker than `to_dict`; the model is called by the prepared call of
LightGBM's C library, as ours is. It reads four records, one for each entity, as four feature views ask for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

VIEW_TTL: Final = timedelta(days=3650)


class FeastJob(NamedTuple):
    """What the peer is set up with: where things are, and what it holds."""

    repo: str
    """A scratch directory."""
    host: str
    """host:port of the Aerospike server."""
    namespace: str
    model: str
    """LightGBM's text."""
    names: list[str]
    """The features in the order of the row."""
    views: dict[str, list[str]]
    """For each kind of entity the features that its view holds."""
    values: dict[str, dict[str, list[float]]]
    """For each kind, by id, the values of its view."""

    def write(self, path: Path) -> Path:
        """Write it for the peer's own processes."""
        path.write_text(json.dumps(self._asdict()), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> FeastJob:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def open_store(job: FeastJob) -> Any:
    """Return Feast's store as this job sets it up."""
    from feast import FeatureStore, RepoConfig  # noqa: PLC0415  the venv of the peer alone has it
    from feast.repo_config import RegistryConfig  # noqa: PLC0415

    host, port = job.host.rsplit(":", 1)
    online = {"type": "aerospike", "hosts": [(host, int(port))], "namespace": job.namespace, "ttl_seconds": 0}
    return FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=RegistryConfig(path=f"{job.repo}/registry.db", cache_ttl_seconds=0),
            online_store=online,
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
    )


def load(job: FeastJob) -> None:
    """Declare entities, views and the feature service, and write every entity's values."""
    import pandas as pd  # noqa: PLC0415
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType  # noqa: PLC0415
    from feast.types import Float64  # noqa: PLC0415

    store = open_store(job)
    views = []
    for kind, names in job.views.items():
        entity = Entity(name=kind, join_keys=[f"{kind}_id"], value_type=ValueType.STRING)
        source = FileSource(name=f"{kind}_source", path=f"{job.repo}/{kind}.parquet", timestamp_field="at")
        fields = [Field(name=name, dtype=Float64) for name in names]
        view = FeatureView(name=kind, entities=[entity], ttl=VIEW_TTL, schema=fields, source=source, online=True)
        store.apply([entity, view])
        views.append(view)
    store.apply([FeatureService(name="fraud", features=views)])
    now = datetime.now(UTC)
    for kind, names in job.views.items():
        columns: dict[str, Sequence[object]] = {f"{kind}_id": list(job.values[kind])}
        for place, name in enumerate(names):
            columns[name] = [values[place] for values in job.values[kind].values()]
        frame = pd.DataFrame({**columns, "at": now, "created": now})
        store.write_to_online_store(kind, frame)


def serve_feast(job: FeastJob, threads: int) -> None:
    """Serve scores: parse, read four views, predict, answer."""
    from service.pb import fraud_pb2 as pb  # noqa: PLC0415
    from service.registry.booster import Booster  # noqa: PLC0415
    from tests.bench.handlers import serve  # noqa: PLC0415

    store = open_store(job)
    service = store.get_feature_service("fraud")
    raw_score = Booster(Path(job.model).read_bytes()).raw_score
    names = job.names
    read = store.get_online_features

    def score(request: bytes, _context: object) -> bytes:
        purchase = pb.ScoreRequest.FromString(request).purchase
        ids = {
            "user_id": purchase.user_id,
            "seller_id": purchase.seller_id,
            "item_id": purchase.item_id,
            "card_id": purchase.card_hash,
        }
        answer = read(features=service, entity_rows=[ids]).proto
        values = {
            name: result.values[0].double_val
            for name, result in zip(answer.metadata.feature_names.val, answer.results, strict=True)
        }
        row = [values[name] for name in names]
        reply: bytes = pb.ScoreResponse(purchase_id=purchase.purchase_id, score=raw_score(row)).SerializeToString()
        return reply

    serve(score, threads)


def main() -> None:
    """Do one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("load", "serve"))
    parser.add_argument("job", type=Path, help="what `FeastJob.write` wrote")
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    job = FeastJob.read(options.job)
    if options.step == "load":
        load(job)
    else:
        serve_feast(job, options.threads)


if __name__ == "__main__":
    main()
