"""Units stand in the names of signals."""

from ringmain_trainer.quantities import unit_of


def test_units_come_from_the_names() -> None:
    names = ("load_kw", "battery_soc_kwh", "temperature_degc", "radiation_w_per_m2", "cloud_pct", "soc_pu", "strange")
    assert [unit_of(name) for name in names] == ["kW", "kWh", "degC", "W/m2", "%", "pu", ""]
