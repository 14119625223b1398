"""In the end, after every drain, restart and growth, owners have equal shares of the partitions.

Owns: the judgement of assignments at the end. Does not own: that each partition has an owner
(topic_changes.py).
Rules: 1 the bound is the one that services/metadata/assignment.py promises: owners differ by one partition,
and a tenth of a share more; 2 who is drained has none.
"""

from collections import Counter

from tests.sim.checkers.violation import Violation
from tests.sim.history import History

NAME = "shares"


def check(history: History) -> list[Violation]:
    """Shares that nobody evened out."""
    end = history.end
    if end is None or not end.takers:
        return []
    shares = Counter(assignment.owner_id for assignment in end.assignments.values())
    takers = sorted(end.takers)
    counts = [shares[owner_id] for owner_id in takers]
    found = []
    if max(counts) - min(counts) > 1 + shares.total() // len(takers) // 10:
        told = ", ".join(f"{owner_id} {shares[owner_id]}" for owner_id in takers)
        found.append(Violation(checker=NAME, what=f"partitions are not evened out: {told}"))
    if others := sorted(set(shares) - end.takers):
        told = ", ".join(f"{owner_id} {shares[owner_id]}" for owner_id in others)
        found.append(Violation(checker=NAME, what=f"drained or gone, and with partitions: {told}"))
    return found
