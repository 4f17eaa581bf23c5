from tests.nets import HABITS, network


def test_every_habit_opens() -> None:
    for habit in HABITS:
        assert len(network(habit).classes) == 5
