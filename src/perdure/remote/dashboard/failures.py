"""Failures in groups of the same, and the form that makes a group run again."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from perdure.errors import InvalidArgument, NotSupportedByServer
from perdure.history.alike import FailureGroup, FailureQuery
from perdure.remote.dashboard.asking import Asking
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.kinds import kind_of
from perdure.remote.dashboard.visit import Visit
from perdure.sdk.role import Role

ASK_SECONDS = 8.0
"""How long the page waits for them."""
LOOKED_AT = 500
"""Failed, and as many stalled, instances that are looked at: the newest."""
GROUPS_MAX = 200
CANARY_SECONDS = 6.0
"""How long the first of a group may take before the form answers; the others then wait for the next time."""
FINGERPRINT_CHARACTERS_MAX = 200


async def failures(visit: Visit) -> Shown:
    assert visit.target is not None, "only of a page about a target"
    key = (f"failures of {visit.target.name}", visit.app)
    groups: list[FailureGroup] | None = await visit.counted.get(key, lambda: _groups(visit), ASK_SECONDS)
    if groups is None:
        raise InvalidArgument("to look at them takes longer than a page may; `perdure failures` does it")
    kinds = [kind_of(group, visit.now) for group in groups[:GROUPS_MAX]]
    done = visit.query.get("done", "")
    return Shown(
        {"kinds": kinds, "looked_at": LOOKED_AT, "done": f"{done} made to run again." if done.isdecimal() else ""}
    )


async def _groups(visit: Visit) -> list[FailureGroup]:
    try:
        return await visit.gateway.failures(FailureQuery(limit=LOOKED_AT))
    except NotSupportedByServer as error:
        raise InvalidArgument(str(error.args[0])) from error


async def ask(visit: Visit) -> Shown:
    """The page that asks whether a group is to run again."""
    group = await _group(visit)
    verb = "Resume" if group.is_stalled else "Rerun"
    asking = Asking(
        verb=f"{verb} {len(group.ids):,}",
        warns=f"{group.sentence} The oldest goes first, alone; the others follow once it has come through.",
        about="Failures",
        back=visit.link("failures"),
        action=visit.link("failures/retry", fingerprint=group.fingerprint),
    )
    return Shown({"asking": asking})


async def act(visit: Visit) -> Response:
    """Make it run again."""
    group = await _group(visit)
    done = await visit.client.retry_failures(group.fingerprint, canary_seconds=CANARY_SECONDS, limit=LOOKED_AT)
    if done.hitch is not None:
        raise InvalidArgument(f"The others wait, because the first did not come through: {done.hitch}")
    return RedirectResponse(visit.link("failures", done=str(done.count)), 303)


async def _group(visit: Visit) -> FailureGroup:
    fingerprint = visit.query.get("fingerprint", "")[:FINGERPRINT_CHARACTERS_MAX]
    found = await visit.gateway.failures(FailureQuery(fingerprint=fingerprint, limit=LOOKED_AT)) if fingerprint else []
    if not found:
        raise InvalidArgument("no failure has this fingerprint; look at the list again")
    return found[0]


FAILURE_PAGES = (
    Page(path="failures", shows=failures, template="failures.html", nav="failures"),
    Page(path="failures/retry", shows=ask, does=act, template="confirm.html", nav="failures", role=Role.OPERATE),
)
