"""Nameplate of a transformer: ratings, cooling, insulation and thermal constants."""

import math
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates.equipment import Equipment, NotNegative, Positive, Temperature
from ringmain_protocol.messages import Name


class Cooling(StrEnum):
    """Kind of transformer and its cooling; it selects the thermal constants."""

    DISTRIBUTION_ONAN = "distribution_onan"
    ONAN = "onan"
    ONAF = "onaf"
    OF = "of"
    OD = "od"


class Paper(StrEnum):
    """Insulation of the winding; it selects the aging law."""

    NORMAL = "normal"
    UPGRADED = "upgraded"


class Rating(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[transformer.<name>.rating]]`: other limits for some hours, such as a cyclic or an emergency rating."""

    hours: LocalHours = ALWAYS
    loading_max_pu: Annotated[float, Meta(gt=0, le=3)] | None = None
    hot_spot_max_degc: Temperature | None = None
    top_oil_max_degc: Temperature | None = None


class Transformer(Equipment, frozen=True, kw_only=True):
    """A transformer that carries `share` of the site's power (without it: in proportion to its rating).

    The limits are those of normal cyclic loading of IEC 60076-7, narrowed or widened by `rating`; exceeding them costs more
    than any energy. `ageing_cost_per_h` is the price of one hour of rated insulation life, `ageing_max_h_per_day` the limit
    for a day. Thermal constants without a value come from `cooling`. The ambient temperature is `ambient_degc`, or the
    series `ambient_series`, plus `indoor_rise_k` in a compact station. A measured `<name>_top_oil_degc` corrects the model.
    """

    rated_power_kva: Positive
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    cooling: Cooling = Cooling.DISTRIBUTION_ONAN
    paper: Paper = Paper.NORMAL
    loading_max_pu: Annotated[float, Meta(gt=0, le=3)] = 1.5
    hot_spot_max_degc: Temperature = 120.0
    top_oil_max_degc: Temperature = 105.0
    rating: tuple[Rating, ...] = ()
    ageing_cost_per_h: NotNegative = 0.0
    ageing_max_h_per_day: Positive | None = None
    loss_ratio: Positive | None = None
    top_oil_rise_k: Positive | None = None
    winding_gradient_k: Positive | None = None
    hot_spot_factor: Positive | None = None
    ambient_degc: Temperature = 20.0
    ambient_series: Name | None = None
    indoor_rise_k: Annotated[float, Meta(ge=0, le=30)] = 0.0

    @property
    def top_oil_signal(self) -> str:
        """Signal of its top-oil temperature."""
        return f"{self.name}_top_oil_degc"

    def loading_pu(self, active_kw: float, reactive_kvar: float = 0.0) -> float:
        """Apparent power over rated power; the signs do not matter.

        Source: IEC 60076-7, load factor K.
        """
        return math.hypot(active_kw, reactive_kvar) / self.rated_power_kva
