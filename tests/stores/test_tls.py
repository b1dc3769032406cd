"""The words of encryption: what they mean, the same for every store, and what makes no sense."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import unquote

import pytest

from perdure.errors import StoreNotUsable, UnknownConfiguration
from perdure.stores.mongo.address import read_address as read_mongo
from perdure.stores.redis.address import read_address as read_redis
from perdure.stores.sql.mysql.address import read_address as read_mysql
from perdure.stores.sql.postgres.address import read_address as read_postgres
from perdure.stores.tls import Tls, read_tls
from tests.cli.certificates import Authority


def test_it_is_off_unless_the_address_says_more() -> None:
    assert read_tls({}) == Tls("off")
    assert read_tls({}, "verify") == Tls("verify")
    assert Tls().context() is None


def test_verify_wants_a_certificate_for_the_name_and_require_asks_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.signed("client")
    verified = read_tls(
        {"tls": "verify", "tls_ca": str(authority.file), "tls_cert": str(own.cert), "tls_key": str(own.key)}
    ).context()
    required = read_tls({"tls": "require"}).context()
    assert verified is not None
    assert required is not None
    assert (verified.verify_mode, verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (required.verify_mode, required.check_hostname) == (ssl.CERT_NONE, False)
    assert [found["subject"] for found in verified.get_ca_certs()], "the authority is trusted"


@pytest.mark.parametrize(
    "options, advice",
    [
        ({"tls": "yes"}, "there are off, require, verify"),
        ({"tls": ""}, "leave it out"),
        ({"tls_ca": "x.pem"}, "write tls=verify"),
        ({"tls": "verify", "tls_key": "x.pem"}, "name that by tls_cert"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, str], advice: str) -> None:
    with pytest.raises(UnknownConfiguration, match=advice):
        read_tls(options)


@pytest.mark.parametrize(
    "options, word", [({"tls_ca": "missing.pem"}, "tls_ca"), ({"tls_cert": "missing.pem"}, "tls_cert and tls_key")]
)
def test_files_that_are_not_there_are_named(options: dict[str, str], word: str) -> None:
    with pytest.raises(StoreNotUsable, match=f"missing.pem .*look at {word}"):
        read_tls({"tls": "verify", **options}).context()


def test_the_addresses_of_all_servers_read_them() -> None:
    words = "tls=verify&tls_ca=ca.pem&tls_cert=c.pem&tls_key=k.pem"
    meant = Tls("verify", "ca.pem", "c.pem", "k.pem")
    assert read_mysql(f"mysql://ada@host/shop?{words}").tls == meant
    assert read_postgres(f"postgresql://host/shop?{words}").tls == meant
    assert read_redis(f"redis://host?{words}").tls == meant


def test_mongodb_is_told_in_the_words_of_its_client_and_its_own_stay(tmp_path: Path) -> None:
    file = tmp_path / "some.pem"  # because the client looks at once whether it is there
    file.touch()

    def told(options: str, scheme: str = "mongodb") -> set[str]:
        return set(unquote(read_mongo(f"{scheme}://host/shop?{options}").url).partition("?")[2].split("&"))

    assert told(f"tls=verify&tls_ca={file}&tls_cert={file}&replicaSet=r") == {
        *("replicaSet=r", "tls=true", f"tlsCAFile={file}", f"tlsCertificateKeyFile={file}")
    }
    assert told("tls=require") == {"tls=true", "tlsInsecure=true"}
    assert told(f"tls=true&tlsCAFile={file}") == {"tls=true", f"tlsCAFile={file}"}
    assert told(f"tls_ca={file}", "mongodb+srv") == {"tls=true", f"tlsCAFile={file}"}
    with pytest.raises(UnknownConfiguration, match="from one file"):
        told("tls=verify&tls_cert=c.pem&tls_key=k.pem")
    with pytest.raises(UnknownConfiguration, match="not understood"):
        told("tls=verify&tls_ca=missing.pem")


def test_postgresql_takes_the_words_of_libpq_too_but_not_both() -> None:
    assert (read_postgres("postgresql://host/shop?sslmode=require").ssl, read_postgres("postgresql://h/s").tls) == (
        "require",
        None,
    )
    with pytest.raises(UnknownConfiguration, match="leave one of them out"):
        read_postgres("postgresql://host/shop?sslmode=require&tls=require")
