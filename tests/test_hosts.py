"""By which names a port is reached."""

from __future__ import annotations

import pytest

from perdure.hosts import is_own_host


@pytest.mark.parametrize(
    "host, ours",
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("localhost.", True),
        ("10.0.0.7:3580", True),
        ("[fe80::1]:3580", True),
        ("ops.example.org:443", True),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("a@localhost", False),
        ("localhost/x", False),
        ("localhost:99999", False),
        ("localhost:x", False),
        ("[::1", False),
        ("l\u00f6calhost", False),
        ("x" * 300, False),
        ("", False),
    ],
)
def test_a_host_is_ours_by_name_or_number(host, ours):
    assert is_own_host(host, frozenset(("ops.example.org",))) is ours
