//! Connections of a site: the one to the grid, and feeders behind it.

use jiff::{SignedDuration, Timestamp};
use sos_units::{CarbonIntensity, Energy, Power, Price};

use super::site::{CarbonSource, PriceSource};
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::{Amount, CapacityPrice, Fraction};
use crate::scalar::Name;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE};

record! {
    /// Limits and prices of the connection to the grid.
    pub struct Connection checked by check_connection {
        /// Highest power drawn from the grid, zero or above. Default: no limit.
        import_limit: Option<Power>, in NOT_NEGATIVE;
        /// Highest power fed into the grid, zero or above. Default: no limit.
        export_limit: Option<Power>, in NOT_NEGATIVE;
        /// Price paid for imported energy.
        import_price: PriceSource;
        /// Levies on each imported kWh, such as `0.0205 EUR/kWh`, added to `importPrice`. Default: none.
        import_levy: Option<Amount<Price>>, in NOT_NEGATIVE;
        /// Tax on `importPrice` with `importLevy`, such as `19 %`.
        import_tax: Fraction = Fraction::new(0.0);
        /// Price earned for exported energy. Default: nothing is earned.
        export_price: Option<PriceSource>;
        /// Emissions of imported energy. Default: emissions are not counted.
        carbon_intensity: Option<CarbonSource>;
        /// What kind of factor `carbonIntensity` is; answers state it.
        carbon_factor: CarbonFactor = CarbonFactor::Average;
        /// What is charged for a peak of import, or for import beyond an amount.
        charges: Vec<Charge> = Vec::new();
        /// Price in the plan of each kW by which the exchange changes from one step to the next, such as `0.05 EUR/kW`.
        /// Default: none.
        ramp_price: Option<Amount<CapacityPrice>>, in NOT_NEGATIVE;
        /// Price in the plan for energy beyond a limit, such as `10 USD/kWh`; limits are elastic so that there is
        /// always a plan. Default: far above every other price.
        limit_breach_price: Option<Amount<Price>>, in ABOVE_ZERO;
    }
}

words! {
    /// Kinds of carbon factors.
    pub enum CarbonFactor as "factor" {
        /// Emissions of all generation at a time, over all energy.
        Average,
        /// Emissions of the next kWh.
        Marginal,
    }
}

record! {
    /// A charge beside the price of each kWh.
    pub struct Charge {
        ..on: Charged;
        /// Its name, unique at the site.
        name: Name;
    }
}

choice! {
    /// What a charge is on.
    pub enum Charged {
        /// The highest mean import of an interval.
        Peak(PeakCharge),
        /// Import beyond an amount.
        Tier(Tier),
    }
}

record! {
    /// A charge on the highest mean import of an interval within a period.
    pub struct PeakCharge checked by check_peak {
        /// Price of each kW of the highest mean import, such as `8.5 EUR/kW`.
        price: Amount<CapacityPrice>, in NOT_NEGATIVE;
        /// Over which import is averaged; from midnight on, local time, so that a day is a whole number of them.
        interval: SignedDuration = SignedDuration::from_mins(15), in ABOVE_ZERO;
        /// After which the peak begins anew, local time.
        per: BillingPeriod = BillingPeriod::Month;
        /// The peak of the period in which a plan begins, so far; or what is contracted and paid anyway.
        so_far: Power = Power::ZERO, in NOT_NEGATIVE;
    }
}

record! {
    /// A higher price of import beyond an amount within a period.
    pub struct Tier {
        /// Import of a period up to which nothing is added, such as `300 kWh`.
        above: Energy, in NOT_NEGATIVE;
        /// What each kWh beyond costs more, such as `0.05 EUR/kWh`; zero or above.
        price: Amount<Price>, in NOT_NEGATIVE;
        /// After which counting begins anew, local time.
        per: BillingPeriod = BillingPeriod::Month;
        /// Import of the period in which a plan begins, so far.
        so_far: Energy = Energy::ZERO, in NOT_NEGATIVE;
    }
}

words! {
    /// Periods of a bill.
    pub enum BillingPeriod as "per" {
        /// From midnight to midnight.
        Day,
        /// A calendar month.
        Month,
        /// A calendar year.
        Year,
    }
}

