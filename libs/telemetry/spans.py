"""Spans: one a step of a walk, free where nobody records.

Owns: how a step says its name. Rules: 1 a span's name is the step's name in docs/walks; 2 a span is one a
request or one an object, never one a record.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

# A context variable and not a global: a task inherits it, and two runs in one process don't mix.
_tracer: ContextVar[Tracer | None] = ContextVar("kafscale_tracer", default=None)

_NOTHING: AbstractContextManager[None] = nullcontext()


def span(step: str) -> AbstractContextManager[object]:
    """`with span("owner.assemble"):` around the work of one step."""
    tracer = _tracer.get()
    return _NOTHING if tracer is None else tracer.start_as_current_span(step)


class RecordedSpans:
    """What was recorded, in the order in which the steps ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def names(self) -> list[str]:
        return [each.name for each in self._exporter.get_finished_spans()]


@contextmanager
def recording_spans() -> Iterator[RecordedSpans]:
    """Records the spans of this task and of all that it starts, in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    token = _tracer.set(provider.get_tracer("kafscale"))
    try:
        yield RecordedSpans(exporter)
    finally:
        _tracer.reset(token)
        provider.shutdown()
