import pytest

from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.protobuf import read


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(kind: str, message: bytes, version: str = "v1") -> bytes:
    return b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, message)


META = field(1, field(1, "x") + field(2, "") + field(3, "n") + field(11, field(1, "app") + field(2, "db")))


def test_what_kubectl_sends() -> None:
    """The very bytes of `kubectl auth can-i list pods`."""
    sent = bytes.fromhex(
        "6b387300 0a320a17 61757468 6f72697a 6174696f 6e2e6b38 732e696f 2f763112"
        "1753656c 66537562 6a656374 41636365 73735265 76696577 123d0a10 0a001200"
        "1a002200 2a003200 38004200 121f0a1d 0a076465 6661756c 7412046c 6973741a"
        "0022002a 04706f64 7332003a 001a0808 0012001a 0020001a 002200"
    )
    attributes = {"namespace": "default", "verb": "list", "resource": "pods"}
    assert read(sent) == {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": attributes},
    }


def test_maps_bytes_and_metadata() -> None:
    """Maps, bytes and metadata come out as in JSON; empty text is left out."""
    message = META + field(2, field(1, "password") + field(2, b"p")) + field(3, "Opaque")
    assert read(body("Secret", message)) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "x", "namespace": "n", "labels": {"app": "db"}},
        "data": {"password": "cA=="},
        "type": "Opaque",
    }


def test_lease_times_and_an_empty_holder() -> None:
    """Times keep their microseconds; a holder that is given as empty stays given: so a lease is released."""
    spec = field(1, "") + field(2, 15) + field(4, field(1, 1767225600) + field(2, 500_000_000))
    found = read(body("Lease", META + field(2, spec), "coordination.k8s.io/v1"))
    assert found["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.500000Z",
    }


def test_nothing_is_lost_in_silence() -> None:
    """A kind or a field that is not in the table is refused with 415; a broken body with 400."""
    for data, code in (
        (body("Pod", META), 415),
        (body("Meta", META), 415),
        (body("Secret", META + field(99, "x")), 415),
        (body("Secret", META)[:-3], 400),
        (b"{}", 400),
        (b"k8s\0\xff\xff", 400),
    ):
        with pytest.raises(ApiError) as refused:
            read(data)
        assert refused.value.code == code, data
