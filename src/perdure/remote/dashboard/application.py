"""The pages put together, and what stands before all of them: the name of the host, who is there, errors as pages."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.clock import SECOND, Clock, SystemClock
from perdure.engine.auditing import DASHBOARD, acting
from perdure.errors import InstanceNotFound, InvalidArgument, NotPermitted, PerdureError, ScheduleNotFound
from perdure.history.audit_log import Principal
from perdure.hosts import is_own_host
from perdure.remote.dashboard.counted import Counted
from perdure.remote.dashboard.forms import form_of
from perdure.remote.dashboard.guard import HEADERS, Policy, is_our_form
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.pages import PAGES
from perdure.remote.dashboard.seal import SESSION_SECONDS, Seal, Session
from perdure.remote.dashboard.targets import LOST, Place, Target, Targets
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.visit import Visit
from perdure.remote.security import TOKEN_CHARACTERS_MAX
from perdure.sdk.client import Client
from perdure.sdk.role import Role

log = logging.getLogger("perdure")
LOOK_SECONDS = 3.0
"""How long the page of all targets waits for one of them."""
APPS_SHOWN = 20
"""Apps of each target on that page."""
ASK_SECONDS = 10.0
"""How long a target may take for one page."""
COOKIE = "perdure_session"
_FAILED = "It is a defect, and the log of the dashboard has the rest."
_STATIC = Path(__file__).parent / "static"


def application(
    home: Any,
    *,
    hosts: Iterable[str] = (),
    read_only: bool = False,
    tokens: Sequence[tuple[Any, Role]] = (),
    clock: Clock | None = None,
) -> Starlette:
    """The dashboard as an ASGI application. `home` is an App, a Client or the `Targets` to show.

    `hosts` are the names under which browsers reach it, beside localhost and addresses in numbers. `read_only` takes
    all actions away. With `tokens` (a `perdure.remote.security.Token` and a role each) it asks for one of them.
    """
    targets = home if isinstance(home, Targets) else Targets([Target("here", _At(home).opened)])
    role = Role.READ if read_only else Role.ADMIN
    policy = Policy(tokens=tuple(tokens), role=role, hosts=frozenset(host.lower() for host in hosts))
    return Site(targets, policy, clock or SystemClock()).app


class Site:
    """All that is the same for all requests."""

    def __init__(self, targets: Targets, policy: Policy, clock: Clock) -> None:
        self._targets = targets
        self._policy = policy
        self._clock = clock
        self._counted: Counted[Any] = Counted()
        self._seal = Seal(secrets.token_bytes(32))
        self._templates = Environment(
            loader=PackageLoader("perdure.remote.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["moments"] = moments
        routes: list[Any] = [
            Route("/", self._home),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC), name="static"),
        ]
        routes += [
            Route(
                f"/at/{{target}}/{page.path}", self._endpoint(page), methods=["GET", "POST"] if page.does else ["GET"]
            )
            for page in PAGES
        ]
        self.app = Starlette(
            routes=routes,
            middleware=[Middleware(_Door, policy=policy)],
            exception_handlers={HTTPException: self._unrouted},
        )
        self.app.router.redirect_slashes = False

    # -- who is there ---------------------------------------------------------------------------------------------

    def _session(self, request: Request) -> Session | None:
        """Who asks; None if nobody may without a token and this one has shown none."""
        known = self._known(request)
        if known is not None or self._policy.tokens:
            return known
        return self._new_session(self._policy.role)

    def _known(self, request: Request) -> Session | None:
        """The session of the browser's cookie; None for one of an earlier process too."""
        return self._seal.session(request.cookies.get(_cookie(request), ""), self._clock.now() // SECOND)

    def _new_session(self, role: Role) -> Session:
        return Session(self._clock.token(), role, self._clock.now() // SECOND + SESSION_SECONDS)

    def _remember(self, request: Request, response: Response, session: Session) -> Response:
        response.set_cookie(
            _cookie(request),
            self._seal.cookie(session),
            path=f"{request.scope.get('root_path', '')}/",
            max_age=SESSION_SECONDS,
            secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
            httponly=True,
            samesite="strict",
        )
        return response

    # -- pages ----------------------------------------------------------------------------------------------------

    def _endpoint(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return self._to_login(request)
            visit = Visit(request=request, session=session, clock=self._clock, counted=self._counted)
            visit.has_token = bool(self._policy.tokens)
            try:
                response = await self._answer(page, visit)
            except ClientDisconnect:
                return Response(status_code=400)  # because nobody is there to read it
            except Exception:
                log.exception("a page of the dashboard failed: %s", page.path)
                response = self._page(visit, "error.html", 500, title="This page failed", sentence=_FAILED)
            if request.method == "GET" and self._known(request) is None:
                self._remember(request, response, session)
            return response

        return answered

    async def _answer(self, page: Page, visit: Visit) -> Response:
        target = self._targets.get(visit.request.path_params["target"])
        if target is None:
            return self._page(
                visit, "error.html", 404, title="No such target", sentence="There is no such target here."
            )
        visit.target = target
        try:
            visit.require(page.role)
            if visit.request.method == "POST":
                visit.form = await self._form(visit)
            async with asyncio.timeout(ASK_SECONDS):
                await _open(visit, target)
                acting.set(_principal(visit))
                shown = await (page.does if visit.request.method == "POST" and page.does else page.shows)(visit)
            target.answered()
        except TimeoutError:
            if target.is_up:
                target.slow()
            sentence = "It did not answer in time. Narrow down what you look for, or look whether it is well."
            return self._page(visit, "error.html", 503, title=f"{target.name} is slow", sentence=sentence)
        except LOST as error:
            why = await target.lost(error) if target.is_up else error
            return self._page(visit, "error.html", 503, title=f"{target.name} is down", sentence=_sentence(why))
        except (InstanceNotFound, ScheduleNotFound) as error:
            return self._page(visit, "error.html", 404, title="Not found", sentence=_sentence(error))
        except NotPermitted as error:
            return self._page(visit, "error.html", 403, title="Not permitted", sentence=_sentence(error))
        except PerdureError as error:
            return self._page(visit, "error.html", 400, title="That did not work", sentence=_sentence(error))
        if isinstance(shown, Response):
            return shown
        return self._shown(visit, page, shown)

    def _shown(self, visit: Visit, page: Page, shown: Shown) -> Response:
        if visit.is_fragment and page.fragment:
            if shown.version and shown.version == visit.query.get("seen"):
                return Response(status_code=204)
            return self._page(visit, page.fragment, 200, version=shown.version, **shown.facts)
        return self._page(visit, page.template, 200, version=shown.version, nav=page.nav, **shown.facts)

    def _page(self, visit: Visit, template: str, status: int, **facts: Any) -> Response:
        text = self._templates.get_template(template).render(
            {"nav": "", "form_token": self._seal.form_token(visit.session), "targets": list(self._targets)}
            | {"asks_token": bool(self._policy.tokens)}
            | visit.facts()
            | facts
        )
        return HTMLResponse(text, status, {"cache-control": "no-store"})

    async def _form(self, visit: Visit) -> Any:
        form = await form_of(visit.request)
        if not self._seal.is_form_token(visit.session, form.get("form_token", "")):
            raise NotPermitted("the form is older than your session; go back, load the page again, and repeat it")
        return form

    # -- the doors ------------------------------------------------------------------------------------------------

    async def _home(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._to_login(request)
        visit = Visit(request=request, session=session, clock=self._clock, counted=self._counted)
        first = next(iter(self._targets))
        if len(self._targets) == 1:
            return self._remember(request, RedirectResponse(visit.to(f"/at/{first.name}/instances"), 303), session)
        apps = dict(await asyncio.gather(*(_look(target) for target in self._targets)))
        return self._remember(request, self._page(visit, "targets.html", 200, apps=apps), session)

    def _to_login(self, request: Request) -> Response:
        root = str(request.scope.get("root_path", ""))
        if request.headers.get("hx-request") == "true":
            return Response(status_code=401, headers={"hx-redirect": f"{root}/login"})
        return RedirectResponse(f"{root}/login", 303)

    async def _login(self, request: Request) -> Response:
        visit = Visit(request=request, session=self._new_session(Role.READ), clock=self._clock, counted=self._counted)
        if not self._policy.tokens:
            return RedirectResponse(visit.to("/"), 303)
        if request.method == "GET":
            return self._page(visit, "login.html", 200, problem="")
        try:
            form = await form_of(request)
        except InvalidArgument as error:
            return self._page(visit, "login.html", 400, problem=_sentence(error))
        role = self._policy.role_of(form.get("token", "")[:TOKEN_CHARACTERS_MAX].strip())
        if role is None:
            log.warning("a login to the dashboard was refused: wrong token, from %s", _caller(request))
            return self._page(visit, "login.html", 401, problem="This token opens nothing here.")
        return self._remember(request, RedirectResponse(visit.to("/"), 303), self._new_session(role))

    async def _logout(self, request: Request) -> Response:
        root = str(request.scope.get("root_path", ""))
        response = RedirectResponse(f"{root}/login", 303)
        response.delete_cookie(_cookie(request), path=f"{root}/", httponly=True, samesite="strict")
        return response

    async def _unrouted(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        visit = Visit(request=request, session=self._new_session(Role.READ), clock=self._clock, counted=self._counted)
        return self._page(visit, "error.html", status, title="No such page", sentence="There is no such page here.")


class _Door:
    """Refuses names and forms that are not ours, and says on every answer what a browser may do with it."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        refused = self._refusal(Request(scope))
        await (self._app if refused is None else refused)(scope, receive, told)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not is_own_host(host, self._policy.hosts):
            return Response(
                "This dashboard does not go by that name. Who runs it adds names: --allowed-host, hosts=[...].\n",
                421,
                media_type="text/plain",
            )
        if request.method not in ("GET", "HEAD") and not is_our_form(request.headers, request.url.scheme):
            return Response("This form was sent by another site.\n", 403, media_type="text/plain")
        return None


class _At:
    """The place that is an App or Client in this process."""

    def __init__(self, home: Any) -> None:
        if not isinstance(home, Client) and not hasattr(type(home), "client"):
            raise InvalidArgument(f"a dashboard shows an App or a Client, not a {type(home).__name__}")
        self._home = home

    async def opened(self) -> Place:
        return self

    async def apps(self) -> Sequence[str]:
        return ("",)

    async def client(self, app: str) -> Client:
        home = self._home
        return home if isinstance(home, Client) else home.client

    async def close(self) -> None:
        """It is somebody else's."""


def _principal(visit: Visit) -> Principal:
    """Who acts, for the audit log."""
    name = "anonymous" if not visit.has_token else f"{visit.session.role.word} token, session {visit.session.id[:8]}"
    return Principal(kind=DASHBOARD, name=name, place=_caller(visit.request))


async def _open(visit: Visit, target: Target) -> None:
    place = await target.place()
    visit.apps = await place.apps()
    asked = visit.query.get("app", "")
    visit.app = asked if asked in visit.apps else next(iter(visit.apps), "")
    if not visit.apps:
        raise InvalidArgument("there is no app here yet; start a worker, and look again")
    visit.opened = await place.client(visit.app)


async def _look(target: Target) -> tuple[str, Sequence[str]]:
    """The apps of a target by its name; none if it is down, of which the page says why."""
    try:
        place = await target.place()
        async with asyncio.timeout(LOOK_SECONDS):
            apps = await place.apps()
        target.answered()
        return target.name, apps[:APPS_SHOWN]
    except TimeoutError:
        target.slow()
    except LOST as error:
        if target.is_up:
            await target.lost(error)
    except PerdureError as error:
        log.warning("the apps of target %s cannot be told: %s", target.name, error)
    return target.name, ()


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not isinstance(error, PerdureError):
        return "It did not answer in time."
    return str(error.args[0]) if error.args else type(error).__name__


def _cookie(request: Request) -> str:
    """With the port, because browsers send a host's cookies to all of its ports, and each may have a dashboard."""
    port = request.url.port
    return COOKIE if port is None else f"{COOKIE}_{port}"


def _caller(request: Request) -> str:
    return request.client.host if request.client is not None else "an unknown address"
