"""Which addresses need a token, and which tokens are good enough."""

import pytest

from sori.serve.access import access, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2", "LOCALHOST"])
def test_this_machine_needs_no_token(host):
    assert is_loopback(host)
    assert access(host, None).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "127.0.0.1.example.org"])  # noqa: S104
def test_any_other_address_gets_a_new_token(host):
    assert not is_loopback(host)
    one, other = access(host, None), access(host, None)
    assert one.token != other.token
    assert len(one.token) == 32
    assert one.accepts_host("192.168.1.4:8417")
    assert not one.accepts_host("evil.example")


@pytest.mark.parametrize("token", ["", "short", "0123456789abcdef;", "0123456789abcdéf", "0123 456789abcdef\n"])
def test_bad_tokens_are_refused(token):
    with pytest.raises(ValueError, match="expected a token of 16 letters and digits or more"):
        access("127.0.0.1", token)


def test_only_the_token_is_accepted():
    found = access("127.0.0.1", "0123456789abcdef")
    assert found.accepts_token("0123456789abcdef")
    assert not any(map(found.accepts_token, (None, "", "0123456789abcde", "0123456789abcdefg", "é")))
    assert not found.accepts_host("192.168.1.4")
