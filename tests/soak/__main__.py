"""`make soak MINUTES=30`: random kills, reloads, and clients coming and going, for as long as a person likes.

It prints what must stay flat (memory, descriptors, threads of the broker) and what must stay zero (lost, wrong and
repeated answers, processes left behind), and ends with 1 if something that must be zero is not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from tests.servers import PLUGINS, SCRIPTED, scripted
from tests.soak.client import Client

CALLERS = 8  # loops of calls at once
KILL, RELOAD, VISIT, SAMPLE = 5.0, 60.0, 15.0, 10.0  # seconds between two of each
COPIES = 5  # of each; a plugin killed more often than 5 times in 3 minutes would be left alone
FLAGS = {"legacy": (), "dual": ("--era", "dual"), "modern": ("--era", "modern"), "deaf": ("--ignore-eof",)}
SERVERS = {f"{name}-{number}": flags for name, flags in FLAGS.items() for number in range(COPIES)}


class Soak:
    def __init__(self, home: Path, minutes: float, seed: int) -> None:
        self.home, self.until, self.random = home, time.monotonic() + 60 * minutes, random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.faults: list[str] = []
        self.samples: list[tuple[float, float, int, int]] = []  # seconds, MB, descriptors, threads
        self.mark = f"soak-{os.getpid()}"
        self.round = 0

    def write_config(self) -> None:
        """The same servers, one of them started with another argument each time."""
        self.round += 1
        parts: list[str] = []
        for number, (name, flags) in enumerate(SERVERS.items()):
            words = [*scripted(*flags)["args"], "--name", self.mark]
            if number == self.round % len(SERVERS):
                words[-1] += f"-{self.round}"
            parts.append(f"[servers.{name}]\ncommand = {scripted()['command']!r}\nargs = {words!r}\nconcurrency = 4\n")
        parts.append(f"[plugins.greet-py]\npath = {str(PLUGINS / 'greet-py')!r}\n")
        draft = self.home / "draft"
        draft.write_text("\n".join(parts))
        draft.replace(self.home / "config.toml")

    async def run(self) -> int:
        self.write_config()
        main = await Client.start(self.home, self.home / "errors")
        await main.ask("tools/list")
        work = [self.calls(main, number) for number in range(CALLERS)]
        chores = [self.kills(main), self.reloads(), self.visits(), self.measures(main)]
        await asyncio.gather(*work, *chores)
        code = await main.leave()
        if code:
            self.faults.append(f"the broker ended with exit code {code}")
        await self.nobody_is_left()
        return self.report(main)

    def over(self) -> bool:
        return time.monotonic() > self.until

    async def calls(self, client: Client, caller: int) -> None:
        number = 0
        while not self.over():
            number += 1
            await self.one_call(client, f"{caller}-{number}")
            await asyncio.sleep(self.random.uniform(0.001, 0.02))

    async def one_call(self, client: Client, text: str) -> None:
        server = self.random.choice(list(SERVERS))
        try:
            reply = await client.call(f"{server}__echo", {"text": text})
        except TimeoutError:
            self.faults.append(f"lost: {server} {text}")
            return
        result = reply.get("result", {})
        if "error" in reply:
            self.seen[f"error {reply['error']['code']}"] += 1
        elif result.get("isError"):
            self.seen[result.get("_meta", {}).get("plugin-broker/error", {}).get("name", "tool error")] += 1
        elif result["content"][0]["text"] != text:
            self.faults.append(f"wrong: {server} {text} answered with {str(result)[:100]}")
        else:
            self.seen["ok"] += 1

    async def kills(self, client: Client) -> None:
        while not self.over():
            await asyncio.sleep(self.random.uniform(0, 2 * KILL))
            mine = [process for process in below(client.process.pid) if serves(process)]
            if mine:
                with suppress(psutil.Error):
                    self.random.choice(mine).send_signal(self.random.choice((signal.SIGKILL, signal.SIGTERM)))
                    self.seen["plugins killed"] += 1

    async def reloads(self) -> None:
        while not self.over():
            await asyncio.sleep(self.random.uniform(0, 2 * RELOAD))
            self.write_config()
            self.seen["reloads"] += 1

    async def visits(self) -> None:
        """Another client comes, calls and leaves, or is killed together with its broker."""
        while not self.over():
            await asyncio.sleep(self.random.uniform(0, 2 * VISIT))
            visitor = await Client.start(self.home, self.home / "errors")
            await visitor.ask("tools/list")
            await asyncio.gather(*(self.one_call(visitor, f"visit-{number}") for number in range(10)))
            if self.random.random() < 0.5:
                visitor.process.kill()
                await visitor.process.wait()
            else:
                await visitor.leave()
            self.seen["visitors"] += 1

    async def measures(self, client: Client) -> None:
        started, process = time.monotonic(), psutil.Process(client.process.pid)
        while not self.over():
            await asyncio.sleep(SAMPLE)
            sample = (time.monotonic() - started, process.memory_info().rss / 1e6, process.num_fds())
            self.samples.append((*sample, process.num_threads()))
            seconds, size, descriptors, threads = self.samples[-1]
            flat = f"{seconds:6.0f} s  {size:6.1f} MB  {descriptors:3d} descriptors  {threads:2d} threads"
            print(flat, dict(self.seen), flush=True)

    async def nobody_is_left(self) -> None:
        left: list[psutil.Process] = []
        for _ in range(20):
            left = [process for process in psutil.process_iter() if serves(process) and self.mark in words(process)]
            if not left:
                return
            await asyncio.sleep(0.1)
        self.faults.append(f"{len(left)} processes are left: {[words(process) for process in left][:3]}")

    def report(self, client: Client) -> int:
        half = self.samples[len(self.samples) // 2 :] or self.samples
        print(f"\nanswers and events: {dict(self.seen)}; notices to the client: {client.notices}")
        for name, at in (("MB", 1), ("descriptors", 2), ("threads", 3)):
            values = [sample[at] for sample in half]
            print(f"second half, {name}: {min(values):.1f} to {max(values):.1f}, {slope(half, at):+.2f} an hour")
        print(f"faults: {len(self.faults)}", *self.faults[:20], sep="\n  ")
        return 1 if self.faults else 0


def below(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def serves(process: psutil.Process) -> bool:
    return str(SCRIPTED) in words(process)


def slope(samples: list[tuple[float, float, int, int]], at: int) -> float:
    """Least squares, for an hour."""
    if len(samples) < 2:
        return 0.0
    middle = sum(sample[0] for sample in samples) / len(samples)
    mean = sum(sample[at] for sample in samples) / len(samples)
    spread = sum((sample[0] - middle) ** 2 for sample in samples)
    return 3600 * sum((sample[0] - middle) * (sample[at] - mean) for sample in samples) / spread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    chosen = parser.parse_args()
    print(f"{chosen.minutes:g} minutes, --seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(Soak(Path(folder), chosen.minutes, chosen.seed).run())


if __name__ == "__main__":
    sys.exit(main())
