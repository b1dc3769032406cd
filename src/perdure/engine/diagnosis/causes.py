"""The table of all causes: why an instance is not finished, what happens by itself, and which command moves it.

`explain`, the page docs/operations/troubleshooting.md and whoever shows an explanation read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

NOTHING = "nothing"
"""What `Cause.next` says where an instance waits for ever unless somebody does something."""


class Command(msgspec.Struct, frozen=True):
    """A command of `perdure`: its verb, the facts that are its arguments, one more that a case may have, its options,
    and whether it always names the app, which others do for an app that is not the caller's alone."""

    verb: tuple[str, ...]
    arguments: tuple[str, ...] = ("id",)
    last: str | None = None
    options: tuple[str, ...] = ()
    names_app: bool = False

    def __str__(self) -> str:
        app = ("--app", "APP") if self.names_app else ()
        last = (f"[{self.last.upper()}]",) if self.last is not None else ()
        return " ".join(("perdure", *self.verb, *app, *self.options, *map(str.upper, self.arguments), *last))


RESUME = Command(("resume",))
RETRY = Command(("resume",), options=("--now",))
CANCEL = Command(("cancel",))
TERMINATE = Command(("terminate",))
RAISE = Command(("raise",), ("id", "event_name"), last="data")
DENY = Command(("raise",), ("id", "event_name", "denial"))
WORKER = Command(("worker",), (), names_app=True)
STEERING = (RETRY, CANCEL, TERMINATE, RAISE, DENY)
"""What an entity does not take."""
ASK_ON = Command(("explain",), ("on",))


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Braces in `sentence` and `next` are facts of the case, by name.

    `next` is what happens by itself, and when. `command` is the one that moves it, None where nothing has
    to. `why` and `prevent` are for operators. `is_normal`: nothing is wrong, so nobody need be told.
    """

    id: str
    title: str
    sentence: str
    next: str = NOTHING
    command: Command | None = None
    why: str
    prevent: str
    is_normal: bool = False


# -- it is over, or was halted by somebody ----------------------------------------------------------------------------

_HALTED = (
    Cause(
        id="finished",
        title="It is finished",
        sentence="{who} is {status}",
        why="The run has ended, so it waits for nothing.",
        prevent="There is nothing to prevent. `perdure show` has the result or the failure.",
        is_normal=True,
    ),
    Cause(
        id="suspended",
        title="Somebody suspended it",
        sentence="{who} was suspended{why}{by}",
        next="nothing until it is resumed; events and results are kept meanwhile",
        command=RESUME,
        why="`suspend` was called, by a person or a program. No code of the run goes on and no attempt begins.",
        prevent="Give `suspend` a reason that says when it ends, so that the next person knows.",
    ),
    Cause(
        id="parent-finished",
        title="Its parent has ended without it",
        sentence="{rest}; its parent {parent} is {status}, so nobody waits for its result",
        next="{next}",
        command=TERMINATE,
        why="The parent was terminated or failed while the child was under way, and the child goes on alone.",
        prevent="Terminate parents with their children, which is the default (`--recursive`).",
    ),
)

# -- where nobody can or will take its turn ---------------------------------------------------------------------------

_UNOWNED = (
    Cause(
        id="no-node",
        title="No process runs the app",
        sentence="{who} {what}: no process runs its app{app_told}{last}",
        next="it goes on as soon as a worker or server of the app starts",
        command=WORKER,
        why="All workers and servers of the app are stopped, have crashed, or work on another store.",
        prevent="Run workers under a supervisor (systemd, Kubernetes) that starts them again; see Deploying.",
    ),
    Cause(
        id="store-held",
        title="A process of another app has the store to itself",
        sentence="{who} {what}: {keeper} has the store to itself and does not run its app{app_told}",
        next="a worker of the app that stands by takes over when that process ends",
        command=WORKER,
        why="A store in a file belongs to one process at a time, and that one runs other apps.",
        prevent="Give each app a file of its own, let one process run both apps, or take a store on a server.",
    ),
    Cause(
        id="no-worker",
        title="A server runs, but no worker of the app",
        sentence="{who} {what}: {standing}",
        next="it goes on as soon as a worker of the app connects",
        command=WORKER,
        why="The server is up and owns the app, but no program with the app's code is connected to it.",
        prevent="Start workers together with the server, and alert on servers without workers.",
    ),
    Cause(
        id="no-code",
        title="No worker has the workflow, activity or version",
        sentence="{who} {what}: {standing}",
        next="it goes on as soon as a worker connects that has the code",
        command=WORKER,
        why="Workers of the app are connected, but all of them run code without this name or version.",
        prevent="Deploy the workers that have new code before anything starts it, and keep old versions while runs are "
        "on them.",
    ),
    Cause(
        id="lent",
        title="Only another server's workers have the code",
        sentence="{who} {what}: {standing}",
        next="that server takes it within a few seconds, or as soon as a worker of it has room",
        command=CANCEL,
        why="The workers of an app's servers have different code, and the run belongs to a server that has none of "
        "this. It lends the work through the store, which costs a few commits more.",
        prevent="There is nothing to prevent. Where it has to be fast, let every server have workers of each kind.",
        is_normal=True,
    ),
    Cause(
        id="lease-lost",
        title="Its owner is gone and nobody has taken over yet",
        sentence="{who} {what}: {owner}, which owned it, gives no sign of life",
        next="{next}",
        why="The node that owned the shard died or lost its connection to the store. Another takes the shard when the "
        "lease runs out.",
        prevent="Run two nodes or more. Stop nodes with SIGTERM, so that they hand over at once.",
    ),
    Cause(
        id="late",
        title="Its owner has not taken its messages for a while",
        sentence="{who} has {letters} that its owner {owner} has not taken for {age}{hint}",
        next="the owner takes it as soon as it can; if it hangs, end that process and another takes over",
        why="The owner is overloaded, is paused, or cannot write to the store.",
        prevent="Watch the backlog's age. Add nodes, or find what blocks the event loop (the log names it).",
    ),
    Cause(
        id="store-full",
        title="The store has no room",
        sentence="{who} goes on when the store has room again: it has taken nothing since {since}; free some space",
        next="it goes on by itself as soon as there is room",
        why="The disk or the database's quota is full. What was decided is kept in memory and written when it can be.",
        prevent="Alert on free space; purge finished instances, or let a retention do it.",
    ),
    Cause(
        id="store-slow",
        title="The store does not take writes in time",
        sentence="{who} goes on when the store answers: a commit has been under way for {age}",
        next="it goes on by itself as soon as the store takes the commit",
        why="Another program keeps the database locked, its disk is slow, or the connection is bad.",
        prevent="Keep foreign transactions on the store short, and watch the commit time.",
    ),
    Cause(
        id="store-refuses",
        title="The store cannot be written",
        sentence="{who} goes on when its process can write to the store again: {why}",
        next="it goes on by itself within a few seconds of that",
        why="The store's file, its directory or its disk has become read-only, or the disk fails.",
        prevent="Watch the disk, and let nothing else change the modes or the mount of the store's directory.",
    ),
    Cause(
        id="clock-skew",
        title="Clocks disagree",
        sentence="{who} was written at {updated}, which is {age} from now: the clock of its node, or the one here, is "
        "wrong, and its timers count by that",
        next="{next}",
        command=CANCEL,
        why="The clock of the machine that took the last turn is ahead of this one. Timers and retries that it planned "
        "are due by its clock.",
        prevent="Let all machines keep their time by NTP.",
    ),
    Cause(
        id="stopping",
        title="The server is stopping",
        sentence="{who} {what}: {standing}",
        next="the next server that takes the app hands it out",
        why="A server that drains hands out nothing more.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
)

# -- before it has begun, and between turns ---------------------------------------------------------------------------

_TURNS = (
    Cause(
        id="start-time",
        title="Its start lies ahead",
        sentence="{who} starts at {due}",
        next="it begins at {due}",
        command=CANCEL,
        why="It was started with `at`, or a debounce or schedule has put its start off.",
        prevent="There is nothing to prevent. To begin now, cancel it and start another.",
        is_normal=True,
    ),
    Cause(
        id="pending",
        title="It is about to begin",
        sentence="{who} has not begun: its owner {owner} has not taken it up yet{hint}",
        next="its owner takes it up within a moment",
        why="The start is stored, and the owner of its shard looks for it.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="workflow-slots",
        title="Its node has begun as many workflows as it may",
        sentence="{who} has not begun: its node has {slots} workflow slots; {holders}",
        next="it begins when one of them has ended",
        command=CANCEL,
        why="The app's `workflow_slots` bound how many workflows a node has under way at once.",
        prevent="Raise `workflow_slots`, or start more nodes. Who waits for a child keeps its slot meanwhile.",
        is_normal=True,
    ),
    Cause(
        id="turn",
        title="A turn of it is about to be taken, or under way",
        sentence="{who} {what}",
        next="the turn is taken within a moment",
        why="Messages were just delivered, or its code is running.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="with-worker",
        title="A worker has it",
        sentence="{who} {what}: {standing}",
        next="the worker answers, or it goes to another when the lease runs out",
        command=CANCEL,
        why="The turn or attempt was handed to a remote worker, which has not answered yet.",
        prevent="Let long activities give heartbeats, so that a dead worker is noticed early.",
        is_normal=True,
    ),
    Cause(
        id="given-back",
        title="A worker has given it back",
        sentence="{who} {what}: {standing}",
        next="it is handed out again by itself",
        command=CANCEL,
        why="The worker could not take it, because it is stopping or has no code for it.",
        prevent="Give workers of different versions different names or versions of workflows.",
    ),
    Cause(
        id="no-room",
        title="All workers are busy",
        sentence="{who} {what}: {standing}",
        next="it is handed out when a worker has room",
        command=CANCEL,
        why="The workers that are connected have as much work as they take at once.",
        prevent="Start more workers, or give them more slots.",
        is_normal=True,
    ),
    Cause(
        id="restarts",
        title="It begins anew again and again, and waits for nothing between",
        sentence="{who} has begun anew {generations} times, {pace} times a second, and waits for nothing between",
        next="it goes on like that for ever",
        command=TERMINATE,
        why="The workflow calls `continue_as_new` without waiting for a timer, an event or an activity first.",
        prevent="Let each generation wait for something before it continues as new.",
    ),
    Cause(
        id="suspect",
        title="It may be what kills its owner",
        sentence="{rest}. Its owners died {deaths} times running while it was in flight, so suspects run one by one "
        "and it may have to wait its turn",
        next="{next}",
        command=TERMINATE,
        why="The process that ran it died several times while it was in flight. It runs alone, to find out "
        "which one it is.",
        prevent="Look at the last lines of the log of the process that died; bound what activities take of memory.",
    ),
)

# -- what it waits for ------------------------------------------------------------------------------------------------

_WAITS = (
    Cause(
        id="event",
        title="It waits for an event that nobody has sent",
        sentence="{who} waits for the event {event} that nobody has sent{at}{more}",
        next="{next}",
        command=RAISE,
        why="The workflow waits for the outside world: an approval, a callback, a webhook.",
        prevent="Put `asyncio.timeout` around waits for events that may never come. What the event brings goes after "
        "its name, as JSON: the command has the least value of the type that the code waits for, to be changed for "
        "what is meant, or that type's name where nobody can make a value up.",
        is_normal=True,
    ),
    Cause(
        id="event-near",
        title="An event came under another name",
        sentence="{who} waits for the event {event}{at}, and one named {near} came at {came} instead{more}",
        next="{next}",
        command=RAISE,
        why="Whoever sends the event spells its name in another way than the workflow does.",
        prevent="Declare the event once (`perdure.ExternalEvent`) and let both sides use that.",
    ),
    Cause(
        id="decision",
        title="It waits for somebody to decide a call of an agent",
        sentence="{who} waits for a decision of the call {call} that nobody has made{more}",
        next="{next}",
        command=DENY,
        why="A tool of the agent asks for approval, or runs elsewhere. The command denies the call, which does nothing "
        'but tell the model. `{"approved": true}` in place of `{"approved": false}` lets it be made.',
        prevent="Give the tool an `Approval` with a `timeout`, after which its `default` decides.",
        is_normal=True,
    ),
    Cause(
        id="event-unnamed",
        title="It waits for an event whose name only its code knows",
        sentence="{who} has no call open, so it waits for an event; its SDK tells no names of events",
        next="{next}",
        command=TERMINATE,
        why="The protocol of its SDK does not tell the server which event the workflow waits for.",
        prevent="Set a custom status that names the event.",
        is_normal=True,
    ),
    Cause(
        id="child",
        title="It waits for a child",
        sentence="{who} waits for its child {on}{at}{more}",
        next="it goes on when the child has ended",
        command=ASK_ON,
        why="The workflow called another workflow and waits for its result; the child has its own explanation.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="child-gone",
        title="It waits for a child that does not exist",
        sentence="{who} waits for its child {on}{at}, of which the store holds nothing",
        next=NOTHING,
        command=CANCEL,
        why="The child's rows were deleted by hand or restored from an older backup, or its app has another store.",
        prevent="Purge with `perdure purge`, and restore whole stores.",
    ),
    Cause(
        id="timer",
        title="It sleeps",
        sentence="{who} sleeps until {due}{at}{more}",
        next="it wakes at {due}",
        command=CANCEL,
        why="The workflow waits for a time of its own choice.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="timer-far",
        title="It sleeps for very long",
        sentence="{who} sleeps until {due}{at}, which is {age} from now{more}",
        next="it wakes at {due}",
        command=CANCEL,
        why="The time was computed wrongly (milliseconds for seconds, a wrong year), or the workflow means to "
        "sleep that long.",
        prevent="Pass `timedelta`s in place of numbers, and wait for an event beside a long sleep.",
    ),
    Cause(
        id="activity",
        title="An activity runs",
        sentence="{who} waits for activity {activity}, attempt {attempt}{signs}{at}{more}{usual}",
        next="{next}",
        command=CANCEL,
        why="Nothing is wrong: the activity is at work.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="activity-long",
        title="An activity runs for longer than is usual",
        sentence="{who} waits for activity {activity}, attempt {attempt}, for {age} already{signs}{at}{more}{usual}",
        next="{next}",
        command=CANCEL,
        why="What the activity calls does not answer, or it has more to do than usual.",
        prevent="Give activities a `timeout`, and a `heartbeat_timeout` where they take long.",
    ),
    Cause(
        id="slots",
        title="All slots of its node are busy",
        sentence="{who} waits for activity {activity}, attempt {attempt}{at}: all {slots} of this node are busy and "
        "{waiting} before it or after it{more}",
        next="it begins when another attempt ends",
        command=CANCEL,
        why="The node runs as many attempts at once as its `slots` (or `slots_by_name`) allow.",
        prevent="Raise `slots`, or start more nodes.",
        is_normal=True,
    ),
    Cause(
        id="retry",
        title="An attempt failed and the next one lies ahead",
        sentence="{who} waits to try activity {activity} again at {due} (attempt {attempt}; last error {failure}){at}"
        "{more}",
        next="attempt {attempt} begins at {due}",
        command=RETRY,
        why="The activity raised an error, and its retry policy waits before it tries again.",
        prevent="Mend what the error names. A `max_interval` keeps the pauses short.",
    ),
    Cause(
        id="queue",
        title="A limit is reached",
        sentence="{who} waits {what}{at} in queue {queue}{key}, number {number} of {line} ({limits}); {holders}",
        next="it begins when a slot is free and its turn has come",
        command=CANCEL,
        why="The queue lets no more run at once, or start within its time.",
        prevent="Raise the queue's limits, or find out why those who hold its slots take so long: `perdure queues`.",
        is_normal=True,
    ),
    Cause(
        id="deadlock",
        title="Instances wait for each other",
        sentence="{who} is in a deadlock: {cycle}",
        next=NOTHING,
        command=Command(("cancel",), ("victim",)),
        why="Each of them waits for the next one, and the last one for the first, as when a parent keeps the slot of a "
        "queue that its child needs.",
        prevent="Let parents and children wait in different queues, and lock entities in one call.",
    ),
    Cause(
        id="offered",
        title="A call waits for a node with a free slot",
        sentence="{who} waits for activity {activity}, attempt {attempt}, until a node that has its code has a free "
        "slot{at}{more}",
        next="a node that has room claims it",
        command=CANCEL,
        why="The owner had no room for it, so any node of the app may run it; none has room, or none has the code.",
        prevent="Start more nodes, or give them more slots.",
        is_normal=True,
    ),
    Cause(
        id="claimed",
        title="Another node runs the call",
        sentence="{who} waits for activity {activity}, attempt {attempt}, which node {node} has claimed{until}{at}"
        "{more}",
        next="the node reports the result; if it dies, another claims the call when the claim has run out",
        command=CANCEL,
        why="The owner was full, so another node has taken the call.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="claim-lost",
        title="The node that claimed the call is gone",
        sentence="{who} waits for activity {activity}, attempt {attempt}, which node {node} had claimed and is gone{at}"
        "{more}",
        next="another node claims the call once the claim has run out",
        command=CANCEL,
        why="The node that ran the attempt died. Its claim runs out, and another node runs the attempt again.",
        prevent="There is nothing to prevent: this is how a node's death is survived.",
    ),
    Cause(
        id="entity",
        title="It waits for an entity's answer",
        sentence="{who} waits for {operation} of the entity {on}{at}{more}",
        next="it goes on when the entity has answered",
        command=ASK_ON,
        why="The workflow called an operation of an entity; the entity has its own explanation.",
        prevent="Keep operations of entities short.",
        is_normal=True,
    ),
    Cause(
        id="entity-lock",
        title="It waits for a lock",
        sentence="{who} waits for the lock of {operation}{at}{holders}{more}",
        next="it goes on when the lock is given back",
        command=TERMINATE,
        why="Another workflow has locked one of the entities.",
        prevent="Hold locks for short: never over a wait for an event.",
        is_normal=True,
    ),
    Cause(
        id="locked",
        title="The entity is locked",
        sentence="{who} is locked by {on}, and runs only what that calls",
        next="others go on when {on} gives the lock back",
        command=ASK_ON,
        why="A workflow is in a critical section over this entity.",
        prevent="Hold locks for short.",
        is_normal=True,
    ),
    Cause(
        id="entity-idle",
        title="An entity waits for operations",
        sentence="{who} {what}",
        next="{next}",
        why="An entity is never finished. It waits for the next operation.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
    Cause(
        id="entity-behind",
        title="An entity is behind its operations",
        sentence="{who} has {asked} under way, or in its queue, the first for {age}{doing}",
        next="they are run one after the other, as soon as the code is there and the one before has ended",
        why="An operation does not end, more come than can be done one after the other, or no worker has the code.",
        prevent="Keep operations short, bound what they wait for, and spread what many ask for over several entities.",
    ),
    Cause(
        id="schedule",
        title="A schedule waits for its next time",
        sentence="{who} {what}",
        next="{next}",
        command=Command(("schedule", "show"), ("schedule",)),
        why="A schedule is never finished. It starts a workflow at each of its times.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
)

# -- it stands still --------------------------------------------------------------------------------------------------

STALLED = "stalled:"
"""What the ids of causes begin with that are reasons of stalls."""
_STALL_SENTENCE = "{who} stands still ({reason}){at}: {description}"
_RETRIED = "it is tried again by itself when a worker starts whose code is another"


def _stall(reason: str, title: str, why: str, prevent: str, next: str = _RETRIED) -> Cause:
    return Cause(
        id=STALLED + reason,
        title=title,
        sentence=_STALL_SENTENCE,
        next=next,
        command=RESUME,
        why=why,
        prevent=prevent,
    )


_STALLS = (
    _stall(
        "workflow-not-registered",
        "The workers lack the workflow",
        "The instance was started under a name that no worker of the app has registered.",
        "Deploy workers before what starts their workflows. Start the worker that has it, then resume.",
    ),
    _stall(
        "version-not-registered",
        "The workers lack the version",
        "The run began on a version of the workflow that the workers no longer have.",
        "Keep old versions registered until `perdure list` shows no run on them.",
    ),
    _stall(
        "non-determinism",
        "The code does not fit the history",
        "The workflow's code was changed, or depends on something that is not recorded, so that its replay asks for "
        "something else than history holds. The sentence names the first difference.",
        "Use `patched` or versions for changes, run `perdure lint`, and `perdure replay` before a deployment.",
    ),
    _stall(
        "patch-mismatch",
        "The code asks for other patches than history has",
        "The worker's code has other `patched` markers than the code that began the run.",
        "Remove a patch only when no run from before it is left.",
    ),
    _stall(
        "payload-not-decodable",
        "A payload cannot be read",
        "An input, event or result is not of the type that the code declares, or of an encoding that is unknown here.",
        "Change types so that old payloads can still be read: new fields with defaults. An event that was sent with "
        "wrong data stays: deploy code that reads that too, or terminate the run.",
    ),
    _stall(
        "payload-too-large",
        "A payload is too large",
        "The code passes a value that is larger than the bound of payloads.",
        "Store large values elsewhere and pass their address, or use a codec with offload.",
    ),
    _stall(
        "turn-too-large",
        "A turn is too large for the store",
        "What one turn asks for at once is more than the database takes in one transaction.",
        "Pass addresses of large values, or ask for fewer things at once.",
    ),
    _stall(
        "turn-not-writable",
        "The store failed at writing a turn",
        "The store raised an error that it must not; the log has it.",
        "Report it: this is a defect.",
        next=NOTHING,
    ),
    _stall(
        "turn-too-long",
        "A turn does not end",
        "The workflow's code loops without waiting for something durable, or blocks its thread. The line says where.",
        "Do slow things in activities, and let loops wait.",
    ),
    _stall(
        "history-too-long",
        "The history is longer than its bound",
        "The run has gone on for so many steps that its replay would take too long.",
        "Let long workflows use `continue_as_new`.",
        next=NOTHING,
    ),
    _stall(
        "history-corrupt",
        "The history cannot be read",
        "Bytes of the history's rows are damaged, or were changed by hand.",
        "Restore the rows from a backup. Never write to the tables by hand.",
        next=NOTHING,
    ),
    _stall(
        "wait-corrupt",
        "The waits cannot be read",
        "Rows of open calls are damaged or missing.",
        "Restore the rows from a backup. Never write to the tables by hand.",
        next=NOTHING,
    ),
    _stall(
        "mail-corrupt",
        "A message cannot be read",
        "A message in the mailbox is damaged.",
        "Restore the row from a backup. Never write to the tables by hand.",
        next=NOTHING,
    ),
    _stall(
        "key-missing",
        "The key of a payload is not there",
        "A payload is encrypted under a key that this worker does not have.",
        "Give every worker all keys that are still in use, new ones first.",
    ),
    _stall(
        "payload-tampered",
        "A payload was changed",
        "An encrypted payload does not carry the seal of its key: it was changed, or belongs to another place.",
        "Find out who writes to the store.",
    ),
    _stall(
        "blob-missing",
        "An offloaded payload is not there",
        "The blob that a payload was offloaded to was deleted, or its storage is another one here.",
        "Let all workers use one blob storage, and delete blobs with `perdure sweep` alone.",
    ),
    _stall(
        "blobs-unavailable",
        "The storage of offloaded payloads does not answer",
        "The directory or bucket that large payloads are offloaded to cannot be reached.",
        "Watch the storage as you watch the store.",
    ),
    _stall(
        "codec-failed",
        "The codec failed",
        "The app's codec raised an error; the sentence has it.",
        "Mend the codec, or what it needs.",
    ),
    _stall(
        "quarantined",
        "It kills its workers",
        "The process that ran it died several times running, the last time when it ran alone: an activity crashes the "
        "interpreter, or takes all memory.",
        "Bound what activities take of memory, and run code that may crash in a process of its own.",
        next=NOTHING,
    ),
    _stall(
        "refused",
        "The code asked for something that is not possible",
        "The workflow's code broke a rule of the engine; the sentence says which.",
        "Correct the code, and test it with `perdure.testing`.",
    ),
    _stall(
        "other",
        "It stands still for another reason",
        "The reason is one that this version does not know; the sentence has what was written.",
        "Use one version of Perdure on all machines.",
    ),
)

# -- messages of topics -----------------------------------------------------------------------------------------------

_TOPICS = (
    Cause(
        id="topic-no-group",
        title="Nobody has subscribed to a topic",
        sentence="{who} has {left} and nobody has ever subscribed to it",
        next="the first group that subscribes begins with the oldest of them",
        why="Programs publish to the topic, and no app that subscribes to it has been open on this store. A slip in "
        "the name makes a topic of its own.",
        prevent="Keep the names of topics in one place, which publishers and subscribers import.",
    ),
    Cause(
        id="topic-no-node",
        title="No process runs the app that handles a topic",
        sentence="{who} has {left} left, the oldest from {age} ago: no process runs its app",
        next="it goes on as soon as a worker of the app starts",
        command=WORKER,
        why="All workers of the app are stopped, have crashed, or work on another store.",
        prevent="Run workers under a supervisor (systemd, Kubernetes) that starts them again; see Deploying.",
    ),
    Cause(
        id="topic-unhandled",
        title="No process handles a group of a topic",
        sentence="{who} has {left} left, the oldest from {age} ago: none of {nodes} handles it",
        next="it goes on as soon as a worker starts whose code has it; until then the topic keeps its messages",
        command=WORKER,
        why="Workers of the app run, but their code has no such subscription: it was deleted, or its function, and "
        "with it the group, has another name now.",
        prevent="Name groups with `group=`, and forget one whose code is gone: `perdure topics TOPIC --forget GROUP`.",
    ),
    Cause(
        id="topic-suspect",
        title="A message of a topic may kill its process",
        sentence="{who} has {left} left: its process died {deaths} running while message {message} was in hand",
        next="it runs alone once a process handles its group; if they go on dying of it, it is given up and {end}",
        why="The process that handled it was killed again and again: the handler crashes the interpreter, takes all "
        "memory, or something else kills the process.",
        prevent="Bound what handlers take of memory, and run code that may crash in a process of its own.",
    ),
    Cause(
        id="topic-key-blocked",
        title="One message holds back its key",
        sentence="{who} has {left} left: {behind} of the key {key} wait behind message {message}, which has failed "
        "{failed}",
        next="{attempt} begins at {due}; after the last one it {end} and its key goes on",
        why="Messages of a key are handled in order, so a handler that fails holds back those that come later.",
        prevent="Give keys to what needs order alone, and bound the attempts with `retry=` and `dead_letter=`.",
    ),
    Cause(
        id="topic-failing",
        title="A handler of a topic fails",
        sentence="{who} has {left} left: message {message} has failed {failed}",
        next="{attempt} begins at {due}; after the last one it {end}",
        why="The handler raised an error or took too long; the log of its process has it.",
        prevent="Let handlers do little, such as starting a workflow, whose activities are tried again by themselves.",
    ),
    Cause(
        id="topic-behind",
        title="A group of a topic is behind",
        sentence="{who} has {left} left, the oldest from {age} ago, although nothing of it fails",
        next="{nodes} go on with it",
        why="Messages come faster than they are handled, or there was a backlog when the workers started.",
        prevent="Watch `perdure_topic_oldest_seconds`. Add nodes, or raise `in_hand_max`.",
    ),
    Cause(
        id="topic-working",
        title="A group of a topic is at work",
        sentence="{who} has {left} left and {nodes} handle them",
        next="they are handled within a moment",
        why="Messages were published a moment ago.",
        prevent="There is nothing to prevent.",
        is_normal=True,
    ),
)

_ALL = (*_HALTED, *_UNOWNED, *_TURNS, *_WAITS, *_STALLS, *_TOPICS)
CAUSES: Mapping[str, Cause] = {cause.id: cause for cause in _ALL}
"""By id."""

OTHER = STALLED + "other"


def cause_of(id: str) -> Cause:
    """The row of a cause; of a stall whose reason has none, that of all such."""
    found = CAUSES.get(id)
    if found is None and id.startswith(STALLED):
        found = CAUSES[OTHER]
    if found is None:
        raise KeyError(id)
    return found


def counted_reason(reason: str) -> str:
    """The reason of a stall as it is counted: that of its row, because workers may write any text as theirs."""
    return cause_of(STALLED + reason).id.removeprefix(STALLED)
