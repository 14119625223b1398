"""The lane's rules, by example and against a model of owners that move, refuse and get lost."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.clients.owner import Appended
from libs.model.errors import Invalid, KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import LeaderEpoch, Offset, OwnerId, SessionId
from services.gateway.routing.append_lane import Append, AppendLane, Route, Sending, Settled
from services.gateway.routing.given_up import REMEMBERED_SECONDS, ProducerSequence

OK = Appended(base_offset=Offset(0), log_append_time_ms=-1, log_start_offset=Offset(0))


def route(epoch: int, owner: str = "a") -> Route:
    return Route(OwnerId(owner), SessionId(UUID(int=epoch // 2)), LeaderEpoch(epoch))


def append(number: int, source: str = "p", deadline: float = 100.0, sequence: int | None = None) -> Append:
    """`sequence`: of an idempotent producer in its epoch 0."""
    place = None if sequence is None else ProducerSequence(0, sequence)
    return Append(number=number, source=source, sequence=place, records=b"", deadline=deadline)


def numbers(sending: Sending | None) -> list[int]:
    return [] if sending is None else [each.number for each in sending.appends]


def kinds(settled: list[Settled]) -> list[tuple[int, str]]:
    return [(each.append.number, type(each.result).__name__) for each in settled]


def filled(*numbers_: int, source: str = "p") -> AppendLane:
    lane = AppendLane()
    for number in numbers_:
        lane.submit(append(number, source), 0.0)
    return lane


def test_all_that_wait_are_sent_at_once_in_order() -> None:
    lane = filled(1, 2)
    assert lane.pump(None, 0.0) is None
    first = lane.pump(route(0), 0.0)
    assert (numbers(first), first and first.resume) == ([1, 2], False)
    lane.submit(append(3), 0.0)
    assert numbers(lane.pump(route(0), 0.0)) == [3]
    assert kinds(lane.appended(1, OK)) == [(1, "Appended")]


def test_nothing_goes_to_a_new_owner_while_an_outcome_is_open_at_the_old_one() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.submit(append(2), 0.0)
    assert lane.pump(route(1), 0.0) is None
    lane.appended(1, OK)
    assert numbers(lane.pump(route(1), 0.0)) == [2]


def test_refused_appends_go_back_to_their_place_and_the_first_resumes() -> None:
    lane = filled(1, 2)
    lane.pump(route(0), 0.0)
    lane.submit(append(3), 0.0)
    assert lane.failed(1, Moved(""), 0.0) == []
    # 2 is not answered yet: were 1 sent now, 3 could land before 2 comes back.
    assert lane.pump(route(1), 9.0) is None
    assert lane.pump(route(0), 9.0) is None
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
    lane.submit(append(2, "p"), 0.0)
    lane.submit(append(3, "q"), 0.0)
    settled = lane.failed(1, Unavailable("", outcome_unknown=True), 0.0)
    # Nothing was held here: 2 and 3 were never sent because nobody pumped.
    assert kinds(settled) == [(1, "Unavailable"), (2, "Moved")]
    assert numbers(lane.pump(route(1), 0.0)) == [3]


def test_a_lost_stream_gives_up_what_was_sent_and_keeps_what_was_not() -> None:
    lane = filled(1)
    lane.submit(append(2, "q"), 0.0)
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
    lane.submit(append(2, deadline=900.0), 0.0)
    assert lane.pump(route(1), 200.0) is None
    assert lane.appended(1, OK) == [Settled(settled.append, None, closed=True)]
    assert numbers(lane.pump(route(1), 200.0)) == [2]


def test_a_refused_append_whose_client_was_answered_is_not_sent_again() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.expire(200.0)
    lane.submit(append(2, deadline=900.0), 0.0)
    assert kinds(lane.failed(1, Moved(""), 200.0)) == [(1, "NoneType"), (2, "Moved")]
    assert lane.pump(route(1), 300.0) is None


def test_what_waits_too_long_is_given_up_with_what_is_behind_it() -> None:
    lane = filled(1)
    lane.submit(append(2, deadline=900.0), 0.0)
    lane.submit(append(3, "q", deadline=900.0), 0.0)
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
    assert kinds(lane.abandon(0.0)) == [(1, "Unavailable")]
    assert lane.appended(1, OK) == []
    assert lane.failed(1, Moved(""), 0.0) == []


def test_what_was_on_its_way_behind_one_that_was_given_up_is_refused_until_that_comes_again() -> None:
    """The next owner might not know the producer, and take the later batch for its first."""
    lane = AppendLane()
    lane.submit(append(1, sequence=0), 0.0)
    lane.pump(route(0), 0.0)
    assert kinds(lane.abandon(0.0)) == [(1, "Unavailable")]
    assert not lane.droppable
    assert kinds(lane.submit(append(2, sequence=1), 1.0)) == [(2, "Moved")]
    assert lane.submit(append(3, "q", sequence=1), 1.0) == []
    assert lane.submit(append(4, sequence=0), 1.0) == []
    assert lane.submit(append(5, sequence=1), 1.0) == []
    assert numbers(lane.pump(route(1), 1.0)) == [3, 4, 5]


def test_a_lane_that_waits_for_a_batch_to_come_again_is_dropped_in_the_end() -> None:
    lane = AppendLane()
    lane.submit(append(1, deadline=5.0, sequence=0), 0.0)
    assert kinds(lane.expire(6.0)) == [(1, "Unavailable")]
    lane.expire(6.0 + REMEMBERED_SECONDS - 1)
    assert not lane.droppable
    lane.expire(6.0 + REMEMBERED_SECONDS)
    assert lane.droppable


def test_without_a_producer_id_nothing_is_remembered() -> None:
    lane = filled(1)
    lane.pump(route(0), 0.0)
    lane.abandon(0.0)
    assert lane.droppable
    assert lane.submit(append(2), 0.0) == []


class Client:
    """An idempotent producer with one connection: answers come in the order of its requests.

    As real ones do, it sends again what failed, in order, and nothing new until that was done.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sequences = 0
        self.acked: set[int] = set()
        self.again: set[int] = set()
        self.socket: list[int] = []
        """Sequences sent, not read by the gateway yet."""
        self.open: list[int] = []
        """Sequences sent, whose answers were not heard yet."""
        self.answers: list[tuple[int, Appended | KafscaleError | None]] = []
        """(number, answer) of what the gateway read, in its order; None while there is none."""

    def send(self) -> None:
        if self.again:
            sequence = min(self.again)
            if self.open and min(self.open) < sequence < max(self.open):
                return
            self.again.discard(sequence)
        elif len(self.open) < 5:
            sequence = self.sequences
            self.sequences += 1
        else:
            return
        self.socket.append(sequence)
        self.open.append(sequence)

    def answered(self, number: int, result: Appended | KafscaleError) -> None:
        self.answers = [(each, result if each == number else known) for each, known in self.answers]

    def hear(self) -> None:
        while self.answers and self.answers[0][1] is not None:
            _, result = self.answers.pop(0)
            sequence = self.open.pop(0)
            if isinstance(result, Appended):
                self.acked.add(sequence)
            else:
                # Out of order is final for the one that is next: a client gives up there.
                assert not isinstance(result, Invalid) or set(range(sequence)) - self.acked
                self.again.add(sequence)


