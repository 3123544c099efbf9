"""The flame graph of a profile."""

from xml.etree import ElementTree as ET

from bench.flame import Frame, draw, read

SAMPLES = """\
main (cli/main.py:9);Runner.run (asyncio/runners.py:118) 10
main (cli/main.py:9);Runner.run (asyncio/runners.py:118);look (resizer/pipeline/claim.py:1) 30
main (cli/main.py:9);Runner.run (asyncio/runners.py:118);look (resizer/pipeline/claim.py:2);<write> (ssl.py) 60
Thread._bootstrap (threading.py:1);Thread.run (threading.py:2) 500
"""
LOOP, LOOK = Frame("event loop", "uvloop"), Frame("look", "resizer/pipeline/claim.py")
WRITE = Frame("<write>", "ssl.py")


def test_stacks_are_read_from_the_event_loop_on():
    """Lines of one function count together; threads that only wait in C do not count."""
    assert read(SAMPLES) == {(LOOP,): 10, (LOOP, LOOK): 30, (LOOP, LOOK, WRITE): 60}


def test_widths_are_shares_and_callers_stand_below():
    """The picture is XML whatever functions are called; each box lies above its caller's, within its width."""
    picture = ET.fromstring(draw(read(SAMPLES), title="a <title>"))
    spaces = {"s": "http://www.w3.org/2000/svg"}
    boxes = {g.find("s:title", spaces).text: g.find("s:rect", spaces).attrib for g in picture.findall("s:g", spaces)}
    assert list(boxes) == [
        "event loop (uvloop) 100.0%",
        "look (resizer/pipeline/claim.py) 90.0%",
        "<write> (ssl.py) 60.0%",
    ]
    widths = [float(box["width"]) for box in boxes.values()]
    assert widths == [1199.5, 1079.5, 719.5]
    heights = [int(box["y"]) for box in boxes.values()]
    assert heights == sorted(heights, reverse=True)
