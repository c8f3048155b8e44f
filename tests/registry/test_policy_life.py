"""The life of a policy: published once, activated, rolled back, followed like a model, carried by remotes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.core.features import BY_NAME, FEATURES
from service.errors import BadArtifact, BadSetting
from service.registry.lineup_file import LineupSpec, read_history, read_lineup
from service.registry.manifest import FeatureUse, ThresholdChoice
from service.registry.policy_file import (
    canonical,
    checksum,
    policies,
    policy_path,
    publish_policy,
    read_policy,
    rules_of,
)
from service.registry.policy_spec import parsed_policy
from service.registry.promotion import activate_policy, promote, rollback, set_blend, set_canary
from service.registry.remote import pull
from service.registry.watcher import FIRST_RETRY_MS, Watcher
from service.settings import RegistrySettings
from tests.registry.bucket import Remote
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]
BUSY = """[[limits]]
code = "busy-card"
feature = "purchases_1h_by_card"
more_than = 5
decision = "REVIEW"
text = "the card is busy"
"""
LARGE = BUSY + '[[limits]]\ncode = "large"\namount_more_than_minor = 9\ndecision = "REVIEW"\ntext = "large"\n'


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a registry with two versions, the first one champion."""
    for seed in range(2):
        build_artifact(tmp_path, FOUR, seed=seed, trees=2)
    promote(tmp_path, 1, "ann", "")
    return tmp_path


class Watching:
    """A watcher of a registry, on a clock that a test sets."""

    def __init__(self, registry: Path, remote: str = "") -> None:
        """Watch; nothing was looked at yet."""
        self.time_ms = 5_000
        self.watcher = Watcher(RegistrySettings(path=registry, remote=remote), "attempts", lambda: self.time_ms)

    def look(self) -> tuple[int, int]:
        """Look, and return who answers and which policy decides; zeros when nothing is live."""
        self.watcher.pull()
        self.watcher.refresh()
        lineup = self.watcher.lineup
        return (0, 0) if lineup is None else (lineup.versions[0], lineup.policy.version)


def published(registry: Path, toml: str = BUSY) -> int:
    """Publish a policy and return its number."""
    return publish_policy(registry, parsed_policy(toml, "p.toml"), toml, "ann", 7)


def activated(registry: Path, toml: str = BUSY) -> int:
    """Publish and activate a policy and return its number."""
    number = published(registry, toml)
    activate_policy(registry, number, "ann", "a test")
    return number


def changed(registry: Path, number: int, change: Callable[[dict[str, object]], object]) -> bytes:
    """Change the file of a policy, with a checksum that fits, and return what it was."""
    before = policy_path(registry, number).read_bytes()
    values = json.loads(before)
    values.pop("checksum")
    change(values)
    policy_path(registry, number).write_bytes(canonical({**values, "checksum": checksum(values)}))
    return before


def test_a_published_policy_is_what_was_written(registry: Path) -> None:
    """It keeps the text, what it means, and the fingerprints of its features; nothing goes live by it."""
    number = published(registry)
    file = read_policy(registry, number)
    assert (file.version, file.who, file.at_ms, file.source) == (1, "ann", 7, BUSY)
    assert file.features == (FeatureUse.of(BY_NAME["purchases_1h_by_card"]),)
    assert file.rules() == parsed_policy(BUSY, "p.toml").rules(1)
    assert read_lineup(registry) == LineupSpec(revision=1, champion=1)


def test_the_same_text_is_the_same_policy(registry: Path) -> None:
    """It gets a number once; another text gets the next one, and none is ever written again."""
    content = [policy_path(registry, published(registry)).read_bytes()]
    assert [published(registry), published(registry, LARGE), published(registry)] == [1, 2, 1]
    assert policies(registry) == [1, 2]
    assert policy_path(registry, 1).read_bytes() == content[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "policy 1: its file is damaged: it is no published policy"),
        (b'{"checksum": "0"}', "policy 1: its file is damaged: it does not have the checksum that it states"),
    ],
)
def test_a_damaged_file_is_refused(registry: Path, content: bytes, sentence: str) -> None:
    """What was changed by hand or by a disk is no policy."""
    policy_path(registry, published(registry)).write_bytes(content)
    with pytest.raises(BadArtifact, match=sentence):
        rules_of(registry, 1)


def test_a_bit_that_fell_over_is_noticed(registry: Path) -> None:
    """A limit of another size does not have the checksum."""
    path = policy_path(registry, published(registry))
    path.write_bytes(path.read_bytes().replace(b'"more_than": 5', b'"more_than": 7'))
    with pytest.raises(BadArtifact, match="does not have the checksum"):
        rules_of(registry, 1)


