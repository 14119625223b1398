"""The threads that adapters block in.

Owns: their names and how many there are. Does not own: threads themselves (`libs/concurrency`).
"""

from libs.concurrency.threads import Threads

PUT_POOL = "object-put"
GET_POOL = "object-get"


def store_threads(*, puts_max: int, gets_max: int) -> Threads:
    """Separate pools, so that reads never hold up a write nor writes a read."""
    return Threads({PUT_POOL: puts_max, GET_POOL: gets_max})
