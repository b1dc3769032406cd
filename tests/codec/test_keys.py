"""Key rings and personal keys."""

from __future__ import annotations

import os
import stat

import pytest

from perdure import KeyRing, PersonalKeys
from perdure.errors import InvalidArgument, KeyMissing

OLD, NEW = KeyRing.new_key(), KeyRing.new_key()


def test_the_first_key_is_current_unless_another_is_said():
    assert KeyRing({"a": OLD, "b": NEW}).current == "a"
    assert KeyRing({"a": OLD, "b": NEW}, current="b").choose({}, "a") == "b"


def test_a_ring_is_read_from_text_environment_and_file(tmp_path, monkeypatch):
    text = f"# newest first\nb={NEW}\n\na={OLD}\n"
    (tmp_path / "keys").write_text(text)
    monkeypatch.setenv("PERDURE_KEYS", f"b={NEW}, a={OLD}")
    rings = [KeyRing.parse(text), KeyRing.from_file(tmp_path / "keys"), KeyRing.from_env()]
    assert {ring.current for ring in rings} == {"b"}
    assert len({ring.fingerprint() for ring in rings}) == 1
    assert all(len(ring.secret("a")) == 32 for ring in rings)


WRONG = {
    "nothing": "",
    "id alone": "a",
    "no key": "a=",
    "short key": "a=AAAA",
    "no base64": "a=?",
    "id twice": f"a={OLD},a={NEW}",
    "personal id": f"p.x={OLD}",
    "no id": f"=x{OLD}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)  # named, because the keys are other ones in each process
def test_text_that_is_no_ring_is_refused_and_not_quoted(text):
    with pytest.raises(InvalidArgument) as caught:
        KeyRing.parse(text)
    assert OLD not in str(caught.value)


def test_missing_places_and_keys_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PERDURE_KEYS", raising=False)
    with pytest.raises(InvalidArgument, match="PERDURE_KEYS"):
        KeyRing.from_env()
    with pytest.raises(InvalidArgument, match="nowhere"):
        KeyRing.from_file(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument):
        KeyRing({"a": OLD}, current="b")
    with pytest.raises(KeyMissing, match="'b'"):
        KeyRing({"a": OLD}).secret("b")


def test_no_key_is_shown(tmp_path):
    ring = KeyRing({"a": OLD})
    assert OLD not in repr(ring) + repr(PersonalKeys(ring, tmp_path))
    assert repr(ring) == "<KeyRing: a writes, a read>"


def test_a_ring_of_other_keys_has_another_fingerprint():
    rings = ({"a": OLD}, {"a": NEW}, {"b": OLD}, {"a": OLD, "b": NEW})
    assert len({KeyRing(keys).fingerprint() for keys in rings}) == 4


def test_a_person_has_one_key_that_outlives_the_process(tmp_path):
    ring = KeyRing({"a": OLD})
    keys, again = PersonalKeys(ring, tmp_path), PersonalKeys(ring, tmp_path)
    ada, ben = keys.choose({"person": "ada"}, None), keys.choose({"person": "ben"}, None)
    assert ada != ben
    assert again.choose({"person": "ada"}, None) == ada
    assert again.secret(ada) == keys.secret(ada) != keys.secret(ben)
    assert keys.choose({}, None) == keys.choose(None, "a") == "a"


def test_the_key_follows_the_payload_beside_and_a_tag_that_names_another_person_goes_before(tmp_path):
    keys = PersonalKeys(KeyRing({"a": OLD}), tmp_path)
    ada, ben = keys.choose({"person": "ada"}, None), keys.choose({"person": "ben"}, None)
    assert keys.choose(None, ada) == ada
    assert keys.choose({"person": "ada"}, ada) == ada
    assert keys.choose({"person": "ben"}, ada) == ben
    assert keys.choose({"person": "ada"}, "a") == ada


def test_erased_is_erased_in_every_process_and_a_return_brings_nothing_back(tmp_path):
    ring = KeyRing({"a": OLD})
    keys, other = PersonalKeys(ring, tmp_path), PersonalKeys(ring, tmp_path)
    ada, ben = keys.choose({"person": "ada"}, None), keys.choose({"person": "ben"}, None)
    other.secret(ada)
    assert keys.erase("ada") == 1
    for each in (keys, other):
        with pytest.raises(KeyMissing, match="erased"):
            each.secret(ada)
        each.secret(ben)
    assert keys.choose({"person": "ada"}, ada) == ada  # what an old run writes is refused, and no new key made for it
    assert keys.choose({"person": "ada"}, None) != ada
    assert keys.erase("nobody") == 0


def test_personal_keys_lie_encrypted_private_and_move_to_a_new_ring_key(tmp_path):
    keys = PersonalKeys(KeyRing({"a": OLD}), tmp_path / "keys")
    ada = keys.choose({"person": "ada"}, None)
    secret = keys.secret(ada)
    _, person, name = ada.split(".")
    file = tmp_path / "keys" / person / name
    assert secret not in file.read_bytes()
    assert b"ada" not in file.read_bytes()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert PersonalKeys(KeyRing({"b": NEW, "a": OLD}), tmp_path / "keys").rewrap() == 1
    assert PersonalKeys(KeyRing({"b": NEW}), tmp_path / "keys").secret(ada) == secret
    with pytest.raises(KeyMissing, match="'b'"):
        PersonalKeys(KeyRing({"a": OLD}), tmp_path / "keys").secret(ada)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(InvalidArgument):
        PersonalKeys({"a": OLD}, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument):
        PersonalKeys(KeyRing({"a": OLD}), tmp_path / "file")
    with pytest.raises(InvalidArgument):
        KeyRing({})


def test_an_id_from_a_forged_payload_reaches_no_other_file(tmp_path):
    keys = PersonalKeys(KeyRing({"a": OLD}), tmp_path / "keys")
    (tmp_path / "other").write_bytes(b"a\nsecret")
    for id in ("p...", "p.x.y", "p/../other", "p...other", f"p.{'0' * 24}.{'0' * 8}"):
        with pytest.raises(KeyMissing):
            keys.secret(id)


def test_a_directory_that_cannot_be_written_says_so(tmp_path):
    keys = PersonalKeys(KeyRing({"a": OLD}), tmp_path / "keys")
    (tmp_path / "keys").rmdir()
    (tmp_path / "keys").touch()
    with pytest.raises((KeyMissing, InvalidArgument), match="keys"):
        keys.choose({"person": "ada"}, None)
