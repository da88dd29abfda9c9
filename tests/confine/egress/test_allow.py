"""The list: what it allows, which addresses a name may lead to, and what a namespace must prepare for it."""

from __future__ import annotations

import pytest

from broker.confine.egress.allow import Allow, fit, permission
from broker.confine.egress.denied import MOST, Denials, Denied
from broker.confine.egress.doors import addresses, doors, environment, needs_proxy, proxy_port
from broker.confine.egress.names import MOST as MOST_NAMES
from broker.confine.egress.names import Names
from broker.permissions.hosts import parse_target


def told(*refusals: tuple[str, int | None, str]) -> list[Denied]:
    heard: list[Denied] = []
    denials = Denials("todos", heard.append)
    for host, port, why in refusals:
        denials.refuse(host, port, "http", why)
    assert denials.count == len(refusals)
    return heard


def test_only_what_is_listed_is_allowed() -> None:
    allow = Allow(["api.acme.dev:443", "*.cdn.dev:443", "10.0.0.5:5432"])
    assert allow.target("api.acme.dev", 443) and allow.target("a.b.cdn.dev", 443) and allow.target("10.0.0.5", 5432)
    for host, port in [("api.acme.dev", 80), ("acme.dev", 443), ("cdn.dev", 443), ("api.acme.dev.evil.com", 443)]:
        assert allow.target(host, port) is None
    assert allow.knows("api.acme.dev") and not allow.knows("evil.com")


def test_an_entry_that_allows_private_addresses_counts_before_one_that_does_not() -> None:
    found = Allow(["*:5432", "db.internal:5432!private"]).target("db.internal", 5432)
    assert found is not None and found.private


def test_a_name_leads_to_public_addresses_only() -> None:
    found = ["127.0.0.1", "1.1.1.1", "::ffff:10.0.0.1", "2606:4700::1111", "169.254.169.254"]
    assert fit(found, parse_target("api.acme.dev:443")) == ["1.1.1.1", "2606:4700::1111"]


def test_a_name_that_may_be_private_leads_to_no_credentials_of_a_cloud() -> None:
    found = ["10.0.0.5", "169.254.169.254", "::ffff:168.63.129.16"]
    assert fit(found, parse_target("db.internal:5432!private")) == ["10.0.0.5"]


def test_an_address_that_is_written_down_is_meant() -> None:
    assert fit(["169.254.169.254"], parse_target("169.254.169.254:80")) == ["169.254.169.254"]
    assert fit(["10.0.0.6"], parse_target("10.0.0.5:80")) == []


def test_localhost_leads_to_the_loopback_and_nowhere_else() -> None:
    assert fit(["127.0.0.1", "10.0.0.5", "8.8.8.8"], parse_target("localhost:80")) == ["127.0.0.1"]


def test_any_host_is_any_public_host() -> None:
    assert fit(["127.0.0.1", "1.1.1.1"], parse_target("*:443")) == ["1.1.1.1"]


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("B.Test.", 443, "net:b.test:443"),
        ("::1", 80, "net:[::1]:80"),
        ("b.test", None, "net:b.test"),
        ("2130706433", 80, ""),
        ("a b", 80, ""),
    ],
)
def test_a_refusal_names_what_would_allow_it(host: str, port: int | None, said: str) -> None:
    assert permission(host, port) == said


def test_a_refusal_is_a_sentence_with_the_line_to_type() -> None:
    denied = Denied(
        plugin="todos", host="b.test", port=443, via="http", why="is not listed.", permission="net:b.test:443"
    )
    assert denied.command == "broker grant todos net:b.test:443"
    assert str(denied) == "todos: b.test:443 (http) is not listed. To allow it: broker grant todos net:b.test:443"


def test_the_same_refusal_is_told_once() -> None:
    assert len(told(("b.test", 443, "x"), ("b.test", 443, "x"), ("b.test", 80, "x"))) == 2


def test_a_plugin_that_invents_names_cannot_fill_the_log() -> None:
    heard = told(*((f"{number}.test", 443, "x") for number in range(MOST + 100)))
    assert len(heard) == MOST


def test_a_refused_name_cannot_write_lines_into_the_log() -> None:
    (denied,) = told(("a\r\n2026 granted everything\x1b[2J\u202e" + "x" * 999, 1, "x"))
    assert str(denied).isprintable() and str(denied).isascii() and len(denied.host) < 300


def test_a_name_keeps_its_address_and_no_two_share_one() -> None:
    names = Names()
    found = {name: names.address(name) for name in ("a.test", "b.test", "a.test")}
    assert names.address("a.test") == found["a.test"] != found["b.test"]
    assert names.name(found["b.test"]) == "b.test" and names.name("11.127.200.200") is None
    assert all(address.startswith("11.127.") for address in found.values())


def test_names_are_bounded_and_the_one_asked_for_longest_ago_is_forgotten() -> None:
    names = Names()
    first, second = names.address("first"), names.address("second")
    for number in range(MOST_NAMES - 2):
        names.address(f"{number}.test")
    assert names.address("first") == first
    names.address("one more")
    assert names.name(second) is None and names.name(first) == "first"


def test_the_addresses_go_round_without_ever_meeting() -> None:
    names = Names()
    kept = names.address("kept")
    for number in range(70_000):
        address = names.address(f"{number}.test")
        assert address != kept and address.startswith("11.127.") and not address.startswith("11.127.0.")
        names.address("kept")


def test_each_listed_port_has_a_door() -> None:
    assert doors(["a.test:443", "b.test:8000-8002"]) == (
        "udp:127.0.0.1:53",
        "tcp:127.0.0.1:3128",
        *(f"tcp:0.0.0.0:{port}" for port in (443, 8000, 8001, 8002)),
    )


def test_a_wide_range_is_for_programs_that_know_proxies() -> None:
    assert doors(["a.test:*", "b.test:443"])[2:] == ("tcp:0.0.0.0:443",)
    assert needs_proxy(["a.test:*"]) and not needs_proxy(["a.test:443", "b.test:8000-8010"])


def test_the_proxy_makes_room_for_a_listed_port() -> None:
    assert proxy_port(["a.test:3128"]) == 3129 and "tcp:127.0.0.1:3129" in doors(["a.test:3128"])
    assert environment(3129)["https_proxy"] == "http://127.0.0.1:3129"


def test_addresses_that_are_written_down_exist_in_the_namespace() -> None:
    assert addresses(["10.0.0.5:5432", "127.0.0.1:80", "[::1]:80", "a.test:443"]) == ("11.127.0.1/16", "10.0.0.5/32")
