"""`make fuzz SECONDS=60`: for half of the time mutated frames against a session in memory, then generated Lua programs.

After every handful of frames a good request must be answered, exactly once, and nothing may have gone wrong inside.
The first handful that breaks this is made as small as it can be and printed, to be kept as a named frame in
`tests/hostile/frames.py`. A program that hangs, or after which its plugin does not serve, is printed whole, for
`tests/hostile/lua_attacks.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from broker.errors import BrokerError
from broker.faces.mcp import Session
from broker.stream import MemoryStream
from tests.fuzz.mutations import mutated
from tests.fuzz.programs import Program
from tests.hostile.corpus import FRAMES
from tests.hostile.stalls import Stalls
from tests.hostile.test_lua_attacks import GRACE, guest, outcome
from tests.pretend import House

BATCH = 20  # frames before a good request
SMALL = 4096  # bytes; the great frames of the corpus are for the suite, they only slow this down
PATIENCE = 5.0  # seconds for the good request
SCRIPT = 0.02  # seconds of one program
GOOD = "\nbroker.tool{name='good', run=function() return 'good' end}"


class Target:
    """One session over one plugin that echoes."""

    def __init__(self) -> None:
        self.house = House("two", "hold")
        self.stream, far = MemoryStream.pair()
        self.got: list[bytes] = []
        self.news = asyncio.Event()
        self.ended = False
        self.session = Session(self.house.router, far, key="fuzz", max_frame=8 << 20, on_end=self.end)
        self.session.start()
        self.stream.start(self.read, self.end)

    def end(self) -> None:
        self.ended = True
        self.news.set()

    def read(self, data: bytes) -> None:
        self.got.append(data)
        self.news.set()

    async def answers(self, id: str) -> bool:
        """Whether a good request is answered, once."""
        self.stream.send(b'\n{"jsonrpc":"2.0","id":"%b","method":"no/such"}\n' % id.encode())
        try:
            async with asyncio.timeout(PATIENCE):
                while id.encode() not in b"".join(self.got):
                    if self.ended:
                        return False
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return False
        lines = b"".join(self.got).split(b"\n")
        self.got.clear()
        mine = [line for line in lines if line and json.loads(line).get("id") == id]
        return len(mine) == 1


async def holds(frames: Sequence[bytes], trouble: list[Any]) -> bool:
    """Whether a fresh session survives these frames."""
    target = Target()
    for frame in frames:
        target.stream.send(frame + b"\n")
    good = await target.answers("good") and not trouble
    await target.house.router.stop(0)
    return good


async def smallest(frames: list[bytes], trouble: list[Any]) -> list[bytes]:
    """Without the frames that are not needed to break it."""
    for frame in list(frames):
        fewer = [each for each in frames if each is not frame]
        trouble.clear()
        if not await holds(fewer, trouble):
            frames = fewer
    return frames


async def run(seconds: float, seed: int) -> int:
    random, count, until = Random(seed), 0, time.monotonic() + seconds
    frames = seeds()
    trouble: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    while time.monotonic() < until:
        batch = [mutated(random.choice(frames), frames, random) for _ in range(BATCH)]
        count += len(batch)
        if not await holds(batch, trouble):
            print(f"broken after {count} frames, by {await smallest(batch, trouble)!r}\n{trouble!r}")
            return 1
    print(f"{count} frames in {seconds:g} s, nothing broke (--seed {seed})")
    return 0


def seeds() -> list[bytes]:
    """The small named frames, in both eras."""
    named = [frame for frame in FRAMES.values() if isinstance(frame.data, bytes)]
    found = [frame.bytes("7", era).rstrip(b"\n") for frame in named for era in ("legacy", "modern")]
    return [frame for frame in found if len(frame) < SMALL]


async def programs(seconds: float, seed: int) -> int:
    """Generated Lua programs, each in a state of its own in this process."""
    first, count, until = Random(seed).getrandbits(40), 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            program = Program(first + count)
            count += 1
            if why := await broken(Path(folder), program):
                print(f"program {first + count - 1} {why}:\n{program.script}")
                return 1
    print(f"{count} programs in {seconds:g} s, nothing broke (--seed {seed})")
    return 0


async def broken(folder: Path, program: Program) -> str:
    """What a program broke; empty: nothing."""
    evil = guest(folder, "evil", program.script + GOOD, "inprocess", SCRIPT)
    try:
        await evil.begin()
        with Stalls() as stalls:
            await outcome(evil, "p")
        if stalls.ours > SCRIPT + GRACE or evil.place != "inprocess":
            return f"ran for {stalls.ours:.3f} s"
        return "" if await outcome(evil, "good") == "good" else "took its plugin with it"
    except (BrokerError, TimeoutError) as error:
        return str(error) or type(error).__name__
    finally:
        await evil.stop(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("frames", "programs"), help="both if unsaid")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    chosen = parser.parse_args()
    logging.getLogger("broker").setLevel(logging.CRITICAL)
    works = [run, programs] if chosen.what is None else [{"frames": run, "programs": programs}[chosen.what]]
    return max([asyncio.run(work(chosen.seconds / len(works), chosen.seed)) for work in works])


if __name__ == "__main__":
    sys.exit(main())