def test_a_policy_of_another_number_or_another_release_is_refused(registry: Path) -> None:
    """The sentence says what this release does not understand."""
    number = published(registry)
    before = changed(registry, number, lambda values: values.update(version=3))
    with pytest.raises(BadArtifact, match="policy 1: its file is that of policy 3"):
        rules_of(registry, 1)
    policy_path(registry, number).write_bytes(before)
    changed(registry, number, lambda values: values.update(since="tomorrow"))
    with pytest.raises(BadArtifact, match="this release does not understand since"):
        rules_of(registry, 1)


def test_a_feature_that_has_changed_since_is_refused(registry: Path) -> None:
    """A limit on one definition is no limit on another one; publishing the text again makes a policy of the new one."""
    other = {"name": "purchases_1h_by_card", "fingerprint": "f" * 16}
    changed(registry, published(registry), lambda values: values.update(features=[other]))
    with pytest.raises(BadArtifact, match="'purchases_1h_by_card' has changed since the policy was published"):
        rules_of(registry, 1)
    assert published(registry) == 2


def test_promotions_blends_and_canaries_keep_the_policy(registry: Path) -> None:
    """Whatever answers, the policy decides until somebody says otherwise."""
    number = activated(registry)
    lineups = [
        set_canary(registry, 2, 0.5, "ann", ""),
        set_blend(registry, (1, 2), "ann", ""),
        promote(registry, 2, "ann", ""),
    ]
    assert [lineup.policy for lineup in lineups] == [number] * 3


def test_a_rollback_undoes_an_activation_and_then_what_came_before(registry: Path) -> None:
    """Promotions and activations are undone one by one, the newest first."""
    promote(registry, 2, "ann", "")
    activated(registry)
    activated(registry, LARGE)
    steps = [rollback(registry, "ann", "") for _ in range(3)]
    assert [(lineup.champion, lineup.policy) for lineup in steps] == [(2, 1), (2, 0), (1, 0)]
    with pytest.raises(BadSetting, match="nothing to roll back to"):
        rollback(registry, "ann", "")
    assert [change.lineup.policy for change in read_history(registry).values()] == [0, 0, 1, 2, 1, 0, 0]


def test_without_a_policy_the_lineup_is_as_earlier_releases_read_it(registry: Path) -> None:
    """A lineup names its policy only when it has one."""
    activated(registry)
    assert json.loads((registry / "lineup.json").read_bytes())["policy"] == 1
    activate_policy(registry, 0, "ann", "over")
    assert "policy" not in json.loads((registry / "lineup.json").read_bytes())


@pytest.mark.parametrize(
    ("policy", "why", "sentence"),
    [
        (0, "over", "no policy is active"),
        (9, "good", "policy 9 cannot go live: policy 9 is not in the registry"),
        (1, " ", "is changed for a reason: say why"),
    ],
)
def test_what_cannot_be_activated(registry: Path, policy: int, why: str, sentence: str) -> None:
    """It is said in a sentence, and nothing is changed."""
    published(registry)
    with pytest.raises((BadSetting, BadArtifact), match=sentence):
        activate_policy(registry, policy, "ann", why)
    assert read_lineup(registry) == LineupSpec(revision=1, champion=1)


def test_an_active_policy_is_not_activated_again(registry: Path) -> None:
    """There would be nothing to tell in the history."""
    activated(registry)
    with pytest.raises(BadSetting, match="policy 1 is the one that decides"):
        activated(registry)


def test_one_threshold_that_does_not_fit_the_models_other_one_is_refused(registry: Path) -> None:
    """Whoever sets one of them is told that both are needed."""
    number = published(registry, "[thresholds]\nreview = 0.95")
    with pytest.raises(BadArtifact, match=r"review from 0\.95 and decline from 0\.9, .* version 1: set both"):
        activate_policy(registry, number, "ann", "a test")


def test_an_activation_is_followed_and_undone(registry: Path) -> None:
    """The watcher takes up a policy, its features and its thresholds, and lets go of them after a rollback."""
    watching = Watching(registry)
    assert watching.look() == (1, 0)
    activated(registry, BUSY + "[thresholds]\nreview = 0.2\ndecline = 0.4")
    assert watching.look() == (1, 1)
    lineup = watching.watcher.lineup
    assert lineup is not None
    assert lineup.names == (*(feature.name for feature in FOUR), "purchases_1h_by_card")
    assert lineup.thresholds == (0.2, 0.4)
    rollback(registry, "ann", "")
    assert watching.look() == (1, 0)
    assert (watching.watcher.switches, watching.watcher.loads, watching.watcher.reason) == (3, 1, "")


