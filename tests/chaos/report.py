"""One page that shows a run: timeline of throughput, latency and faults, the verdict, how to repeat it.

Owns: the HTML and SVG, with nothing from elsewhere. Does not own: the figures (timeline.py), the verdict.
"""

import html
import math
from collections.abc import Sequence

from tests.chaos.nemesis import Interval
from tests.chaos.run import Outcome
from tests.chaos.timeline import Second, longest_pause, quantile, seconds_of

_WIDTH = 1100
_LEFT = 70
_PLOT = _WIDTH - _LEFT - 20
_HEIGHT = 160
_GAP = 40
_ROW = 13
_LATENCY_LEAST, _LATENCY_MOST = 0.001, 100.0

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1140px;color:#222}
h1{font-size:1.5em}.good{color:#176b2c}.bad{color:#a11212}
table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}
svg text{font:11px system-ui,sans-serif;fill:#444}pre{background:#f4f4f4;padding:.6em;overflow-x:auto}
"""
_COLOURS = {"kill": "#c0392b", "stop": "#8e44ad", "paus": "#8e44ad", "cloc": "#16a085"}


def page(outcome: Outcome) -> str:
    """The whole page as HTML."""
    seconds = seconds_of(outcome.history, outcome.began_at, outcome.ended_at)
    plan = outcome.plan
    verdict = (
        '<p class="good"><b>No promise was broken.</b></p>'
        if not outcome.findings
        else '<p class="bad"><b>Broken:</b></p><pre>' + _text(outcome.findings) + "</pre>"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Chaos, seed {plan.seed}</title>"
        f"<style>{_STYLE}</style>"
        f"<h1>Chaos: seed {plan.seed}, {outcome.ended_at - outcome.began_at:.0f} s</h1>"
        f"{verdict}<p>Again: <code>{html.escape(plan.command)}</code></p>"
        f"{_figures(outcome)}<h2>Timeline</h2>{_timeline(outcome, seconds)}"
        f"<h2>Faults</h2>{_counts(outcome)}{_list(outcome)}"
        f"<h2>Notes</h2><pre>{_text(outcome.notes)}</pre></html>\n"
    )


def _text(lines: Sequence[str]) -> str:
    return html.escape("\n".join(lines))


def figures(outcome: Outcome) -> dict[str, str]:
    """What the run was like, in words."""
    history = outcome.history
    began_at, ended_at = outcome.began_at, outcome.ended_at
    times = [ack.at for ack in history.acks]
    latencies = [ack.latency_seconds for ack in history.acks if ack.latency_seconds >= 0]
    seconds, at = longest_pause(times, began_at, ended_at)
    return {
        "records acknowledged": str(len(history.acks)),
        "records read by the group": str(len(history.polls)),
        "faults": str(len(outcome.intervals)),
        "latency p50 / p99 / longest": " / ".join(
            _seconds(quantile(latencies, share)) for share in (0.5, 0.99, 1.0)
        ),
        "longest time without any acknowledgement": f"{seconds:.1f} s, from second {at - began_at:.0f} on",
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _figures(outcome: Outcome) -> str:
    rows = (f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in figures(outcome).items())
    return f"<table>{''.join(rows)}</table>"


def _counts(outcome: Outcome) -> str:
    rows = (f"<tr><td>{kind}</td><td>{count}</td></tr>" for kind, count in outcome.counts.items())
    return f"<table>{''.join(rows)}</table>"


def _list(outcome: Outcome) -> str:
    lines = [
        f"{interval.began_at - outcome.began_at:6.1f} to {interval.ended_at - outcome.began_at:6.1f} s"
        f"  {interval.what}"
        for interval in sorted(outcome.intervals, key=lambda each: each.began_at)
    ]
    return f"<pre>{_text(lines)}</pre>"


# The plot.


def _timeline(outcome: Outcome, seconds: Sequence[Second]) -> str:
    span = max(1, len(seconds))
    rows = _rows(outcome.intervals)
    faults_height = _ROW * (max(rows, default=0) + 1)
    height = 2 * (_HEIGHT + _GAP) + faults_height + _GAP
    parts = [
        _faults(outcome, rows, span, top=2 * (_HEIGHT + _GAP), full_height=height - _GAP),
        _throughput(seconds, span, top=10),
        _latency(seconds, span, top=10 + _HEIGHT + _GAP),
        _axis(span, height - 20),
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _x(second: float, span: int) -> float:
    return _LEFT + _PLOT * second / span


def _throughput(seconds: Sequence[Second], span: int, *, top: int) -> str:
    most = max(1, *(max(each.acks, each.polls) for each in seconds))
    acks = [(index, each.acks / most) for index, each in enumerate(seconds)]
    polls = [(index, each.polls / most) for index, each in enumerate(seconds)]
    ticks = [(share, f"{most * share:.0f}") for share in (0.0, 0.5, 1.0)]
    return (
        _frame("records a second: acknowledged (blue), read (grey)", ticks, top)
        + _line(polls, span, top, "#aaa")
        + _line(acks, span, top, "#2456a6")
    )


def _latency(seconds: Sequence[Second], span: int, *, top: int) -> str:
    p50 = [(i, _log(each.p50_seconds)) for i, each in enumerate(seconds) if each.p50_seconds is not None]
    p99 = [(i, _log(each.p99_seconds)) for i, each in enumerate(seconds) if each.p99_seconds is not None]
    ticks = [(_log(value), f"{value:g} s") for value in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)]
    return (
        _frame("latency of acknowledgements: p50 (blue), p99 (orange)", ticks, top)
        + _line(p99, span, top, "#d97706")
        + _line(p50, span, top, "#2456a6")
    )


def _log(seconds: float | None) -> float:
    """0 at the bottom of the plot, 1 at its top."""
    bounded = min(_LATENCY_MOST, max(_LATENCY_LEAST, seconds or 0.0))
    return math.log(bounded / _LATENCY_LEAST) / math.log(_LATENCY_MOST / _LATENCY_LEAST)


def _frame(title: str, ticks: Sequence[tuple[float, str]], top: int) -> str:
    lines = [f'<text x="{_LEFT}" y="{top - 1}">{title}</text>']
    for share, label in ticks:
        y = top + _HEIGHT * (1 - share) + 4
        lines.append(f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    return "".join(lines)


def _line(points: Sequence[tuple[float, float]], span: int, top: int, colour: str) -> str:
    path = " ".join(f"{_x(at + 0.5, span):.1f},{top + 4 + _HEIGHT * (1 - share):.1f}" for at, share in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.2" points="{path}"/>'


def _rows(intervals: Sequence[Interval]) -> list[int]:
    """For each interval the first row in which its bar and label meet no other."""
    free_at: list[float] = []
    rows = []
    for interval in sorted(intervals, key=lambda each: each.began_at):
        row = next((i for i, free in enumerate(free_at) if free <= interval.began_at), len(free_at))
        if row == len(free_at):
            free_at.append(0.0)
        free_at[row] = interval.ended_at + 30.0  # room for the label
        rows.append(row)
    return rows


def _faults(outcome: Outcome, rows: Sequence[int], span: int, *, top: int, full_height: int) -> str:
    drawn = []
    ordered = sorted(outcome.intervals, key=lambda each: each.began_at)
    for interval, row in zip(ordered, rows, strict=True):
        left = _x(interval.began_at - outcome.began_at, span)
        width = max(1.5, _x(interval.ended_at - outcome.began_at, span) - left)
        colour = _COLOURS.get(interval.fault.kind[:4], "#2980b9")
        y = top + row * _ROW
        what = html.escape(interval.what)
        drawn.append(
            f'<rect x="{left:.1f}" y="10" width="{width:.1f}" height="{full_height - 10}" fill="{colour}"'
            f' opacity="0.06"/><rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 3}"'
            f' fill="{colour}"><title>{what}</title></rect>'
            f'<text x="{left + width + 2:.1f}" y="{y + 9}">{html.escape(interval.fault.kind)}</text>'
        )
    return "".join(drawn)


def _axis(span: int, y: int) -> str:
    step = next(step for step in (5, 10, 30, 60, 300, 600, 3600) if span / step <= 15 or step == 3600)
    return "".join(
        f'<text x="{_x(second, span):.1f}" y="{y}" text-anchor="middle">{second} s</text>'
        for second in range(0, span + 1, step)
    )
