"""All mirrors together: one for each kind and watched namespace.

Owns: which objects are watched, finding one. Does not own: a stream (mirror.py).
"""

from collections.abc import Callable, Iterator, Sequence

import trio

from libs.concurrency.rand import Rand
from services.operator.kinds import CLUSTERS, MADE, PODS, TOPICS, Key, Kind, Object
from services.operator.kube import Kube
from services.operator.mirror import Mirror
from services.operator.render.common import SELECT_ALL

WATCHED: tuple[Kind, ...] = (CLUSTERS, TOPICS, PODS, *MADE)


class Mirrors:
    def __init__(
        self,
        kube: Kube,
        *,
        namespaces: Sequence[str],
        rand: Rand,
        on_change: Callable[[Object], None],
    ) -> None:
        self._mirrors = {
            kind.kind: [
                Mirror(
                    kube,
                    kind,
                    namespace=namespace,
                    selector="" if kind in (CLUSTERS, TOPICS) else SELECT_ALL,
                    rand=rand,
                    on_change=on_change,
                )
                for namespace in (namespaces or (None,))
            ]
            for kind in WATCHED
        }

    def get(self, key: Key) -> Object | None:
        return next((item for each in self._mirrors[key.kind] if (item := each.get(key)) is not None), None)

    def items(
        self, kind: Kind, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> Iterator[Object]:
        for mirror in self._mirrors[kind.kind]:
            yield from mirror.items(namespace, labels)

    def missing(self, kind: str, namespace: str) -> str | None:
        """The permission that is lacking to see objects of a kind in a namespace."""
        concerned = [each for each in self._mirrors[kind] if each.namespace in (None, namespace)]
        return next((each.missing for each in concerned if each.missing is not None), None)

    def refused(self) -> int:
        return sum(each.missing is not None for mirrors in self._mirrors.values() for each in mirrors)

    def relists(self) -> int:
        return sum(each.relists for mirrors in self._mirrors.values() for each in mirrors)

    async def wait_listed(self) -> None:
        for mirrors in self._mirrors.values():
            for mirror in mirrors:
                await mirror.wait_listed()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for mirrors in self._mirrors.values():
                for mirror in mirrors:
                    nursery.start_soon(mirror.run)
