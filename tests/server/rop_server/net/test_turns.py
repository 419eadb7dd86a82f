"""Handshakes take turns."""

from __future__ import annotations

from rop_server.net.turns import LONGEST, SHORTEST, Turn, Turns


def test_so_many_at_once_and_one_of_each_address_after_the_other() -> None:
    turns, held, order = Turns(2), list[Turn](), list[str]()

    def ask(name: str, wanted: bool = True) -> None:
        def begin(turn: Turn) -> bool:
            if wanted:
                held.append(turn)
                order.append(name)
            return wanted

        turns.ask(name[0], begin)

    for name in ("a1", "a2", "a3", "a4", "b1", "c1"):
        ask(name)
    ask("d1", wanted=False)
    assert order == ["a1", "a2"]
    for turn in held:  # those that begin meanwhile too
        turn.release()
        turn.release()
    assert order == ["a1", "a2", "a3", "b1", "c1", "a4"]
    ask("e1")
    ask("e2")
    ask("e3")
    assert order[6:] == ["e1", "e2"]
    assert turns.begun == 8


def test_handshakes_that_outlast_their_turn_make_the_next_turns_longer() -> None:
    turns, held = Turns(2), list[Turn]()

    def begin(turn: Turn) -> bool:
        held.append(turn)
        return True

    for number in range(12):
        turns.ask(f"a{number}", begin)
    lengths = []
    for turn in held:  # everyone that gets a turn outlasts it
        lengths.append(turns.seconds)
        turn.end()
        turn.end()
    assert lengths[:3] == [SHORTEST, 1.5 * SHORTEST, 2 * SHORTEST] and lengths[-1] == LONGEST
    assert (turns.begun, turns.late) == (12, 12)
    for turn in held:
        turn.release()
        turn.release()
    assert (turns.late, turns.seconds) == (0, SHORTEST)
    for number in range(3):
        turns.ask(f"b{number}", begin)
    assert turns.begun == 14, "places are given back once"
