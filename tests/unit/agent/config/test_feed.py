"""A feed whose unit does not fit its signal is refused."""

from ringmain_agent.config.feed import Feed, PositiveDirection, feed_problem


def feed(**changes: object) -> Feed:
    return Feed(**({"topic": "t", "unit": "kW"} | changes))  # type: ignore[arg-type]


def test_a_unit_that_does_not_fit_the_signal_is_named_with_those_that_do() -> None:
    assert feed_problem("load_kw", feed(unit="degC")) == "unit 'degC' does not fit 'load_kw'; valid are W, kW, MW"
    assert "must end in one of the units" in (feed_problem("load", feed()) or "")
    assert "has no direction" in (feed_problem("t_degc", feed(unit="K", positive_direction=PositiveDirection.EXPORT)) or "")
    assert feed_problem("load_kw", feed()) is None
