"""What is said of time control: rewinding, speed, branches, slots. Pure: from a session's state to rows of text.

Owns: the words. Does not own: what they look like (`app.text_renderer`), when they are shown (`app.application`).
"""

from __future__ import annotations

from collections.abc import Iterable

from worldsim.actions.bindings import BINDINGS, Binding, Command, key_for
from worldsim.app.hud import InlineImage, PanelRow, Style
from worldsim.engine.history import Branch, PlayHistory
from worldsim.engine.saves import NUM_SLOTS, SaveSlot
from worldsim.engine.session import Session, SessionState

MAX_BRANCHES = 12
"""Rows of the list; the ones nearest to the present branch are shown."""


def time_lines(session: Session, news: str) -> tuple[str, ...]:
    """Lines above the status line; none while time goes on as usual. `news`: a message that is still worth showing."""
    lines = [news] if news else []
    parts = []
    if session.state is SessionState.REWINDING:
        parts.append(f"<< rewinding   {session.rewound_s:.1f} s back")
    if session.speed != 1.0:
        parts.append(f"speed {session.speed:g}x")
    history = session.history
    if history is not None and history.head is not None and len(history.branches) > 1:
        parts.append(f"branch {history.head.branch}")
    return (*lines, "   ".join(parts)) if parts else tuple(lines)


def branch_rows(
    history: PlayHistory | None, tick_s: float, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    """The tree of what was played, one row per branch, the present one marked."""
    title = PanelRow("Branches", style=Style.STRONG)
    if history is None or history.head is None:
        return (title, PanelRow("this world cannot go back"))
    branches = list(history.branches.values())
    here = next((place for place, b in enumerate(branches) if b.number == history.head.branch), 0)
    begin = min(max(0, here - MAX_BRANCHES // 2), max(0, len(branches) - MAX_BRANCHES))
    rows = [_branch_row(history, branch, tick_s) for branch in branches[begin : begin + MAX_BRANCHES]]
    before, after = key_for(Command.BRANCH, -1, bindings), key_for(Command.BRANCH, 1, bindings)
    return (title, *rows, PanelRow(f"{before} and {after} go from one to the other", style=Style.MUTED))


def slot_rows(
    slots: Iterable[SaveSlot], chosen: int, tick_s: float, bindings: tuple[Binding, ...] = BINDINGS
) -> tuple[PanelRow, ...]:
    rows = [PanelRow(f"Slot {chosen} of {NUM_SLOTS}", style=Style.STRONG)]
    for slot in slots:
        mark = "> " if slot.number == chosen else "   "
        image = None
        if slot.saved is not None:
            frame = slot.saved.step.frame
            image = InlineImage(frame.shape[1], frame.shape[0], frame.tobytes())
            text = f"{_mmss(slot.saved.step.index * tick_s)}, seed {slot.saved.seed}"
        else:
            text = "damaged" if slot.error else "empty"
        style = Style.ERROR if slot.error else Style.PLAIN if slot.number == chosen else Style.MUTED
        rows.append(PanelRow(f"{mark}{slot.number}  {text}", style=style, image=image))
    save, load = key_for(Command.SAVE, bindings=bindings), key_for(Command.LOAD, bindings=bindings)
    return (*rows, PanelRow(f"{save} saves, {load} loads", style=Style.MUTED))


def _branch_row(history: PlayHistory, branch: Branch, tick_s: float) -> PanelRow:
    is_here = history.head is not None and history.head.branch == branch.number
    origin = branch.label or f"seed {branch.tip.seed}" if branch.parent is None else f"left {branch.parent}"
    begin_s, end_s = branch.first_index * tick_s, branch.tip.step.index * tick_s
    mark = "> " if is_here else "   "
    text = f"{mark}{'   ' * history.depth(branch)}{branch.number}: {origin} at {_mmss(begin_s)}, up to {_mmss(end_s)}"
    return PanelRow(text, style=Style.PLAIN if is_here else Style.MUTED)


def _mmss(duration_s: float) -> str:
    minutes, seconds = divmod(int(duration_s), 60)
    return f"{minutes}:{seconds:02d}"
