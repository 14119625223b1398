"""An etcd whose database is full, and how an operator makes room again.

Owns: filling it to its quota, compaction, defragmentation, disarming. Does not own: etcd.
Source: etcd's "Maintenance" page, "Space quota"; its JSON gateway (/v3/...).
"""

import base64
from typing import Any

import httpx
import trio

_JUNK = "/chaos/junk/"
_JUNK_END = "/chaos/junk0"
_JUNK_BYTES = 1024 * 1024
_TRY_SECONDS = 0.3
ANSWER_SECONDS_MAX = 5.0
_FILL_SECONDS_MAX = 20.0
QUOTA_BYTES = 32 * 1024 * 1024

_TROUBLE = (httpx.HTTPError, ValueError)


class EtcdSpace:
    """`port`: of etcd's client API, past any proxy; `client` has a timeout."""

    def __init__(self, port: int, client: httpx.AsyncClient) -> None:
        self._url = f"http://127.0.0.1:{port}/v3"
        self._client = client

    async def fill(self) -> bool:
        """Writes until etcd raises NOSPACE; False where it did not within its time (dead, or paused)."""
        value = _base64("x" * _JUNK_BYTES)
        with trio.move_on_after(_FILL_SECONDS_MAX):
            number = 0
            while True:
                status, answer = await self._ask("kv/put", key=_base64(f"{_JUNK}{number}"), value=value)
                if "space exceeded" in str(answer):
                    return True
                number += status == httpx.codes.OK
                if status != httpx.codes.OK:
                    await trio.sleep(_TRY_SECONDS)
        return False

    async def make_room(self) -> None:
        """Until it takes writes again; as often as it takes, since etcd may be dead for the moment."""
        while not await self._made_room():  # noqa: ASYNC110 - it has to be asked
            await trio.sleep(_TRY_SECONDS)

    async def _made_room(self) -> bool:
        junk = {"key": _base64(_JUNK), "range_end": _base64(_JUNK_END)}
        status, answer = await self._ask("kv/deleterange", **junk)
        if status != httpx.codes.OK:
            return False
        # What is compacted already is no room lost; every other step has to succeed.
        await self._ask("kv/compaction", revision=answer["header"]["revision"], physical=True)
        if (await self._ask("maintenance/defragment"))[0] != httpx.codes.OK:
            return False
        for alarm in await self._alarms() or ():
            await self._ask("maintenance/alarm", **alarm, action="DEACTIVATE")
        return await self._alarms() == []

    async def _alarms(self) -> list[dict[str, Any]] | None:
        """Each with its member; None where etcd did not answer."""
        status, answer = await self._ask("maintenance/alarm", action="GET")
        return answer.get("alarms", []) if status == httpx.codes.OK else None

    async def _ask(self, call: str, **request: Any) -> tuple[int, dict[str, Any]]:
        """(status, answer); status 0 where nothing sensible came."""
        try:
            answer = await self._client.post(f"{self._url}/{call}", json=request)
            return answer.status_code, answer.json()
        except _TROUBLE:
            return 0, {}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
