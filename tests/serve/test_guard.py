"""Requests of other sites and requests without the token are refused."""

import pytest

TOKEN = "0123456789abcdefXYZ"  # noqa: S105 - of these tests only
OURS = "localhost:8417"


def status_of(within, headers, *, path="/api/about", method="GET", **options):
    async def ask(client, _):
        answer = await client.request(method, path, headers=headers)
        return answer.status_code, answer

    return within(ask, **options)


@pytest.mark.parametrize("host", ["localhost", "localhost:8417", "LOCALHOST:1", "127.0.0.1:8417", "[::1]:8417"])
def test_the_names_of_this_machine_are_accepted(within, host):
    assert status_of(within, {"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8417",
        "",
        "[",
        "10.0.0.1",
        "@",
        "::1",
    ],
)
def test_another_name_is_dns_rebinding(within, host):
    status, answer = status_of(within, {"Host": host})
    assert status == 403
    assert answer.json()["error"]["code"] == "wrong_host"


def test_two_host_headers_are_refused(within):
    assert status_of(within, [("Host", "localhost"), ("Host", "evil.example")])[0] == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "https://localhost:8417.evil", "["],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_requests_of_other_sites_are_refused(within, origin, method):
    status, answer = status_of(within, {"Host": OURS, "Origin": origin}, method=method)
    assert status == 403
    assert answer.json()["error"]["code"] == "wrong_origin"


def test_requests_of_our_page_are_accepted(within):
    assert status_of(within, {"Host": OURS, "Origin": f"http://{OURS}", "Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize(
    ("site", "mode", "path", "expected"),
    [
        ("cross-site", "no-cors", "/api/about", 403),  # an image or script of another page
        ("same-site", "cors", "/api/about", 403),
        ("cross-site", "navigate", "/api/about", 403),
        ("cross-site", "navigate", "/", 200),  # a link
        ("none", "navigate", "/", 200),  # typed
    ],
)
def test_what_a_browser_says_about_the_source_of_a_request(within, site, mode, path, expected):
    headers = {"Host": OURS, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert status_of(within, headers, path=path)[0] == expected


@pytest.mark.parametrize("path", ["/", "/api/about", "/static/main.js", "/v1/models", "/nowhere"])
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "sori-token=é"}]
)
def test_nothing_is_answered_without_the_token(within, path, headers):
    headers = {name: value.encode() for name, value in headers.items()}
    status, answer = status_of(within, headers, path=path, token=TOKEN)
    assert status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_in_the_address_becomes_a_cookie_of_this_page_only(within):
    async def ask(client, _):
        first = await client.get(f"/?token={TOKEN}")
        assert (first.status_code, first.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict"} <= set(first.headers["set-cookie"].split("; "))
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/api/about")).status_code == 200
        client.cookies.clear()
        assert (await client.get(f"/api/about?token={TOKEN}")).status_code == 401
        assert (await client.get("/?token=wrong")).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/api/about", headers=headers)).status_code == 200

    within(ask, token=TOKEN)


def test_the_page_is_confined(within):
    async def ask(client, _):
        pages = [await client.get("/") for _ in range(2)]
        policies = [page.headers["content-security-policy"] for page in pages]
        assert policies[0] != policies[1], "the nonce is another one each time"
        nonce = policies[0].split("'nonce-")[1].split("'")[0]
        assert f'content="{nonce}"' in pages[0].text
        assert "unsafe" not in policies[0]
        assert "default-src 'none'" in policies[0]
        for path in ("/", "/api/about", "/static/main.js", "/nowhere"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]

    within(ask)


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2fapp.py", "/static/"]
)
def test_no_other_file_is_served(within, path):
    assert status_of(within, {}, path=path)[0] == 404
