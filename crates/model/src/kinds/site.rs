//! `Site`: a connection to the grid, or an island, with everything behind it.

use jiff::{SignedDuration, Timestamp};
use sos_units::{CarbonIntensity, CarbonPrice, Emissions, Power, Price};

use super::connection::{BillingPeriod, Connection, Feeder};
use crate::currency::Currency;
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::{Amount, Cpu, Fraction};
use crate::scalar::{Name, Switch, ZoneName};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// A connection to the grid or an island, the assets behind it, and how often they are measured, commanded and planned.
    pub struct SiteSpec checked by check_site {
        /// IANA time zone of the site, such as `America/Los_Angeles`; local hours and days are meant in it.
        time_zone: ZoneName;
        /// ISO 4217 code of the currency of all prices of the site, such as `USD`.
        currency: Currency;
        /// Time between two measurements and set-points. Default `10 s`; in replay the step of the data.
        tick: Option<SignedDuration>, in ABOVE_ZERO;
        /// Time between two plans. Default `15 min`; in replay the step of the data.
        plan_every: Option<SignedDuration>, in ABOVE_ZERO;
        /// How far a plan looks ahead.
        horizon: SignedDuration = SignedDuration::from_hours(36), in ABOVE_ZERO;
        /// The site replays its file signals and devices instead of following the real time.
        replay: Switch<Replay> = Switch::off();
        /// The connection to the grid. Default: none, the site is an island; it is one as well when `importLimit` and
        /// `exportLimit` are both `0 kW`. There power that lacks is unserved, and a surplus is lost.
        connection: Option<Connection>;
        /// Parts of the site behind meters or fuses of their own.
        feeders: Vec<Feeder> = Vec::new();
        /// Price of energy that is not served on an island, such as `5 EUR/kWh`. Default: the connection's
        /// `limitBreachPrice`, else far above every other price.
        value_of_lost_load: Option<Amount<Price>>, in ABOVE_ZERO;
        /// What generators and storages that run must be able to take over at once. Default: nothing.
        spinning_reserve: Option<SpinningReserve>;
        /// Price put on emissions of imported energy and of generators, such as `0.1 USD/kg`. Default: none.
        carbon_price: Option<Amount<CarbonPrice>>, in NOT_NEGATIVE;
        /// Most emissions over a plan or a calendar period, of import and of generators. Default: no limit.
        carbon_cap: Option<CarbonCap>;
        /// How the site forecasts its loads, its generation and its carbon intensity.
        forecasting: Forecasting = Forecasting::default();
        /// Power of the machine that runs `sos`; it is reported as the system's own use.
        controller_power: Power = Power::kw(0.005), in NOT_NEGATIVE;
    }
}

record! {
    /// A limit on emissions.
    pub struct CarbonCap checked by check_cap {
        /// Most emissions, such as `20 kg`.
        most: Emissions, in NOT_NEGATIVE;
        /// The calendar period, local time, over which emissions count: what was emitted in it before a plan is carried over, and of
        /// what is left a plan may use the share that it has of the time left. Default: each plan by itself.
        per: Option<BillingPeriod>;
        /// Emissions of the period in which a plan begins, so far.
        so_far: Emissions = Emissions::ZERO, in NOT_NEGATIVE;
        /// Price in the plan of each kg above, such as `5 EUR/kg`; the limit is elastic so that there is always a plan. Default:
        /// far above every other price.
        price: Option<Amount<CarbonPrice>>, in ABOVE_ZERO;
    }
}

record! {
    /// Spinning reserve: at every step of a plan, what runs has to be able to take over from what may be lost, each event by
    /// itself.
    pub struct SpinningReserve checked by check_spinning {
        /// Whether the loss of the generator that gives most is one.
        largest_generator: bool = true;
        /// Share of what solar plants and wind turbines give that may be lost, 0 … 1.
        renewable_share: Fraction = Fraction::new(0.0), in Range::between(0.0, 1.0);
        /// How long a battery has to be able to hold the power that it counts with.
        duration: SignedDuration = SignedDuration::from_mins(15), in ABOVE_ZERO;
        /// Price in the plan of each kWh that is missing (power times time), such as `1 EUR/kWh`; the reserve gives way where that
        /// is cheaper. Default: a tenth of the price of energy that is not served.
        price: Option<Amount<Price>>, in NOT_NEGATIVE;
    }
}