def test_a_canary_meets_the_same_policy(registry: Path) -> None:
    """Whoever answers for a user, the same limits hold, on the same row."""
    activated(registry)
    set_canary(registry, 2, 0.5, "ann", "")
    watching = Watching(registry)
    watching.look()
    lineup = watching.watcher.lineup
    assert lineup is not None
    assert lineup.canary is not None
    canary = lineup.canary.lineup
    assert (canary.policy.version, canary.row_layout) == (1, lineup.row_layout)


def test_a_bad_policy_never_unseats_a_good_one(registry: Path) -> None:
    """What was live stays live, with its version, and the reason says why; mended, it goes live by itself."""
    watching = Watching(registry)
    activated(registry)
    assert watching.look() == (1, 1)
    path = policy_path(registry, published(registry, LARGE))
    activate_policy(registry, 2, "ann", "a test")
    promote(registry, 2, "ann", "")
    content = path.read_bytes()
    path.write_bytes(b"broken")
    with capture_logs() as lines:
        assert [watching.look(), watching.look()] == [(1, 1), (1, 1)]
    reason = "policy 2 cannot decide: its file is damaged: it is no published policy"
    assert watching.watcher.reason == reason
    assert [line["event"] for line in lines] == ["policy not loaded", "version loaded", "lineup not followed"]
    path.write_bytes(content)
    assert watching.look() == (2, 2)
    assert (watching.watcher.reason, watching.watcher.policy_failures) == ("", 1)


def test_a_policy_that_failed_is_tried_again_later(registry: Path) -> None:
    """While its file stays as it is, the waits between tries grow."""
    activated(registry)
    policy_path(registry, 1).write_bytes(b"broken")
    watching = Watching(registry)
    assert watching.look() == (0, 0)
    tries = []
    for _ in range(8):
        tries.append(watching.watcher.policy_failures)
        watching.time_ms += FIRST_RETRY_MS
        watching.look()
    assert tries == [1, 2, 2, 3, 3, 3, 3, 4]


def test_a_policy_that_nobody_wants_any_more_matters_to_nobody(registry: Path) -> None:
    """After a rollback the reason is gone."""
    watching = Watching(registry)
    watching.look()
    activated(registry)
    policy_path(registry, 1).write_bytes(b"broken")
    assert watching.look() == (1, 0)
    rollback(registry, "ann", "")
    assert (watching.look(), watching.watcher.reason) == ((1, 0), "")


def test_a_later_model_with_other_thresholds_keeps_to_the_order(registry: Path) -> None:
    """Where a policy reviews from above what a later model declines from, nothing is left to review."""
    activated(registry, "[thresholds]\nreview = 0.6")
    version = build_artifact(registry, FOUR, trees=2, thresholds=ThresholdChoice(review=0.1, decline=0.5, why="a test"))
    promote(registry, version, "ann", "")
    watching = Watching(registry)
    assert watching.look() == (version, 1)
    assert watching.watcher.lineup is not None
    assert watching.watcher.lineup.thresholds == (0.5, 0.5)


def test_remote_registries_carry_policies(remote: Remote, tmp_path: Path) -> None:
    """What one copy publishes and activates, another one serves; both know all policies, each by one number."""
    mine = remote.copy()
    promote(mine, build_artifact(mine, FOUR, trees=2), "ann", "")
    here = Watching(tmp_path / "watched", remote.url)
    assert here.look() == (1, 0)
    assert activated(mine) == 1
    assert here.look() == (1, 1)
    other = remote.seen()
    assert policies(other) == [1]
    assert [published(other, LARGE), published(other)] == [2, 1]
    activate_policy(mine, 2, "ann", "a test")
    assert here.look() == (1, 2)
    policy_path(mine, 2).write_bytes(b"broken here")
    assert rules_of(mine, 2) == rules_of(other, 2)


def test_a_policy_that_is_lost_here_is_brought_again(remote: Remote) -> None:
    """What is wanted and not here is brought though the lineup did not change."""
    mine = remote.copy()
    promote(mine, build_artifact(mine, FOUR, trees=2), "ann", "")
    activated(mine)
    policy_path(mine, 1).unlink()
    assert pull(mine) is True
    assert policy_path(mine, 1).is_file()
    assert pull(mine) is False
