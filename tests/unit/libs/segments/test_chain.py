"""A sealer's plan, step by step. All orders of all events: tests/model."""

from libs.model.ids import ChainSeq
from libs.segments.chain import Ended, ListMarkers, PutSeals, ReadSlots, SealPlan, Slot


def seqs(*values: int) -> tuple[ChainSeq, ...]:
    return tuple(map(ChainSeq, values))


class Store:
    """A chain of `data` objects from `start` on; `race` more land before each seal that is put at the
    tail.
    """

    def __init__(self, data: int, *, start: int = 0, race: int = 0) -> None:
        self.slots = dict.fromkeys(range(start, data), Slot.DATA)
        self.start = start
        self.tail = data
        self.race = race
        self.reads = 0
        self.trips = 0

    def drive(self, plan: SealPlan) -> Ended:
        for _ in range(200):
            self.trips += 1
            match plan.next_action():
                case ReadSlots(places):
                    self.reads += len(places)
                    for seq in places:
                        plan = plan.saw(seq, self.slots.get(seq, Slot.MISSING))
                case PutSeals(places):
                    self.live_writer_goes_on(max(places[:5]) + self.race if self.race else 0)
                    for seq in places:
                        plan = plan.put(seq, created=seq not in self.slots)
                        self.slots.setdefault(seq, Slot.SEAL)
                case ListMarkers():
                    plan = plan.listed(ChainSeq(self.start))
                case Ended() as ended:
                    return ended
        raise AssertionError("a sealer never finished")

    def live_writer_goes_on(self, until: int) -> None:
        while self.tail < until and self.tail not in self.slots:
            self.slots[self.tail] = Slot.DATA
            self.tail += 1


def test_an_empty_chain() -> None:
    store = Store(0)
    assert store.drive(SealPlan.begin(ChainSeq(0))) == Ended(ChainSeq(0), ChainSeq(0))
    assert set(store.slots) == {0, 1, 2, 3, 4}  # n .. n + W


def test_a_chain_of_some_objects() -> None:
    assert Store(11).drive(SealPlan.begin(ChainSeq(0))).end == 11


def test_begun_behind_an_index() -> None:
    store = Store(70)
    assert store.drive(SealPlan.begin(ChainSeq(64))) == Ended(ChainSeq(64), ChainSeq(70))
    assert store.reads < 16


def test_a_long_chain_takes_few_round_trips() -> None:
    store = Store(1000)
    assert store.drive(SealPlan.begin(ChainSeq(0))).end == 1000
    assert store.trips < 30


def test_who_comes_second_finds_the_same_end() -> None:
    store = Store(6)
    first = store.drive(SealPlan.begin(ChainSeq(0)))
    written = dict(store.slots)
    assert store.drive(SealPlan.begin(ChainSeq(0))) == first
    assert store.slots == written


def test_a_collected_prefix_is_no_free_place() -> None:
    store = Store(20, start=10)
    assert store.drive(SealPlan.begin(ChainSeq(0))) == Ended(ChainSeq(10), ChainSeq(20))


def test_a_dead_chain_that_was_collected_to_its_end() -> None:
    store = Store(6)
    store.drive(SealPlan.begin(ChainSeq(0)))
    store.slots = {6: Slot.SEAL}
    store.start = 6
    assert store.drive(SealPlan.begin(ChainSeq(0))) == Ended(ChainSeq(6), ChainSeq(6))


def test_a_fast_writer_is_stopped_far_ahead() -> None:
    store = Store(3, race=1)  # always one further than the seals
    ended = store.drive(SealPlan.begin(ChainSeq(0)))
    assert ended.end > 64
    assert store.slots[ended.end] is Slot.SEAL
    assert store.tail == ended.end


def test_rounds_of_seals() -> None:
    plan = SealPlan.begin(ChainSeq(0), read_ahead=1)
    wanted = []
    for round_ in range(4):
        tail = round_ * 5
        reading = plan.next_action()
        assert isinstance(reading, ReadSlots)
        assert reading.seqs[0] == tail
        plan = plan.saw(ChainSeq(tail), Slot.MISSING)
        action = plan.next_action()
        assert isinstance(action, PutSeals)
        wanted.append(action.seqs)
        for seq in action.seqs[:5]:
            plan = plan.put(seq, created=False).saw(seq, Slot.DATA)
        for seq in action.seqs[5:]:
            plan = plan.put(seq, created=True)
    assert wanted == [
        seqs(0, 1, 2, 3, 4),
        seqs(5, 6, 7, 8, 9),
        seqs(10, 11, 12, 13, 14, 10 + 64),
        seqs(15, 16, 17, 18, 19, 15 + 128),
    ]


def test_no_end_is_named_before_the_markers_were_listed() -> None:
    plan = SealPlan.begin(ChainSeq(0), read_ahead=1).saw(ChainSeq(0), Slot.SEAL)
    assert plan.next_action() == ListMarkers()
    assert plan.listed(ChainSeq(0)).next_action() == Ended(ChainSeq(0), ChainSeq(0))
    void = plan.listed(ChainSeq(3))
    assert void.next_action() == ReadSlots(
        seqs(
            3,
        )
    )


def test_a_list_that_nobody_asked_for_changes_nothing() -> None:
    plan = SealPlan.begin(ChainSeq(0))
    assert plan.listed(ChainSeq(9)) is plan


def test_an_unknown_outcome_is_read() -> None:
    plan = SealPlan.begin(ChainSeq(0), window=1, read_ahead=1).saw(ChainSeq(0), Slot.MISSING)
    plan = plan.put(ChainSeq(0), created=False).put(ChainSeq(1), created=False)
    assert plan.next_action() == ReadSlots(seqs(0))
    assert plan.saw(ChainSeq(0), Slot.SEAL).next_action() == ListMarkers()


def test_places_never_change() -> None:
    plan = SealPlan.begin(ChainSeq(0)).saw(ChainSeq(1), Slot.SEAL)
    assert plan.saw(ChainSeq(1), Slot.MISSING) is plan
    assert plan.saw(ChainSeq(0), Slot.DATA).saw(ChainSeq(0), Slot.MISSING).tail == 1
