import pytest

from resizer.kube.credentials import Access
from resizer.kube.proxy import find_proxy

PROXY = "http://proxy.example:3128"


def proxy_of(server, no_proxy="", **environment):
    found = find_proxy(Access(server), {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy, **environment})
    return str(found) if found is not None else None


def test_the_kubeconfigs_proxy_goes_first():
    """proxy-url is used whatever the environment says."""
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}
    assert str(find_proxy(Access("https://api.example", proxy="http://own:1"), environment)) == "http://own:1"


def test_the_environments_proxy_is_that_of_the_servers_scheme():
    """In capitals or not, with or without its own scheme; none where none is set."""
    assert proxy_of("https://api.example") == PROXY
    assert proxy_of("http://api.example") is None
    assert proxy_of("https://api.example", HTTPS_PROXY="", https_proxy="proxy.example:1") == "http://proxy.example:1"
    assert find_proxy(Access("https://api.example"), {}) is None


@pytest.mark.parametrize(
    ("no_proxy", "server"),
    [
        ("*", "https://api.example"),
        ("10.0.0.0/8,.svc", "https://10.96.0.1:443"),
        (" .svc , 10.96.0.1", "https://10.96.0.1"),
        ("10.96.0.1:443", "https://10.96.0.1"),
        ("fd00::/8", "https://[fd00:10:96::1]:443"),
        ("fd00:10:96::1", "https://[fd00:10:96::1]"),
        ("[fd00:10:96::1]:6443", "https://[fd00:10:96::1]:6443"),
        ("example.com", "https://example.com"),
        ("example.com", "https://api.Example.com"),
        (".example.com", "https://api.example.com"),
        ("*.example.com", "https://api.example.com"),
        ("api.example.com:6443", "https://api.example.com:6443"),
        ("", "https://localhost:6443"),
        ("", "https://127.0.0.1:6443"),
        ("", "https://[::1]:6443"),
    ],
)
def test_what_go_reaches_without_a_proxy_is_reached_without_one(no_proxy, server):
    """Networks, addresses, domains and ports in NO_PROXY; this machine always. The peer in our place would go there."""
    assert proxy_of(server, no_proxy) is None


@pytest.mark.parametrize(
    ("no_proxy", "server"),
    [
        ("10.0.0.0/8", "https://192.168.0.1"),
        ("10.0.0.0/8", "https://api.example"),
        ("10.0.0.0/99,nonsense/", "https://10.0.0.1"),
        ("10.96.0.1:6443", "https://10.96.0.1"),
        (".example.com", "https://example.com"),
        ("example.com", "https://notexample.com"),
        ("api.example.com:6443", "https://api.example.com"),
        (",,", "https://api.example"),
    ],
)
def test_all_else_goes_by_the_proxy(no_proxy, server):
    """Another network, another port, a name that only ends alike, nonsense."""
    assert proxy_of(server, no_proxy) == PROXY
