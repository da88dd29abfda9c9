"""Compiled modules: made once, kept privately, and believed only under our own seal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker.runtimes.wasm_abi import Unfit
from broker.runtimes.wasm_cache import KEY, ModuleCache
from tests.runtimes.wasm_guests import Data, answer, guest

# Asks for the engine from eight threads at once, and prints how many there are.
ASKERS = """
import threading
from broker.runtimes.wasm_engine import engine
found, begin = set(), threading.Barrier(8)
def ask():
    begin.wait()
    found.add(id(engine()))
threads = [threading.Thread(target=ask) for _ in range(8)]
[each.start() for each in threads]
[each.join() for each in threads]
print(len(found))
"""
# Loads the file it is given through the folder it is given, and prints how often it compiled.
LOADER = """
import sys
from pathlib import Path
from broker.runtimes.wasm_cache import ModuleCache
cache = ModuleCache(Path(sys.argv[1]) / "cache", Path(sys.argv[1]) / "wasm.key")
cache.load(Path(sys.argv[2]).read_bytes())
print(cache.statistics.misses)
"""


def cache(folder: Path, budget: int = 1 << 30) -> ModuleCache:
    return ModuleCache(folder / "cache", folder / "state" / KEY, budget)


def other(number: int) -> bytes:
    """A module that no other number gives."""
    data = Data()
    return guest(answer(data, {"result": number}), data=data)


def kept(folder: Path) -> Path:
    (found,) = (folder / "cache").glob("*.cwasm")
    return found


def test_a_module_is_compiled_once_and_then_found_in_memory_and_on_disk(tmp_path: Path) -> None:
    first = cache(tmp_path)
    assert first.load(guest()) is first.load(guest())
    assert (first.statistics.misses, first.statistics.hits, first.statistics.disk_hits) == (1, 1, 0)
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.misses, again.statistics.hits, again.statistics.disk_hits) == (0, 0, 1)


def test_eight_threads_that_want_the_same_module_compile_it_once(tmp_path: Path) -> None:
    shared, wasm = cache(tmp_path), guest()
    threads = [threading.Thread(target=shared.load, args=(wasm,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (shared.statistics.misses, shared.statistics.hits) == (1, 7)


def test_threads_that_need_the_first_engine_at_once_get_the_same_one() -> None:
    done = subprocess.run([sys.executable, "-c", ASKERS], capture_output=True, timeout=40, check=True)
    assert int(done.stdout) == 1


def test_a_module_that_cannot_be_compiled_fails_for_everyone_who_waits(tmp_path: Path) -> None:
    shared, failed = cache(tmp_path), list[bool]()

    def load() -> None:
        with pytest.raises(Unfit):
            shared.load(b"\0asm\1\0\0\0\1\1\1")
        failed.append(True)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(failed) == 4


def test_processes_that_want_the_same_module_compile_it_once(tmp_path: Path) -> None:
    (tmp_path / "g.wasm").write_bytes(guest())
    words = [sys.executable, "-c", LOADER, str(tmp_path), str(tmp_path / "g.wasm")]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(4)]
    said = [each.communicate(timeout=40)[0] for each in running]
    assert sorted(map(int, said)) == [0, 0, 0, 1]


def test_what_was_not_used_for_longest_leaves_memory_first(tmp_path: Path) -> None:
    one, two, three = other(1), other(2), other(3)
    probe = cache(tmp_path)
    probe.load(one)
    small = cache(tmp_path, budget=int(probe.statistics.bytes * 2.5))
    for wasm in (one, two, one, three):
        small.load(wasm)
    found = small.statistics
    assert (found.entries, found.evictions) == (2, 1)
    hits = found.hits
    small.load(one)
    assert found.hits == hits + 1


def test_one_module_above_the_budget_is_still_kept(tmp_path: Path) -> None:
    small = cache(tmp_path, budget=1)
    assert small.load(guest()) is small.load(guest())


@pytest.mark.parametrize("place", [0, 40, 200, -1], ids=["seal", "head", "code", "end"])
def test_a_file_with_one_bit_turned_over_is_never_loaded(tmp_path: Path, place: int) -> None:
    cache(tmp_path).load(guest())
    path = kept(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    again = cache(tmp_path)
    again.load(guest())
    assert again.statistics.refused >= 1
    assert again.statistics.misses == 1


def test_a_file_cut_short_is_made_anew(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    path = kept(tmp_path)
    os.truncate(path, 20)
    again = cache(tmp_path)
    again.load(guest())
    assert again.statistics.misses == 1
    assert path.stat().st_size > 1000


def test_the_code_of_one_module_is_not_taken_for_another(tmp_path: Path) -> None:
    one, two = other(1), other(2)
    cache(tmp_path).load(one)
    forged = kept(tmp_path)
    cache(tmp_path).load(two)
    (own,) = [path for path in (tmp_path / "cache").glob("*.cwasm") if path != forged]
    own.write_bytes(forged.read_bytes())
    again = cache(tmp_path)
    again.load(two)
    assert (again.statistics.disk_hits, again.statistics.misses) == (0, 1)


def test_code_sealed_by_another_key_is_not_loaded(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    (tmp_path / "state" / KEY).write_bytes(b"k" * 32)
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.disk_hits, again.statistics.misses) == (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files are another thing there")
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    (tmp_path / "state" / KEY).chmod(0o644)
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.disk_hits, again.statistics.misses) == (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files are another thing there")
def test_key_and_code_are_readable_by_their_user_only(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    for path in (kept(tmp_path), tmp_path / "state" / KEY, tmp_path / "cache"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files are another thing there")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_code_that_others_may_write_is_not_loaded(tmp_path: Path, what: str) -> None:
    cache(tmp_path).load(guest())
    (kept(tmp_path) if what == "file" else tmp_path / "cache").chmod(0o777)
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.disk_hits, again.statistics.misses) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="ONLY ROOT CAN GIVE A FILE AWAY")
def test_code_that_another_user_owns_is_not_loaded(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    os.chown(kept(tmp_path), 65534, 65534)
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.disk_hits, again.statistics.refused >= 1, again.statistics.misses) == (0, True, 1)


def test_a_link_in_place_of_code_is_not_followed(tmp_path: Path) -> None:
    cache(tmp_path).load(guest())
    path = kept(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    again = cache(tmp_path)
    again.load(guest())
    assert (again.statistics.disk_hits, again.statistics.misses) == (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files are another thing there")
def test_a_folder_that_others_may_write_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    cache(tmp_path).load(guest())
    assert list((tmp_path / "cache").glob("*.cwasm")) == []


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    found = cache(tmp_path)
    assert found.load(guest()) is found.load(guest())


def test_a_link_in_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"k" * 32)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "state" / KEY).symlink_to(tmp_path / "elsewhere")
    cache(tmp_path).load(guest())
    assert list((tmp_path / "cache").glob("*.cwasm")) == []


def test_a_file_that_is_no_module_is_refused_each_time_and_kept_nowhere(tmp_path: Path) -> None:
    found = cache(tmp_path)
    for _ in range(2):
        with pytest.raises(Unfit):
            found.load(b"\0asm\1\0\0\0\1\1\1")
    assert found.statistics.entries == 0


def test_files_replaced_while_their_module_is_in_use_hurt_nobody(tmp_path: Path) -> None:
    program = cache(tmp_path).load(guest())
    kept(tmp_path).write_bytes(b"\0" * 100_000)
    from broker.runtimes.wasm_engine import Control
    from broker.runtimes.wasm_world import NOTHING

    control = Control(5)
    instance = program.guest(64 << 20, control, NOTHING)
    assert instance.handle(b"{}", control) == b'{"result":"echoed"}'
    instance.close()
