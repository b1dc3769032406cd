"""What clients ask of entities and are told, as the published SDKs have it."""

from __future__ import annotations

from msgspec import Raw

from perdure.codec import JSON, Payload
from perdure.remote.requests import CleanEntities, EntitySelection, EntityView, Flavour
from perdure.remote.wire import entities
from perdure.remote.wire.schema import MICROSOFT_SCHEMA
from tests.remote.wire.goldens import at, golden

MICROSOFT = Flavour.MICROSOFT


def test_a_signal_arrives():
    asked = entities.read_signal(golden(MICROSOFT, "SignalEntityRequest"))
    assert (asked.entity, asked.operation, asked.request) == ("instanceId", "name", "requestId")
    assert at(asked, "input") == "input.value"
    assert (asked.scheduled > 0, asked.scheduled_nanos) == (True, 999)


def test_a_look_at_an_entity_arrives():
    asked = entities.read_about_entity(golden(MICROSOFT, "GetEntityRequest"))
    assert (asked.entity, asked.with_state) == ("instanceId", True)


def test_a_query_arrives():
    asked = entities.read_entity_query(golden(MICROSOFT, "QueryEntitiesRequest"))
    assert (asked.prefix, asked.cursor) == ("query.instanceIdStartsWith.value", "query.continuationToken.value")
    assert (asked.with_state, asked.with_transient, asked.limit > 0) == (True, True, True)
    assert asked.since > asked.until > 0
    assert entities.read_entity_query(b"") == EntitySelection()


def test_a_clean_up_arrives():
    asked = entities.read_clean(golden(MICROSOFT, "CleanEntityStorageRequest"))
    assert asked == CleanEntities(removes_empty=True, releases_orphaned=True, cursor="continuationToken.value")
    assert entities.read_clean(b"") == CleanEntities()


VIEW = EntityView(entity="@e@k", updated=5, backlog=2, locked_by="i", state=Payload(JSON, None, Raw(b"7")))


def test_an_entity_is_shown_whole():
    message = MICROSOFT_SCHEMA.parse("GetEntityResponse", entities.write_entity(VIEW))
    assert message.exists
    assert entities.VIEW.form(MICROSOFT_SCHEMA).read(message.entity) == VIEW
    assert not MICROSOFT_SCHEMA.parse("GetEntityResponse", entities.write_entity(None)).exists


def test_an_entity_of_an_sdk_is_written_as_the_sdk_has_it():
    data = golden(MICROSOFT, "GetEntityResponse")
    entity = MICROSOFT_SCHEMA.parse("GetEntityResponse", data).entity
    view = entities.VIEW.form(MICROSOFT_SCHEMA).read(entity)
    again = MICROSOFT_SCHEMA.parse("GetEntityResponse", entities.write_entity(view))
    entity.lastModifiedTime.nanos -= 999  # because an entity is changed at a microsecond
    assert again.entity == entity


def test_a_page_of_entities_tells_where_it_goes_on():
    for cursor in (None, "c"):
        message = MICROSOFT_SCHEMA.parse("QueryEntitiesResponse", entities.write_entities([VIEW, VIEW], cursor))
        assert len(message.entities) == 2
        assert message.HasField("continuationToken") == (cursor is not None)


def test_a_clean_up_tells_its_counts():
    message = MICROSOFT_SCHEMA.parse("CleanEntityStorageResponse", entities.write_cleaned(3, 4, "c"))
    assert (message.emptyEntitiesRemoved, message.orphanedLocksReleased) == (3, 4)
    assert message.continuationToken.value == "c"
    assert entities.write_cleaned(0, 0) == b""
