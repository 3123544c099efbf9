import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from resizer.kube.decode import Decoder, Malformed, decode_bookmark, decode_event, decode_page, decode_status
from resizer.kube.projection import CLAIM, MalformedObjectError
from resizer.kube.stream import LineSplitter, Oversized
from resizer.kube.telemetry import NullKubeTelemetry
from resizer.model.objects import NODE_LABEL_PREFIX


class Counting(NullKubeTelemetry):
    def __init__(self):
        self.malformed = []

    def object_malformed(self, *, resource):
        self.malformed.append(resource)


def claim(**meta):
    return json.dumps({"metadata": {"uid": "u", "resourceVersion": "1", **meta}}).encode()


def test_a_malformed_object_is_counted_named_once_and_skipped():
    """Each bad object counts; the log names it once, with cause and next step; a good one is not disturbed."""
    telemetry = Counting()
    decoder = Decoder("persistentvolumeclaims", CLAIM, telemetry=telemetry)
    bad = b'{"metadata":{"name":"data","namespace":"shop","uid":"u","resourceVersion":"1"},"spec":5}'
    with capture_logs() as logs:
        answers = [decoder.decode(bad), decoder.decode(bad), decoder.decode(claim(name="ok", namespace="shop"))]
    assert [getattr(a, "key", "") for a in answers] == ["shop/data", "shop/data", "shop/ok"]
    assert isinstance(answers[0], Malformed)
    assert telemetry.malformed == ["persistentvolumeclaims"] * 2
    assert [(entry["object"], bool(entry["reason"]), bool(entry["next"])) for entry in logs] == [
        ("shop/data", True, True)
    ]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"metadata":{"name":"data","namespace":"shop"}}', "shop/data"),
        (b'{"metadata":{"name":"pv1"}}', "pv1"),
        (b'{"metadata":{"uid":7,"name":"data","namespace":"shop","annotations":{"x":', "shop/data"),
        (b'{"spec":{"name":"wrong"}}', ""),
        (b"nonsense", ""),
    ],
)
def test_the_name_of_a_broken_object_is_found_where_it_can_be(data, key):
    """An object whose JSON is whole or cut is named by its metadata; one without is skipped without a name."""
    decoder = Decoder("x", CLAIM, telemetry=NullKubeTelemetry())
    assert decoder.refuse(data, "because").key == key


def test_an_object_that_is_too_large_is_refused_by_name():
    """5 MB of annotations are not decoded at all."""
    decoder = Decoder("x", CLAIM, telemetry=NullKubeTelemetry())
    huge = claim(name="data", namespace="shop", annotations={"x": "y" * 5_000_000})
    answer = decoder.decode(huge)
    assert isinstance(answer, Malformed)
    assert answer.key == "shop/data"


def test_a_page_gives_raw_items_version_and_the_next_token():
    """The items are not decoded with the page, so that one bad item costs no other."""
    page = decode_page(b'{"metadata":{"resourceVersion":"9","continue":"t"},"items":[{"a":1},5]}')
    assert ([bytes(item) for item in page.items], page.version, page.next_token) == ([b'{"a":1}', b"5"], "9", "t")
    assert decode_page(b'{"metadata":{"resourceVersion":"9"},"items":null}').items == []


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"metadata":{}}', b'{"metadata":{"resourceVersion":1}}'])
def test_an_answer_that_is_no_list_is_an_error(data):
    """A proxy's page of HTML is not taken for an empty list."""
    with pytest.raises(MalformedObjectError):
        decode_page(data)


def test_bookmarks_and_refusals_are_read():
    """A bookmark tells its version and whether it ends the initial events; a refusal its message or nothing."""
    event = decode_event(
        b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5",'
        b'"annotations":{"k8s.io/initial-events-end":"true"}}}}'
    )
    bookmark = decode_bookmark(event.object)
    assert (bookmark.version, bookmark.ends_initial_events) == ("5", True)
    assert decode_status(b'{"message":"no","reason":"Forbidden","code":403}').message == "no"
    assert decode_status(b"<html>").message == ""


def test_lines_are_cut_wherever_the_network_cuts_them():
    """Chunks of any size give the same lines."""
    text = b'{"a":1}\n\n{"b":2}\n{"c":3}\n'
    for size in range(1, len(text) + 1):
        splitter, lines = LineSplitter(), []
        for start in range(0, len(text), size):
            lines += splitter.feed(text[start : start + size])
        assert lines == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


def test_a_line_beyond_the_limit_is_let_pass_and_the_next_is_read():
    """Of a line without an end only the first bytes are kept, and the watch goes on after it."""
    splitter = LineSplitter(limit_bytes=100)
    lines = []
    for _ in range(1000):
        lines += splitter.feed(b"x" * 90)
        assert len(splitter._rest) <= 190
    lines += splitter.feed(b"\nok\n")
    assert [type(line) for line in lines] == [Oversized, bytes]
    assert (lines[0].head[:3], lines[1]) == (b"xxx", b"ok")


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda b: b"\n" not in b and b.strip())), st.data())
def test_the_same_lines_come_of_any_pieces(lines, data):
    """Whole lines in one piece, a line in many pieces, lines too long among them: always the same lines."""
    body = b"".join(line + b"\n" for line in lines)
    wanted = [Oversized(line) if len(line) > 20 else line for line in lines]
    splitter, found = LineSplitter(limit_bytes=20), []
    while body:
        size = data.draw(st.integers(1, len(body)))
        found += splitter.feed(body[:size])
        body = body[size:]
    assert [len(f.head) > 20 if isinstance(f, Oversized) else f for f in found] == [
        True if isinstance(w, Oversized) else w for w in wanted
    ]


def line(type_, document):
    return json.dumps({"type": type_, "object": document}).encode()


@pytest.mark.parametrize("type_", ["ADDED", "MODIFIED", "DELETED"])
def test_an_event_is_read_in_one_go_as_it_is_taken_apart(type_):
    """Both ways to read a line give the same claim, labels of ours among others."""
    document = json.loads(claim(name="data", namespace="shop", labels={"a": "b", f"{NODE_LABEL_PREFIX}0af3": ""}))
    whole = line(type_, document)
    assert CLAIM.decode_change(whole) == (type_, CLAIM.decode(decode_event(whole).object))
    assert CLAIM.decode_change(whole)[1].node_labels == (f"{NODE_LABEL_PREFIX}0af3",)


@pytest.mark.parametrize(
    "other",
    [
        line("BOOKMARK", {"kind": "PersistentVolumeClaim", "metadata": {"resourceVersion": "9"}}),
        line("BOOKMARK", json.loads(claim(name="data", namespace="shop"))),
        line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"}),
        line("ADDED", {"metadata": {"name": "data"}}),
        line("ADDED", json.loads(claim(name="x", namespace="y", labels={f"{NODE_LABEL_PREFIX}0af3": 1}))),
        line("ADDED", None),
        b'{"type":"ADDED"}',
        b"<html>",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_change_is_left_to_be_taken_apart(other):
    """Bookmarks, refusals and what cannot be read are told apart by who takes the line apart, never here."""
    assert CLAIM.decode_change(other) is None


@given(st.binary(max_size=200))
def test_no_line_is_ever_too_odd_to_be_looked_at(data):
    """Whatever a server sends, reading it raises nothing."""
    CLAIM.decode_change(data)