record! {
    /// A part of the site behind a meter or a fuse of its own, such as a home, a street or the circuit of a charger. What flows
    /// through it flows through the site's connection too, or through the feeder that it is behind; prices add up.
    pub struct Feeder checked by check_feeder {
        /// Its name, unique at the site.
        name: Name;
        /// Name of the feeder that it is behind. Default: the site's connection.
        behind: Option<Name>;
        /// Highest power into it, zero or above. Default: no limit.
        import_limit: Option<Power>, in NOT_NEGATIVE;
        /// Highest power out of it, zero or above. Default: no limit.
        export_limit: Option<Power>, in NOT_NEGATIVE;
        /// Price paid for energy that flows in, beside that of the connection. Default: none.
        import_price: Option<PriceSource>;
        /// Price earned for energy that flows out, beside that of the connection. Default: none.
        export_price: Option<PriceSource>;
        /// Emissions of energy that flows in, where they are counted here and not at the connection. Default: none.
        carbon_intensity: Option<CarbonSource>;
        /// What is charged for a peak of what flows in, or for more than an amount.
        charges: Vec<Charge> = Vec::new();
        /// Orders of the grid operator, each of which limits what flows in for a time.
        reductions: Vec<Reduction> = Vec::new();
    }
}

record! {
    /// An order of the grid operator to draw less for a time.
    pub struct Reduction checked by check_reduction {
        ..to: ReducedTo;
        /// When it begins, RFC 3339 with offset.
        from: Timestamp;
        /// When it ends, RFC 3339 with offset.
        until: Timestamp;
    }
}

choice! {
    /// What is left to draw under an order.
    pub enum ReducedTo {
        /// This power, such as `4.2 kW`.
        Power(Power),
        /// What a rule leaves to the batteries, vehicles and heat pumps behind the feeder together; each may draw its fair share.
        Rule(ReductionRule),
    }
}

words! {
    /// Rules of grid operators' orders.
    pub enum ReductionRule as "rule" {
        /// Germany, section 14a EnWG, decision BK6-22-300.
        Section14a,
    }
}

impl Charge {
    /// After which it begins anew.
    #[must_use]
    pub const fn per(&self) -> BillingPeriod {
        match &self.on {
            Charged::Peak(peak) => peak.per,
            Charged::Tier(tier) => tier.per,
        }
    }
}

fn check_connection(connection: &Connection, node: &Node, cx: &mut Cx<'_>) {
    if let Some(CarbonSource::Fixed(intensity)) = connection.carbon_intensity
        && intensity < CarbonIntensity::ZERO
    {
        let position = node.get("carbonIntensity").map_or(node.position, |n| n.position);
        cx.report(position, "a negative carbon intensity", "expected zero or above");
    }
}

/// Intervals begin anew at midnight, as periods do: one that does not divide a day would be cut there.
fn check_peak(peak: &PeakCharge, node: &Node, cx: &mut Cx<'_>) {
    let seconds = peak.interval.as_secs();
    let whole = peak.interval.subsec_nanos() == 0 && seconds > 0;
    if !whole || SignedDuration::from_hours(24).as_secs() % seconds != 0 {
        let position = node.get("interval").map_or(node.position, |n| n.position);
        cx.report(
            position,
            "a day is not a whole number of intervals",
            "expected whole seconds of which 24 h are a multiple, such as 15 min or 1 h",
        );
    }
}

fn check_feeder(feeder: &Feeder, node: &Node, cx: &mut Cx<'_>) {
    if let Some(CarbonSource::Fixed(intensity)) = feeder.carbon_intensity
        && intensity < CarbonIntensity::ZERO
    {
        let position = node.get("carbonIntensity").map_or(node.position, |n| n.position);
        cx.report(position, "a negative carbon intensity", "expected zero or above");
    }
}

fn check_reduction(reduction: &Reduction, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if reduction.until <= reduction.from {
        cx.report(at("until"), "until is not after from", "expected a later time");
    }
    if let ReducedTo::Power(power) = reduction.to
        && power < Power::ZERO
    {
        cx.report(at("power"), "a negative power", "expected zero or above");
    }
}
