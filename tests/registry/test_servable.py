"""Servables: whatever is wrong with a version, it is refused in a sentence that says what."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import Any

import pytest

from service.core.features import FEATURES
from service.errors import BadArtifact
from service.registry.artifact import version_path
from service.registry.golden import Golden
from service.registry.servable import Servable
from tests.registry.build import KNOTS, build_artifact, random_rows

SOME = FEATURES[5:20]


def _load(registry: Path, version: int) -> Servable:
    return Servable.load(version_path(registry, version), "attempts")


def test_a_good_version_loads(tmp_path: Path) -> None:
    """A servable has the features, calibration and thresholds of its manifest."""
    servable = _load(tmp_path, build_artifact(tmp_path, SOME))
    assert servable.version == 1
    assert servable.features == SOME
    assert servable.calibration == KNOTS.calibration()
    assert servable.thresholds == (0.5, 0.9)
    assert servable.explain_s > 0


def test_many_rows_get_the_scores_that_each_gets(tmp_path: Path) -> None:
    """`score_many` and `raw_scores` have the bits of `score` and `raw_score`; of no rows, no scores."""
    servable = _load(tmp_path, build_artifact(tmp_path, SOME))
    rows = [*random_rows(len(SOME)).tolist(), [nan] * len(SOME)]
    assert servable.raw_scores(rows) == [servable.raw_score(row) for row in rows]
    assert servable.score_many(rows) == [servable.score(row) for row in rows]
    assert servable.score_many([]) == []


def test_contributions_come_one_per_feature_and_a_rest(tmp_path: Path) -> None:
    """An explanation names every feature once; features and rest add up to the raw score."""
    servable = _load(tmp_path, build_artifact(tmp_path, SOME))
    row = random_rows(len(SOME))[0].tolist()
    contributions = servable.contributions(row)
    assert len(contributions) == len(SOME) + 1
    assert sum(contributions) == pytest.approx(servable.raw_score(row))


def _set(case: int, **fields: Any) -> Callable[[Golden], Golden]:
    """Return what changes one golden case."""

    def change(golden: Golden) -> Golden:
        cases = list(golden.cases)
        cases[case] = cases[case].model_copy(update=fields)
        return Golden(cases=tuple(cases))

    return change


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_set(0, row=(None,) * len(SOME)), f"golden case 0: {SOME[0].name} is .*, not nan"),
        (_set(1, row=(0.5,) * len(SOME)), "golden case 1: .* is .*, not 0.5"),
        (_set(1, row=(0.5,)), "golden case 1: the row has 1 features, not 15"),
        (_set(2, raw_score=0.25), "golden case 2: the raw score is .*, not 0.25"),
        (_set(2, score=0.25), "golden case 2: the score is .*, not 0.25"),
    ],
)
def test_a_golden_case_that_differs_is_refused(tmp_path: Path, spoil: Callable[[Golden], Golden], says: str) -> None:
    """A row, raw score or score that is not reproduced to the last bit keeps the version out."""
    version = build_artifact(tmp_path, SOME, change_golden=spoil)
    with pytest.raises(BadArtifact, match=says):
        _load(tmp_path, version)


def test_the_last_bit_counts(tmp_path: Path) -> None:
    """A golden score that is one unit in the last place away is a difference."""

    def nudge(golden: Golden) -> Golden:
        case = golden.cases[0]
        return _set(0, raw_score=case.raw_score * (1 + 2**-52))(golden)

    version = build_artifact(tmp_path, SOME, change_golden=nudge)
    with pytest.raises(BadArtifact, match="golden case 0: the raw score"):
        _load(tmp_path, version)


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what changes a file, as a broken disk or a hand would."""

    def edit(path: Path) -> None:
        text = (path / name).read_text()
        assert old in text
        (path / name).write_text(text.replace(old, new))

    return edit


def _edit_and_sign(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what changes a file and its checksum, as a broken publisher would."""

    def edit(path: Path) -> None:
        _edit(name, old, new)(path)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["checksums"][name] = sha256((path / name).read_bytes()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest))

    return edit


def _remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_edit("model.txt", "leaf_value=", "leaf_value=1"), "model.txt does not have the checksum"),
        (_edit("golden.json", "u-1", "u-2"), "golden.json does not have the checksum"),
        (_edit_and_sign("model.txt", "end of trees", "end of trunk"), "not a whole LightGBM model"),
        (_edit_and_sign("model.txt", "Tree=3", "Twig=3"), "3 readable trees, and states 20"),
        (
            _edit_and_sign("model.txt", f"{SOME[2].name} {SOME[3].name}", f"{SOME[3].name} {SOME[2].name}"),
            "other columns",
        ),
        (_edit_and_sign("golden.json", '"cases":', '"faces":'), "golden.json: cases: Field required"),
        (_edit("manifest.json", "attempts", "settlements"), "habits of settlements, .* ingest.habits is attempts"),
        (_edit("manifest.json", SOME[2].name, "novelty"), "feature 'novelty' is not declared"),
        (_edit("manifest.json", SOME[2].fingerprint, "0" * 16), f"feature '{SOME[2].name}' has changed"),
        (_edit("manifest.json", '"format": 1', '"format": 2'), "manifest.json: format: "),
        (_edit("manifest.json", "{", "["), "manifest.json: the file: "),
        (_remove("manifest.json"), "manifest.json cannot be read: No such file"),
        (_remove("model.txt"), "model.txt cannot be read: No such file"),
        (_remove("golden.json"), "golden.json cannot be read: No such file"),
    ],
)
def test_a_spoiled_version_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    """Any file that is missing, changed, or at odds with this release is refused by name."""
    version = build_artifact(tmp_path, SOME)
    spoil(version_path(tmp_path, version))
    with pytest.raises(BadArtifact, match=says):
        _load(tmp_path, version)


def test_the_report_is_for_people(tmp_path: Path) -> None:
    """A version loads without its report."""
    version = build_artifact(tmp_path, SOME)
    (version_path(tmp_path, version) / "report.html").unlink()
    assert _load(tmp_path, version).version == version
