"""What is on a camera's card."""

from datetime import datetime
from pathlib import Path

from rop_sim.recordings import Shelf, made_up
from rop_wire.messages import CalendarGet, FindFiles, PageToken

NOON = datetime(2027, 1, 1, 0, 20)


def test_pages_over_midnight_and_the_end_of_a_year() -> None:
    shelf = Shelf(made_up(100, NOON))
    start, end = datetime(2026, 12, 1), datetime(2027, 1, 2)
    first = shelf.page(FindFiles(0, "mainStream", start, end))
    assert (first.total, len(first.recordings)) == (100, 40)
    names, page = [], first
    while token := PageToken.after(page):
        names += [each.file_name for each in page.recordings]
        page = shelf.page(FindFiles(0, "mainStream", token.next_time, end))
    names += [each.file_name for each in page.recordings]
    assert names == [each.file_name for each in shelf.recordings if each.stream_type == "mainStream"]
    assert page.recordings[-1].start == datetime(2027, 1, 1, 0, 0)


def test_days() -> None:
    shelf = Shelf(made_up(100, NOON))
    assert shelf.days(CalendarGet((0,), 2027, 1)).days == {0: (1,)}
    assert shelf.days(CalendarGet((0, 3), 2026, 12)).days == {0: (30, 31), 3: ()}


def test_kept_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "recordings.json"
    first = Shelf.kept(path, 3, NOON)
    again = Shelf.kept(path, 99, datetime(2030, 1, 1))
    assert again.recordings == first.recordings
    assert len(first.recordings) == 6
    assert again.find(0, first.recordings[0].file_name) == first.recordings[0]
    assert again.find(1, first.recordings[0].file_name) is None