class LaneMachine(RuleBasedStateMachine):
    """Two owners that follow owner.proto, a view that lags, streams that break. The log is the judge.

    "p" and "q" are connections without producer ids, "i" and "j" idempotent producers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lane = AppendLane()
        self.now = 0.0
        self.epoch = 0
        """The partition is owner `epoch % 2`'s."""
        self.seen_epoch = 0
        self.open = True
        """Whether its owner has opened it."""
        self.log: list[Append] = []
        self.streams: dict[int, list[tuple[Append, int, bool]]] = {0: [], 1: []}
        """On its way to each owner: append, epoch of its route, resume."""
        self.replies: dict[int, list[tuple[int, Appended | KafscaleError]]] = {0: [], 1: []}
        self.refusing = {0: False, 1: False}
        self.submitted: dict[int, Append] = {}
        self.settled: dict[int, Settled] = {}
        self.answers: dict[int, int] = {}
        self.clients = {source: Client(source) for source in "ij"}

    def take(self, settled: list[Settled]) -> None:
        for each in settled:
            number = each.append.number
            if each.result is not None:
                self.answers[number] = self.answers.get(number, 0) + 1
                if each.append.source in self.clients:
                    self.clients[str(each.append.source)].answered(number, each.result)
            if each.closed:
                assert number not in self.settled, "closed twice"
                self.settled[number] = each
        for each in settled:
            if each.closed and isinstance(each.result, Unavailable | Moved):
                self.nobody_waits_behind(each.append)

    def nobody_waits_behind(self, given_up: Append) -> None:
        """Rule 4: what waits now would land although something before it may not have."""
        busy = {each.number for stream in self.streams.values() for each, _, _ in stream}
        busy |= {number for replies in self.replies.values() for number, _ in replies}
        for number, each in self.submitted.items():
            if number not in busy | set(self.settled) and number > given_up.number:
                assert each.source != given_up.source, f"{number} waits behind {given_up.number}"

    def owner_takes(self, owner: int) -> Appended | KafscaleError:
        each, epoch, resume = self.streams[owner].pop(0)
        if resume:
            self.refusing[owner] = False
        if epoch != self.epoch or not self.open or self.refusing[owner]:
            self.refusing[owner] = True
            result: Appended | KafscaleError = Moved("")
        else:
            result = self.append_in_order(each)
        self.replies[owner].append((each.number, result))
        return result

    def append_in_order(self, each: Append) -> Appended | KafscaleError:
        """As owners and Kafka do: who is not known may begin with any sequence."""
        known = [logged.sequence for logged in self.log if logged.source == each.source]
        if each.sequence is not None and known:
            if each.sequence in known:
                return OK
            assert known[-1] is not None
            if each.sequence.base_sequence != known[-1].base_sequence + 1:
                return Invalid("", reason=Reason.OUT_OF_ORDER_SEQUENCE)
        self.log.append(each)
        return OK

    @rule(source=st.sampled_from("ij"), count=st.integers(1, 3))
    def client_sends(self, source: str, count: int) -> None:
        for _ in range(count):
            self.clients[source].send()

    @rule(source=st.sampled_from("ij"), patience=st.sampled_from([0.5, 5.0, 1000.0]))
    def gateway_reads(self, source: str, patience: float) -> None:
        client = self.clients[source]
        if client.socket:
            sequence = client.socket.pop(0)
            each = append(len(self.submitted) + 1, source, self.now + patience, sequence)
            self.submitted[each.number] = each
            client.answers.append((each.number, None))
            self.take(self.lane.submit(each, self.now))

    @rule(source=st.sampled_from("ij"))
    def client_hears(self, source: str) -> None:
        self.clients[source].hear()

    @rule(source=st.sampled_from("pq"), patience=st.sampled_from([0.5, 5.0, 1000.0]))
    def submit(self, source: str, patience: float) -> None:
        each = append(len(self.submitted) + 1, source, self.now + patience)
        self.submitted[each.number] = each
        self.take(self.lane.submit(each, self.now))

    @rule()
    def pump(self) -> None:
        sending = self.lane.pump(route(self.seen_epoch), self.now)
        if sending is not None:
            self.streams[self.seen_epoch % 2] += [
                (each, self.seen_epoch, sending.resume and place == 0)
                for place, each in enumerate(sending.appends)
            ]

    @rule(owner=st.integers(0, 1), count=st.integers(1, 3))
    def owner_takes_some(self, owner: int, count: int) -> None:
        for _ in range(min(count, len(self.streams[owner]))):
            self.owner_takes(owner)

    @rule(owner=st.integers(0, 1), place=st.integers(0, 3))
    def reply_arrives(self, owner: int, place: int) -> None:
        replies = self.replies[owner]
        if not replies:
            return
        number, result = replies.pop(place % len(replies))
        if isinstance(result, KafscaleError):
            self.take(self.lane.failed(number, result, self.now))
        else:
            self.take(self.lane.appended(number, result))

    @rule()
    def partition_moves(self) -> None:
        # Replies of the old owner may still be on their way; what it did not take yet it will refuse.
        self.epoch += 1
        self.open = False

    @rule()
    def owner_opens(self) -> None:
        self.open = True

    @rule()
    def view_catches_up(self) -> None:
        self.seen_epoch = self.epoch

    @rule(owner=st.integers(0, 1), reached=st.integers(0, 3))
    def stream_breaks(self, owner: int, reached: int) -> None:
        for _ in range(min(reached, len(self.streams[owner]))):
            self.owner_takes(owner)
        unsent = [each.number for each, _, _ in self.streams[owner]]
        unanswered = [number for number, _ in self.replies[owner]]
        self.streams[owner], self.replies[owner], self.refusing[owner] = [], [], False
        self.take(self.lane.lost(unanswered, unsent, self.now))

    @precondition(lambda self: self.epoch == self.seen_epoch)
    @rule()
    def old_owner_is_given_up(self) -> None:
        # As the router does: only where the view shows that the partition moved on.
        there = self.lane.in_flight_route
        if there is not None and there.leader_epoch != self.seen_epoch:
            owner = there.leader_epoch % 2
            # What it has not taken by now it refuses; its answers come too late.
            while self.streams[owner]:
                self.owner_takes(owner)
            self.replies[owner] = []
            self.take(self.lane.abandon(self.now))

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 50.0]))
    def time_passes(self, seconds: float) -> None:
        if seconds > 1:
            # Nothing stays on its way for so long, in either direction.
            for source, client in self.clients.items():
                while client.socket:
                    self.gateway_reads(source, 1000.0)
                client.hear()
        self.now += seconds
        self.take(self.lane.expire(self.now))

    @invariant()
    def log_keeps_the_order_of_each_source(self) -> None:
        for source in "pqij":
            found = [each.number for each in self.log if each.source == source]
            assert found == sorted(set(found))

    @invariant()
    def each_batch_of_a_producer_is_in_the_log_once_and_in_its_place(self) -> None:
        for source in self.clients:
            found = [each.sequence for each in self.log if each.source == source]
            assert found == [ProducerSequence(0, sequence) for sequence in range(len(found))]

    @invariant()
    def every_client_is_answered_once(self) -> None:
        assert all(count == 1 for count in self.answers.values())
        assert set(self.settled) <= set(self.answers)

    @invariant()
    def who_was_told_that_nothing_was_done_has_nothing_in_the_log(self) -> None:
        logged = {each.number for each in self.log}
        for number, each in self.settled.items():
            assert not (isinstance(each.result, Moved) and number in logged)

    def teardown(self) -> None:
        """In the end nothing is forgotten: with a calm owner all that is left lands or is answered."""
        self.epoch = self.seen_epoch = self.epoch + 1
        self.open = True
        for _ in range(200):
            self.now += 0.6
            for source, client in self.clients.items():
                client.hear()
                if client.again:
                    client.send()
                while client.socket:
                    self.gateway_reads(source, 1000.0)
            self.pump()
            for owner in (0, 1):
                while self.streams[owner]:
                    self.owner_takes(owner)
                while self.replies[owner]:
                    self.reply_arrives(owner, 0)
            if self.lane.droppable and not any(
                client.open or client.again for client in self.clients.values()
            ):
                break
        assert self.lane.droppable
        for client in self.clients.values():
            assert client.acked == set(range(client.sequences)), "every batch of a producer lands in the end"
        assert set(self.settled) == set(self.submitted)
        self.log_keeps_the_order_of_each_source()


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_what_comes_back_behind_one_that_was_given_up_is_not_sent_again() -> None:
    """The next owner might not know the producer, and take the later batch for its first."""
    lane = filled(1, 2)
    lane.submit(append(3, "q"), 0.0)
    lane.pump(route(0), 0.0)
    assert kinds(lane.failed(1, Unavailable("", outcome_unknown=True), 0.0)) == [(1, "Unavailable")]
    assert kinds(lane.failed(2, Moved(""), 0.0)) == [(2, "Moved")]
    assert lane.failed(3, Moved(""), 0.0) == []
    assert numbers(lane.pump(route(1), 9.0)) == [3]


def test_what_comes_back_behind_one_whose_time_was_over_is_not_sent_again() -> None:
    lane = AppendLane()
    lane.submit(append(1, deadline=5.0), 0.0)
    lane.submit(append(2), 0.0)
    lane.pump(route(0), 0.0)
    assert kinds(lane.expire(6.0)) == [(1, "Unavailable")]
    assert kinds(lane.failed(1, Moved(""), 6.0)) == [(1, "NoneType")]
    assert kinds(lane.failed(2, Moved(""), 6.0)) == [(2, "Moved")]
    assert lane.pump(route(1), 9.0) is None
