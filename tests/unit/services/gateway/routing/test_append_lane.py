"""The lane's rules, by example and against a model of owners that move, refuse and get lost."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.clients.owner import Appended
from libs.model.errors import Invalid, KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import LeaderEpoch, Offset, OwnerId, SessionId
from services.gateway.routing.append_lane import Append, AppendLane, Route, Sending, Settled

OK = Appended(base_offset=Offset(0), log_append_time_ms=-1, log_start_offset=Offset(0))


def route(epoch: int, owner: str = "a") -> Route:
    return Route(OwnerId(owner), SessionId(UUID(int=epoch // 2)), LeaderEpoch(epoch))


def append(number: int, source: str = "p", deadline: float = 100.0) -> Append:
    return Append(number=number, source=source, records=b"", deadline=deadline)


def numbers(sending: Sending | None) -> list[int]:
    return [] if sending is None else [each.number for each in sending.appends]


def kinds(settled: list[Settled]) -> list[tuple[int, str]]:
    return [(each.append.number, type(each.result).__name__) for each in settled]


def filled(*numbers_: int, source: str = "p") -> AppendLane:
    lane = AppendLane()
    for number in numbers_:
        lane.submit(append(number, source))
    return lane


def test_all_that_wait_are_sent_at_once_in_order() -> None:
    lane = filled(1, 2)
    assert lane.pump(None, 0.0) is None
    first = lane.pump(route(0), 0.0)
    assert (numbers(first), first and first.resume) == ([1, 2], False)
    lane.submit(append(3))
    assert numbers(lane.pump(route(0), 0.0)) == [3]
    assert kinds(lane.appended(1, OK)) == [(1, "Appended")]


def test_nothing_goes_to_a_new_owner_while_an_outcome_is_open_at_the_old_one() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.submit(append(2))
    assert lane.pump(route(1), 0.0) is None
    lane.appended(1, OK)
    assert numbers(lane.pump(route(1), 0.0)) == [2]


def test_refused_appends_go_back_to_their_place_and_the_first_resumes() -> None:
    lane = filled(1, 2)
    lane.pump(route(0), 0.0)
    lane.submit(append(3))
    assert lane.failed(1, Moved(""), 0.0) == []
    assert lane.pump(route(1), 1.0) is None  # 2 is not answered yet
    assert lane.failed(2, Moved(""), 0.0) == []
    again = lane.pump(route(1), 0.0)
    assert (numbers(again), again and again.resume) == ([1, 2, 3], True)


def test_the_same_owner_is_asked_again_after_a_pause_that_grows() -> None:
    lane = filled(1)
    now, pauses = 0.0, []
    for _ in range(8):
        assert numbers(lane.pump(route(0), now)) == [1]
        lane.failed(1, Moved(""), now)
        waited = 0.0
        while lane.pump(route(0), now + waited) is None:
            waited += 0.005
            assert waited < 2
        lane.failed(1, Moved(""), now + waited)
        now += waited + 1
        pauses.append(waited)
    assert pauses[0] <= 0.02
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 0.51


def test_an_unknown_outcome_gives_up_what_waits_behind_it_of_the_same_source() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.submit(append(2, "p"))
    lane.submit(append(3, "q"))
    settled = lane.failed(1, Unavailable("", outcome_unknown=True), 0.0)
    # Nothing was held here: 2 and 3 were never sent because nobody pumped.
    assert kinds(settled) == [(1, "Unavailable"), (2, "Moved")]
    assert numbers(lane.pump(route(1), 0.0)) == [3]


def test_a_lost_stream_gives_up_what_was_sent_and_keeps_what_was_not() -> None:
    lane = filled(1)
    lane.submit(append(2, "q"))
    lane.pump(route(0), 0.0)
    settled = lane.lost([1], [2], 0.0)
    assert kinds(settled) == [(1, "Unavailable")]
    assert numbers(lane.pump(route(1), 0.0)) == [2]


def test_a_lost_stream_keeps_order_within_a_source() -> None:
    lane = filled(1, 2)
    lane.pump(route(0), 0.0)
    assert kinds(lane.lost([1], [2], 0.0)) == [(1, "Unavailable"), (2, "Moved")]
    assert lane.droppable


def test_time_over_is_answered_but_stays_open() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    (settled,) = lane.expire(200.0)
    assert isinstance(settled.result, Unavailable)
    assert settled.result.reason is Reason.TIMED_OUT
    assert not settled.closed
    lane.submit(append(2, deadline=900.0))
    assert lane.pump(route(1), 200.0) is None
    assert lane.appended(1, OK) == [Settled(settled.append, None, closed=True)]
    assert numbers(lane.pump(route(1), 200.0)) == [2]


def test_a_refused_append_whose_client_was_answered_is_not_sent_again() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.expire(200.0)
    lane.submit(append(2, deadline=900.0))
    assert kinds(lane.failed(1, Moved(""), 200.0)) == [(1, "NoneType"), (2, "Moved")]
    assert lane.pump(route(1), 300.0) is None


def test_what_waits_too_long_is_given_up_with_what_is_behind_it() -> None:
    lane = filled(1)
    lane.submit(append(2, deadline=900.0))
    lane.submit(append(3, "q", deadline=900.0))
    assert kinds(lane.expire(200.0)) == [(1, "Unavailable"), (2, "Moved")]
    assert numbers(lane.pump(route(0), 200.0)) == [3]


def test_a_known_error_is_passed_on_alone() -> None:
    lane = filled(1, 2)
    lane.pump(route(0), 0.0)
    assert kinds(lane.failed(1, Invalid("bad"), 0.0)) == [(1, "Invalid")]
    assert lane.in_flight == 1


def test_late_answers_about_what_was_abandoned_are_ignored() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    assert kinds(lane.abandon()) == [(1, "Unavailable")]
    assert lane.appended(1, OK) == []
    assert lane.failed(1, Moved(""), 0.0) == []


class LaneMachine(RuleBasedStateMachine):
    """Owners that follow owner.proto, a view that lags, streams that break. The log is the judge."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = AppendLane()
        self.now = 0.0
        self.next_number = 0
        self.epoch = 0
        self.seen_epoch = 0
        self.log: list[Append] = []
        self.stream: list[tuple[Append, int, bool]] = []  # on its way: append, epoch of the route, resume
        self.replies: list[tuple[int, Appended | KafscaleError]] = []
        self.refusing = False
        self.settled: dict[int, Settled] = {}
        self.answers: dict[int, int] = {}
        self.submitted: dict[int, Append] = {}
        self.given_up: list[tuple[Append, set[int]]] = []

    def take(self, settled: list[Settled]) -> None:
        for each in settled:
            number = each.append.number
            if each.result is not None:
                self.answers[number] = self.answers.get(number, 0) + 1
            if each.closed:
                assert number not in self.settled, "closed twice"
                self.settled[number] = each
        for each in settled:
            error = each.result
            if isinstance(error, Unavailable | Moved) and each.closed:
                behind = {
                    other.number
                    for other in self.submitted.values()
                    if other.source == each.append.source and other.number > each.append.number
                }
                self.given_up.append((each.append, behind - {entry.number for entry in self.log}))

    @rule(source=st.sampled_from("pq"), patience=st.sampled_from([0.5, 5.0, 1000.0]))
    def submit(self, source: str, patience: float) -> None:
        self.next_number += 1
        each = append(self.next_number, source, self.now + patience)
        self.submitted[each.number] = each
        self.lane.submit(each)

    @rule()
    def pump(self) -> None:
        sending = self.lane.pump(route(self.seen_epoch), self.now)
        if sending is not None:
            self.stream += [
                (each, self.seen_epoch, sending.resume and place == 0)
                for place, each in enumerate(sending.appends)
            ]

    @precondition(lambda self: self.stream)
    @rule()
    def owner_takes_one(self) -> None:
        each, epoch, resume = self.stream.pop(0)
        if resume:
            self.refusing = False
        if epoch != self.epoch or self.refusing:
            self.refusing = True
            self.replies.append((each.number, Moved("")))
        else:
            self.log.append(each)
            self.replies.append((each.number, OK))

    @precondition(lambda self: self.replies)
    @rule(place=st.integers(0, 3))
    def reply_arrives(self, place: int) -> None:
        number, result = self.replies.pop(place % len(self.replies))
        if isinstance(result, KafscaleError):
            self.take(self.lane.failed(number, result, self.now))
        else:
            self.take(self.lane.appended(number, result))

    @rule()
    def partition_moves(self) -> None:
        # Replies of the old owner may still be on their way; what it did not take yet it will refuse.
        self.epoch += 1

    @rule()
    def view_catches_up(self) -> None:
        self.seen_epoch = self.epoch

    @rule(sent=st.integers(0, 5))
    def stream_breaks(self, sent: int) -> None:
        # Of what the stream still had, some reached the owner, whose answers are lost with all others.
        on_their_way = [each for each, _, _ in self.stream]
        reached = on_their_way[:sent]
        for each, epoch, resume in self.stream[:sent]:
            self.refusing = self.refusing and not resume
            if epoch == self.epoch and not self.refusing:
                self.log.append(each)
            else:
                self.refusing = True
        unanswered = [number for number, _ in self.replies] + [each.number for each in reached]
        unsent = [each.number for each in on_their_way[sent:]]
        self.stream, self.replies, self.refusing = [], [], False
        self.take(self.lane.lost(unanswered, unsent, self.now))

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 50.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.lane.expire(self.now))

    @invariant()
    def log_keeps_the_order_of_each_source(self) -> None:
        for source in "pq":
            found = [each.number for each in self.log if each.source == source]
            assert found == sorted(set(found))

    @invariant()
    def nothing_behind_one_that_was_given_up_lands_later(self) -> None:
        # Those that were on their way beside it may land: their owner decides; none that waited may.
        logged = {each.number for each in self.log}
        for each, behind in self.given_up:
            late = {number for number in behind & logged if number in self.waited_then(each)}
            assert not late, f"{late} landed after {each.number} was given up"

    def waited_then(self, given_up: Append) -> set[int]:
        return {
            number
            for number, settled in self.settled.items()
            if number > given_up.number
            and settled.append.source == given_up.source
            and isinstance(settled.result, Moved)
        }

    @invariant()
    def every_client_is_answered_once(self) -> None:
        assert all(count == 1 for count in self.answers.values())
        for number, each in self.settled.items():
            if each.result is not None or each.append.answered:
                assert self.answers.get(number) == 1

    def teardown(self) -> None:
        """In the end nothing is forgotten: with a calm owner all that is left lands or is answered."""
        self.epoch = self.seen_epoch = self.epoch + 1
        for _ in range(200):
            self.now += 0.6
            self.pump()
            while self.stream:
                self.owner_takes_one()
            while self.replies:
                self.reply_arrives(0)
        assert self.lane.droppable
        assert set(self.settled) == set(self.submitted)
        self.log_keeps_the_order_of_each_source()


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
