"""Processes that die by kill -9 at a chosen step of a change of a registry.

One process is started and forks a child for each order, so that a hundred deaths take seconds. A step is what changes
the disk (a file that is opened for writing, renamed or removed, a directory that is made or removed), before it is
done, or a request to the object store: see `tests.registry.bucket`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Final, Self

from service.registry.artifact import publish, read_artifact, version_path
from service.registry.policy_file import publish_policy
from service.registry.policy_spec import parsed_policy
from service.registry.promotion import activate_policy, promote, rollback, set_challengers
from service.registry.remote import pull
from service.registry.retirement import retire
from tests.tree.files import ROOT

POLICY: Final = '[[limits]]\ncode = "large"\namount_more_than_minor = 9\ndecision = "REVIEW"\ntext = "large"\n'
"""What is published as a policy."""

STEPS: Final = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Nursery:
    """Runs orders in children; use it as a context."""

    def __enter__(self) -> Self:
        """Start the process that forks."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def run(self, registry: Path, act: str, version: int = 0, die_at: int = 0, plan: str = "") -> bool:
        """Return whether a child did this to the end, or False when it was killed; it must do one of both.

        It dies before its step `die_at` (0: never); `plan` is written to a file for the object store, with the pid.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"registry": str(registry), "act": act, "version": version, "die_at": die_at, "plan": plan}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in {0, -signal.SIGKILL}, status
        return status == 0


def act(registry: Path, order: dict[str, Any]) -> None:
    """Do what an order says."""
    version = order["version"]
    match order["act"]:
        case "publish":
            one = read_artifact(version_path(registry, 1))
            publish(registry, one.model_text.decode(), one.manifest, one.golden, "<title>again</title>")
        case "promote":
            promote(registry, version, "child", "a test")
        case "shadow":
            set_challengers(registry, [version] if version else [], "child", "a test")
        case "rollback":
            rollback(registry, "child", "a test")
        case "retire":
            retire(registry, version, "child", "a test")
        case "policy":
            number = publish_policy(registry, parsed_policy(POLICY, "p.toml"), POLICY, "child", 1)
            activate_policy(registry, number, "child", "a test")
        case "pull":
            pull(registry)


def _child(order: dict[str, Any]) -> None:
    steps = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in STEPS or (event == "open" and arguments[2] and arguments[2] & _WRITING):
            steps += 1
            if steps == order["die_at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    if order["plan"]:
        Path(order["plan"].partition(" ")[0]).write_text(f"{os.getpid()} {order['plan'].partition(' ')[2]}")
    sys.addaudithook(step)
    try:
        act(Path(order["registry"]), order)
    except BaseException:  # noqa: BLE001  a child that fails must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Fork a child for each line of standard input, and say how it ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  the answer to the order


if __name__ == "__main__":
    main()
