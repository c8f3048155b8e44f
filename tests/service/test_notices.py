"""Notices: what living workers told, whole, and nothing of those that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from service.notices import Notices
from tests.tree.files import ROOT

_POST_AND_DIE = """
import os, sys
from pathlib import Path
from service.notices import Notices
Notices(Path(sys.argv[1]), "5000", 77).post(b"last words")
os.kill(os.getpid(), 9)
"""


def test_workers_of_a_group_read_one_another(tmp_path: Path) -> None:
    """Each sees what the others of its group posted last, and not its own."""
    one, other, stranger = (Notices(tmp_path, group, n) for n, group in enumerate(("5000", "5000", "50001")))
    for notice, content in ((one, b"1"), (other, b"2"), (stranger, b"3"), (one, b"1 again")):
        notice.post(content)
    assert (one.others(), other.others(), stranger.others()) == ([b"2"], [b"1 again"], [])


def test_a_notice_is_gone_once_withdrawn(tmp_path: Path) -> None:
    """Whoever leaves leaves nothing; leaving without having come is harmless."""
    one, other = Notices(tmp_path, "5000", 1), Notices(tmp_path, "5000", 2)
    one.withdraw()
    one.post(b"1")
    one.withdraw()
    one.withdraw()
    assert other.others() == []
    assert list(tmp_path.iterdir()) == []


def test_a_notice_that_was_removed_is_known_to_be_gone(tmp_path: Path) -> None:
    """Whoever clears the directory does not silence a worker: it sees that its notice does not stand any more."""
    one = Notices(tmp_path, "5000", 1)
    assert not one.stands
    one.post(b"1")
    assert one.stands
    (tmp_path / "5000-1.json").unlink()
    assert not one.stands


def test_the_notice_of_a_process_that_was_killed_is_stale(tmp_path: Path) -> None:
    """It is not read, whatever became of the number of its process, and whoever looks removes it."""
    subprocess.run([sys.executable, "-c", _POST_AND_DIE, str(tmp_path)], check=False, cwd=ROOT)
    assert [path.name for path in tmp_path.iterdir()] == ["5000-77.json"]
    assert Notices(tmp_path, "5000", os.getpid()).others() == []
    assert list(tmp_path.iterdir()) == []


def test_a_notice_is_read_whole_while_it_is_replaced(tmp_path: Path) -> None:
    """A reader sees the old or the new, never a part, and never takes a living worker for a dead one."""
    writer, reader = Notices(tmp_path, "5000", 1), Notices(tmp_path, "5000", 2)
    writer.post(b"x" * 1_000)
    seen: list[list[bytes]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(reader.others())

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(300):
        writer.post(bytes([97 + n % 26]) * 1_000)
    done.set()
    thread.join()
    assert {len(contents) for contents in seen} == {1}
    assert all(len(content) == 1_000 and len(set(content)) == 1 for (content,) in seen)