record! {
    /// Which models forecast, and what they may cost.
    pub struct Forecasting {
        /// Models that are asked; `all` are used where they were clearly better than the `profile` on the site's own past.
        members: Members = Members::All;
        /// Time between two forecasts of all members; they come beside the loop.
        refit_every: SignedDuration = SignedDuration::from_hours(6), in ABOVE_ZERO;
        /// Share of a processor that they may take, such as `100m` or `0.1`; a replay takes what it needs.
        cpu: Cpu = Cpu { milli: 100 };
    }
}

words! {
    /// Models that forecast.
    pub enum Members as "members" {
        /// The model that learns with every value and costs microseconds.
        Profile,
        /// Beside it the whole family: repetitions, decomposition, regressions, trees, clear sky.
        All,
    }
}

impl Default for Forecasting {
    fn default() -> Self {
        Self { members: Members::All, refit_every: SignedDuration::from_hours(6), cpu: Cpu { milli: 100 } }
    }
}

record! {
    /// What part of recorded data is replayed.
    pub struct Replay checked by check_replay {
        /// Start of the replay, RFC 3339 with offset. Default: the first row of the data.
        from: Option<Timestamp>;
        /// End of the replay, RFC 3339 with offset. Default: the last row of the data.
        until: Option<Timestamp>;
    }
}

choice! {
    /// Where a price comes from.
    pub enum PriceSource {
        /// Name of a `Signal` with a unit such as `USD/kWh`.
        Signal(Name),
        /// The same price at all times, such as `0.2 USD/kWh`.
        Fixed(Amount<Price>),
    }
}

choice! {
    /// Where a carbon intensity comes from.
    pub enum CarbonSource {
        /// Name of a `Signal` with a unit such as `kg/kWh`.
        Signal(Name),
        /// The same intensity at all times, such as `0.2 kg/kWh`; zero or above.
        Fixed(CarbonIntensity),
    }
}

impl SiteSpec {
    /// The price on emissions, zero when none is declared.
    #[must_use]
    pub fn carbon_price_or_zero(&self) -> CarbonPrice {
        self.carbon_price.map_or(CarbonPrice::ZERO, |price| price.value)
    }
}

fn check_cap(cap: &CarbonCap, node: &Node, cx: &mut Cx<'_>) {
    if cap.per.is_none() && cap.so_far > Emissions::ZERO {
        let position = node.get("soFar").map_or(node.position, |n| n.position);
        cx.report(position, "soFar without per", "expected the period that it is of, such as per: month");
    }
}

fn check_spinning(reserve: &SpinningReserve, node: &Node, cx: &mut Cx<'_>) {
    if !reserve.largest_generator && reserve.renewable_share.get() <= 0.0 {
        let help = "expected largestGenerator: true, a renewableShare above 0, or no spinningReserve";
        cx.report(node.position, "a spinning reserve against nothing", help);
    }
}

fn check_replay(replay: &Replay, node: &Node, cx: &mut Cx<'_>) {
    if let (Some(from), Some(until)) = (replay.from, replay.until)
        && until <= from
    {
        let position = node.get("until").map_or(node.position, |n| n.position);
        cx.report(position, "until is not after from", "expected a later time");
    }
}

/// The most steps of a plan: what a solver is asked for at most.
const MAX_PLAN_STEPS: i64 = 2000;

fn check_site(site: &SiteSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    for (key, value) in [("tick", site.tick), ("planEvery", site.plan_every)] {
        if value.is_some_and(|v| v.subsec_nanos() != 0) {
            cx.report(
                at(key),
                format!("{key} is not a whole number of seconds"),
                "expected a value such as 10 s",
            );
        }
    }
    if let (Some(tick), Some(every)) = (site.tick, site.plan_every) {
        if tick > every {
            cx.report(at("planEvery"), "planEvery is shorter than tick", "expected a multiple of tick");
        } else if tick.as_secs() > 0 && every.as_secs() % tick.as_secs() != 0 {
            cx.report(at("planEvery"), "planEvery is not a multiple of tick", "expected a multiple of tick");
        }
    }
    if let Some(every) = site.plan_every {
        if site.horizon < every {
            cx.report(
                at("horizon"),
                "horizon is shorter than planEvery",
                "expected at least one step of the plan",
            );
        } else if every.as_secs() > 0 && site.horizon.as_secs() / every.as_secs() > MAX_PLAN_STEPS {
            let message = format!("horizon has more than {MAX_PLAN_STEPS} steps of planEvery");
            cx.report(at("horizon"), message, "shorten horizon or lengthen planEvery");
        } else if every.as_secs() > 0 && site.horizon.as_secs() % every.as_secs() != 0 {
            cx.report(
                at("horizon"),
                "horizon is not a multiple of planEvery",
                "expected whole steps of the plan",
            );
        }
    }
}
