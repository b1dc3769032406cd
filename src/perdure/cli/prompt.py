"""The prompt of `perdure debug`: its commands, and how it shows where code stands."""

from __future__ import annotations

import cmd
import sys
from collections.abc import Iterator

from perdure.cli import documents, screen
from perdure.cli.values import json_value
from perdure.errors import InvalidArgument, PerdureError, RemoteError
from perdure.sdk.debugger import Debugger

LISTED = 5
"""Events that `list` shows before and after the place."""


class Prompt(cmd.Cmd):
    """Reads commands from standard input until `quit`, or its end."""

    doc_header = "Commands (help NAME tells more):"

    def __init__(self, debugger: Debugger) -> None:
        super().__init__()
        self._debugger = debugger
        self._is_terminal = sys.stdin.isatty()

    def run(self, *, pdb: bool) -> None:
        """Show the place, in pdb first if wanted, and obey."""
        self._show()
        if pdb:
            self.onecmd("pdb")
        self.cmdloop("help lists the commands." if self._is_terminal else None)

    # -- moving ---------------------------------------------------------------------------------------------------

    def do_next(self, argument: str) -> None:
        """next, n: deliver the next event."""
        self._debugger.forward()
        self._show()

    def do_back(self, argument: str) -> None:
        """back, b: to before the event before; in a what-if, take back the last that was invented."""
        self._debugger.back()
        self._show()

    def do_goto(self, argument: str) -> None:
        """goto N: stop before event N; what was invented is forgotten."""
        self._debugger.goto(_number(argument, "goto N"))
        self._show()

    def do_pdb(self, argument: str) -> None:
        """pdb: deliver the next event that the code sees under pdb; `quit` in pdb comes back here."""
        self._debugger.step_into()
        self._show()

    # -- what if --------------------------------------------------------------------------------------------------

    def do_answer(self, argument: str) -> None:
        """answer NUMBER [JSON]: go on as if the call had this result, or the timer had fired."""
        number, _, text = argument.partition(" ")
        result = json_value(text, "the result") if text.strip() else None
        self._debugger.answer(_number(number, "answer NUMBER [JSON]"), result)
        self._show()

    def do_fail(self, argument: str) -> None:
        """fail NUMBER TYPE [MESSAGE]: go on as if the call had failed for good with an error of this type."""
        number, _, told = argument.partition(" ")
        kind, _, message = told.strip().partition(" ")
        if not kind:
            raise InvalidArgument("write fail NUMBER TYPE [MESSAGE]")
        self._debugger.fail(_number(number, "fail NUMBER TYPE [MESSAGE]"), RemoteError(kind, message.strip(), ""))
        self._show()

    def do_raise(self, argument: str) -> None:
        """raise NAME [JSON]: go on as if an external event had come."""
        name, _, text = argument.partition(" ")
        self._debugger.raise_event(name, json_value(text, "the data") if text.strip() else None)
        self._show()

    # -- looking --------------------------------------------------------------------------------------------------

    def do_list(self, argument: str) -> None:
        """list, l [all]: the events around this place, or all."""
        debugger = self._debugger
        for number, event in enumerate(debugger.events, 1):
            if argument == "all" or abs(number - debugger.at) <= LISTED:
                print(screen.clean(f"{'>' if number == debugger.at else ' '} {number:>4} {_told(event, number)}"))
        for event in debugger.invented:
            print(screen.clean(f"  what if {_told(event, 0)}"))

    def do_where(self, argument: str) -> None:
        """where, w: the frames of each task, outermost first."""
        for task in self._debugger.tasks:
            print(screen.clean(task.name))
            for frame in task.frames:
                print(screen.clean(f"  {frame}"))
                print(screen.clean(f"      {frame.source}"))

    def do_locals(self, argument: str) -> None:
        """locals, v [TASK]: the variables in the innermost frame of a task; `tasks` numbers them."""
        task = _number(argument, "locals TASK") if argument else 0
        for name, value in self._debugger.locals(task).items():
            print(screen.clean(f"{name} = {value}"))

    def do_tasks(self, argument: str) -> None:
        """tasks, t: where each task stands."""
        for number, frame in enumerate(self._debugger.where()):
            print(screen.clean(f"{number} {frame}"))

    def do_waits(self, argument: str) -> None:
        """waits: what the code has asked for and has no answer to."""
        for wait in self._debugger.waits:
            print(_asked(wait))

    def do_asked(self, argument: str) -> None:
        """asked: all that the code has asked for until here."""
        for action in self._debugger.asked:
            print(_asked(action))

    def do_quit(self, argument: str) -> bool:
        """quit, q: leave."""
        return True

    # -- what cmd asks --------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> str:  # type: ignore[override]
        """Nothing where a program reads."""
        return f"(before {self._debugger.at}) " if self._is_terminal else ""

    def onecmd(self, line: str) -> bool:
        """Obey, or say in a sentence why not."""
        word, space, rest = line.strip().partition(" ")
        try:
            return bool(super().onecmd(_SHORT.get(word, word) + space + rest))
        except PerdureError as error:
            screen.say(str(error))
            return False

    def emptyline(self) -> bool:
        return False

    def default(self, line: str) -> None:
        if line == "EOF":
            return
        raise InvalidArgument(f"there is no command {line.split(maxsplit=1)[0]!r}; help lists them")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        for line in _place(self._debugger):
            print(screen.clean(line))


_SHORT = {"n": "next", "b": "back", "l": "list", "w": "where", "v": "locals", "t": "tasks", "q": "quit", "EOF": "quit"}


def _place(debugger: Debugger) -> Iterator[str]:
    following, stall, end = debugger.next_event, debugger.stall, debugger.end
    if debugger.invented:
        yield f"what if, from event {debugger.at} on: {len(debugger.invented)} invented"
    else:
        told = _told(following, debugger.at) if following is not None else "the end"
        yield f"before event {debugger.at} of {len(debugger.events)}: {told}"
    for frame in debugger.where():
        yield f"  {frame}"
        yield f"      {frame.source}"
    if end is not None:
        yield f"  the run has ended: {_asked(end)}"
    if stall is not None:
        yield f"  the code stands still ({stall.reason}): {stall.description}"


def _told(event: object, number: int) -> str:
    document = documents.event(event, number)
    rest = {name: value for name, value in document.items() if name not in ("index", "type", "at")}
    return f"{document['type']} {screen.value(rest, LINE_CHARACTERS_MAX)}" if rest else document["type"]


def _asked(action: object) -> str:
    document = documents.action(action)
    return f"{document.pop('type')} {screen.value(document, LINE_CHARACTERS_MAX)}"


LINE_CHARACTERS_MAX = 160
"""Characters of an event or action that a line shows."""


def _number(text: str, usage: str) -> int:
    if not text.strip().isdecimal():
        raise InvalidArgument(f"{text[:40]!r} is no number; write {usage}")
    return int(text)
