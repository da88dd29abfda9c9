"""When a plugin may be started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.life import ENDS, LONGEST_OPEN, LONGEST_PAUSE, OPEN, STABLE, STILLBORN, WITHIN, Life, Policy


def most(low: float, high: float) -> float:
    """The longest pause there may be."""
    return high


def fallen(times: int, *, apart: float = 1.0, life: Life | None = None) -> tuple[Life, float]:
    """A life that served and ended so many times, and the time of the last end."""
    life, now = life or Life(spread=most), 0.0
    for _ in range(times):
        life.serves(now)
        now += apart
        life.fell(now)
    return life, now


def test_the_first_restart_is_at_once() -> None:
    life, now = fallen(1)
    assert life.pause(now) == 0 and life.refused(now) is None


def test_later_restarts_wait_twice_as_long_each_time() -> None:
    pauses = [life.pause(now) for life, now in (fallen(times, apart=100.0) for times in (2, 3, 4))]
    assert pauses == [0.5, 1.0, 2.0]


def test_no_pause_is_longer_than_half_a_minute() -> None:
    life, now = fallen(40, apart=200.0)
    assert life.pause(now) == LONGEST_PAUSE


def test_a_pause_is_spread_from_nothing_to_its_length() -> None:
    asked: list[tuple[float, float]] = []
    life = Life(spread=lambda low, high: asked.append((low, high)) or low)
    fallen(3, life=life)
    assert asked == [(0.0, 0.5), (0.0, 1.0)]


def test_five_ends_in_three_minutes_open_the_breaker() -> None:
    assert fallen(ENDS - 1)[0].refused(ENDS - 1) is None
    life, now = fallen(ENDS)
    assert life.refused(now) == OPEN


def test_five_ends_in_more_than_three_minutes_do_not() -> None:
    life, now = fallen(ENDS, apart=WITHIN / (ENDS - 1) + 1)
    assert life.refused(now) is None


def test_three_starts_that_never_served_open_the_breaker() -> None:
    life = Life()
    for _ in range(STILLBORN - 1):
        life.stillborn(0.0)
    assert life.refused(0.0) is None
    life.stillborn(0.0)
    assert life.refused(0.0) == OPEN


def test_a_start_that_served_forgives_the_ones_that_did_not() -> None:
    life = Life()
    for _ in range(STILLBORN):
        life.stillborn(0.0)
        life.serves(0.0)
    assert life.refused(0.0) is None


def test_after_its_time_the_breaker_is_half_open_and_one_start_decides() -> None:
    life, now = fallen(ENDS)
    now += OPEN
    assert life.refused(now) is None and life.half_open(now)
    life.stillborn(now)
    assert life.refused(now) == 2 * OPEN


def test_a_half_open_start_that_serves_closes_it() -> None:
    life, now = fallen(ENDS)
    life.serves(now + OPEN)
    assert not life.half_open(now + OPEN + 1) and life.refused(now + OPEN + 1) is None


def test_an_end_soon_after_that_opens_it_for_twice_as_long() -> None:
    life, now = fallen(ENDS)
    life.serves(now + OPEN)
    life.fell(now + OPEN + 10)
    assert life.refused(now + OPEN + 10) == 2 * OPEN


def test_it_is_never_closed_for_longer_than_ten_minutes() -> None:
    life, now = fallen(ENDS)
    for _ in range(20):
        now += life.refused(now) or 0
        life.stillborn(now)
    assert life.refused(now) == LONGEST_OPEN


def test_five_stable_minutes_forgive_everything() -> None:
    life, now = fallen(ENDS)
    now += OPEN
    life.serves(now)
    now += STABLE
    life.fell(now)
    assert life.pause(now) == 0 and life.refused(now) is None


def test_one_that_fails_at_every_start_is_started_four_times_in_a_minute_and_twenty_in_an_hour_at_most() -> None:
    life, now = Life(spread=lambda low, high: low), 0.0
    starts: list[float] = []
    while now < 3600:
        if life.refused(now) is None and not life.pause(now):
            starts.append(now)
            life.stillborn(now)
        now += 0.5
    assert len([start for start in starts if start < 60]) <= 4 and len(starts) <= 20


def test_a_rest_is_held_against_nobody() -> None:
    life = Life()
    for now in range(100):
        life.serves(now)
        life.rested()
    assert life.restarts == 0 and life.pause(100) == 0 and life.refused(100) is None


def test_who_must_never_be_started_again_is_over_at_its_first_end() -> None:
    life, _ = fallen(1, life=Life("never"))
    assert life.over and not life.again(failed=True)


def test_the_policies_say_who_is_started_without_being_called() -> None:
    expected: dict[Policy, tuple[bool, bool]] = {
        "never": (False, False),
        "on-failure": (True, False),
        "always": (True, True),
    }
    for policy, (after_failure, after_rest) in expected.items():
        assert Life(policy).again(failed=True) is after_failure
        assert Life(policy).again(failed=False) is after_rest


@given(st.lists(st.tuples(st.sampled_from(["serves", "stillborn", "fell", "rested"]), st.floats(0, 400)), max_size=60))
def test_whatever_happens_it_may_be_started_again_within_eleven_minutes(events: list[tuple[str, float]]) -> None:
    life, now = Life(), 0.0
    for what, wait in events:
        now += wait
        life.rested() if what == "rested" else getattr(life, what)(now)
        assert 0 <= life.pause(now) <= LONGEST_PAUSE
        assert (life.refused(now) or 0) <= LONGEST_OPEN + 0.001  # the sums of floats
        assert life.refused(now + LONGEST_OPEN + LONGEST_PAUSE) is None
