"""The policies of a registry on an object store: each is one object, created on condition and never replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from service.errors import BadSetting
from service.registry.bucket import Bucket
from service.registry.policy_file import FOLDER, Content, holds_policy, place_policy, policy_name, policy_numbers

CREATE_ATTEMPTS: Final = 100
"""Numbers that a publisher tries because others took them."""


def published_policies(bucket: Bucket) -> set[int]:
    """Return the numbers of the policies there. Cost: a request for each 1,000."""
    return set(policy_numbers([one.name.rpartition("/")[2] for one in bucket.listed(FOLDER)]))


def create_policy(bucket: Bucket, content: Content) -> int:
    """Create a policy under the next number and return it; `content` makes its file for a number.

    Whoever creates the object of a number first has it. A lost answer costs a number, which holds the same policy.
    """
    first = max(published_policies(bucket), default=0) + 1
    for version in range(first, first + CREATE_ATTEMPTS):
        if bucket.create(f"{FOLDER}/{policy_name(version)}", content(version)):
            return version
    raise BadSetting(f"registry {bucket.url}: others took {CREATE_ATTEMPTS} numbers of policies meanwhile; try again")


def bring_policy(registry: Path, bucket: Bucket, version: int) -> None:
    """Bring a policy that is not here undamaged; what is wrong with it the loader says. Needs the registry's lock."""
    if version and not holds_policy(registry, version):
        seen = bucket.read(f"{FOLDER}/{policy_name(version)}")
        if seen is not None:
            place_policy(registry, version, seen.content)
