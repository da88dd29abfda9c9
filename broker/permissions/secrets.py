"""Secrets of plugins in the keyring of the operating system, under the service `broker/<plugin>`.

Rule 1: a value goes from a person into the keyring and from there to the one plugin that asked for it and was granted
        it. It is never on a command line, in a file of ours, or in what is printed.
Rule 2: a keyring that only pretends (no backend, one that keeps nothing, plain text nobody chose) is an error.
        A running plugin that was granted a secret may also read, keep and forget it, through its host.
Rule 3: a keyring may ask its user for a password, for as long as he likes: nobody's event loop waits in it, and nobody
        waits for longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from broker.errors import SecretMissing
from broker.permissions.environment import variable

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

PATIENCE = 15.0  # seconds a start waits for the keyring; a start has 30 in all unless its user says otherwise

_RECOMMENDED = 1  # the priority from which the library itself recommends a backend
_HELP = {
    "linux": "Install a keyring and unlock it (Debian: `apt install gnome-keyring dbus`; KDE has its own). Without a "
    "desktop: `dbus-run-session`, then `gnome-keyring-daemon --unlock`. Or choose a backend in keyringrc.cfg: "
    "`keyring --list-backends` shows them and `keyring diagnose` where that file belongs.",
    "darwin": "Unlock the login keychain: `security unlock-keychain`.",
}
_UNLOCK = "Unlock the keyring (on a desktop: its password window), then call again."


class Keyring:
    """The values, asked for beside the event loop; one question for one plugin at a time."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._asking: dict[tuple[str, ...], asyncio.Future[dict[str, str]]] = {}
        self._busy: dict[str, asyncio.Future[Any]] = {}  # by plugin: what its host asks now

    async def values(self, plugin: str, keys: Sequence[str]) -> dict[str, str]:
        """Each key with its value. Raises `SecretMissing`, with the command that helps."""
        question = (plugin, *keys)
        if question not in self._asking:
            asked = _in_thread(lambda: {key: found(plugin, key) for key in keys})
            self._asking[question] = asked
            asked.add_done_callback(lambda _: self._asking.pop(question))
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking[question]), self._patience)
        except TimeoutError:
            what = f"the keyring did not answer within {self._patience:g} s when it was asked for secrets of {plugin}"
            raise SecretMissing(what, hint=_UNLOCK) from None

    async def value(self, plugin: str, key: str) -> str | None:
        """What is kept, if anything. Raises `SecretMissing` for a keyring that cannot be used."""
        return await self._alone(plugin, lambda: stored(plugin, key))

    async def keep(self, plugin: str, key: str, value: str | None) -> bool:
        """Keep a value; None forgets it. Whether that changed anything. Raises `SecretMissing`."""
        return await self._alone(plugin, lambda: _put(plugin, key, value))

    async def _alone(self, plugin: str, work: Callable[[], T]) -> T:
        """`work` once nothing else of the plugin's is asked: a keyring that hangs holds one thread of it, not many."""
        try:
            async with asyncio.timeout(self._patience):
                while (busy := self._busy.get(plugin)) is not None and not busy.done():
                    await asyncio.wait([busy])
                asked = self._busy[plugin] = _in_thread(work)
                return await asyncio.shield(asked)
        except TimeoutError:
            what = f"the keyring did not answer within {self._patience:g} s when {plugin} asked for a secret of its own"
            raise SecretMissing(what, hint=_UNLOCK) from None


def _put(plugin: str, key: str, value: str | None) -> bool:
    if value is None:
        return remove(plugin, key)
    store(plugin, key, value)
    return True


def found(plugin: str, key: str) -> str:
    """The value of a secret. Blocks for as long as the keyring likes. Raises `SecretMissing`."""
    value = stored(plugin, key)
    if value is None:
        hint = f"Run `broker secret set {plugin} {key}`."
        raise SecretMissing(f"{plugin} was granted the secret {key}, and it has no value yet", hint=hint)
    if not value or "\0" in value:
        hint = f"Set it anew: `broker secret set {plugin} {key}`."
        raise SecretMissing(f"the secret {key} of {plugin} cannot be given as {variable(key)}", hint=hint)
    return value


def stored(plugin: str, key: str) -> str | None:
    """What the keyring holds, if anything. Blocks. Raises `SecretMissing`."""
    return _told(lambda keyring: keyring.get_password(_service(plugin), key))


def store(plugin: str, key: str, value: str) -> None:
    """Keep a value, in place of what was kept before. Blocks. Raises `SecretMissing`."""
    _told(lambda keyring: keyring.set_password(_service(plugin), key, value))
    if stored(plugin, key) != value:
        raise SecretMissing(f"the keyring {_name()} took the secret and did not keep it", hint=_help())


def remove(plugin: str, key: str) -> bool:
    """Forget a value; whether there was one. Blocks. Raises `SecretMissing`."""
    if stored(plugin, key) is None:
        return False
    _told(lambda keyring: keyring.delete_password(_service(plugin), key))
    return True


def _encrypts(backend: KeyringBackend) -> bool:
    try:
        return backend.priority >= _RECOMMENDED
    except Exception:  # one that finds its service gone says so in a way of its own
        return False


def bus_address() -> str:
    """Where the session's bus usually is, for the many clients that start broker without the variable that says so."""
    if sys.platform != "linux" or "DBUS_SESSION_BUS_ADDRESS" in os.environ:
        return ""
    path = f"/run/user/{os.getuid()}/bus"
    return f"unix:path={path}" if os.path.exists(path) else ""


def _service(plugin: str) -> str:
    return f"broker/{plugin}"


def _told(ask: Callable[[Any], Any]) -> Any:
    """What `ask` gets out of the keyring; every way it can fail is `SecretMissing`."""
    from keyring.errors import KeyringLocked, NoKeyringError

    try:
        return ask(_backend())
    except NoKeyringError:
        raise SecretMissing("this machine has no keyring that can be used", hint=_help()) from None
    except KeyringLocked:
        raise SecretMissing("the keyring is locked", hint=_UNLOCK) from None
    except Exception as error:  # a backend raises whatever its library does; none of that quotes a value
        raise SecretMissing(f"the keyring {_name()} failed: {type(error).__name__}", hint=_help()) from None


def _backend() -> Any:
    """The keyring the user chose, else the best that is no makeshift: one that encrypts."""
    import keyring
    import keyring.core

    if address := bus_address():
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = address
    keyring.core.init_backend(_encrypts)
    return keyring.get_keyring()


def _name() -> str:
    import keyring

    kind = type(keyring.get_keyring())
    return f"{kind.__module__}.{kind.__name__}"


def _help() -> str:
    return _HELP.get(sys.platform, "`keyring --list-backends` shows what this machine has.")


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """`work` in a thread that nobody waits for when the broker ends: it may hang in a password window."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(give: Callable[[], None]) -> None:
        if not done.done():
            give()

    def fail(error: Exception) -> None:
        done.set_exception(error)
        done.exception()  # whoever asked may have stopped waiting

    def run() -> None:
        try:
            value = work()
            give = partial(done.set_result, value)
        except Exception as error:
            give = partial(fail, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, give)

    threading.Thread(target=run, name="keyring", daemon=True).start()
    return done
