"""Each plugin is run by what is made for its kind of entry."""

from __future__ import annotations

from broker.core.ports import Identity
from broker.model import Spec
from broker.runtimes.kinds import Kinds
from tests.pretend import PretendRuntime
from tests.runtimes.test_process import Holder


async def test_an_entry_chooses_its_runtime_and_that_is_made_once() -> None:
    others, made = PretendRuntime(), list[PretendRuntime]()

    def make() -> PretendRuntime:
        made.append(PretendRuntime())
        return made[-1]

    kinds = Kinds(others, {".lua": make})
    for name, entry in (("a", "/p/a.lua"), ("b", "/p/B.LUA"), ("c", "/p/c.py"), ("d", None)):
        await kinds.start(Spec(name=name, source="t", entry=entry), Identity(), None, Holder())
    (lua,) = made
    assert [each.spec.name for each in lua.instances] == ["a", "b"]
    assert [each.spec.name for each in others.instances] == ["c", "d"]
