"""The table of pages."""

from __future__ import annotations

from perdure.remote.dashboard.auditing import AUDIT_PAGES
from perdure.remote.dashboard.causes import CAUSE_PAGES
from perdure.remote.dashboard.conversation import CONVERSATION_PAGES
from perdure.remote.dashboard.failures import FAILURE_PAGES
from perdure.remote.dashboard.instance import INSTANCE_PAGES
from perdure.remote.dashboard.listing import LISTING_PAGES
from perdure.remote.dashboard.nodes import NODE_PAGES
from perdure.remote.dashboard.page import Page
from perdure.remote.dashboard.schedules import SCHEDULE_PAGES
from perdure.remote.dashboard.steering import STEERING_PAGES

PAGES: tuple[Page, ...] = (
    *LISTING_PAGES,
    *INSTANCE_PAGES,
    *CONVERSATION_PAGES,
    *STEERING_PAGES,
    *SCHEDULE_PAGES,
    *NODE_PAGES,
    *CAUSE_PAGES,
    *FAILURE_PAGES,
    *AUDIT_PAGES,
)
