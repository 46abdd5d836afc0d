//! The live view as lines of text: a pure function of what is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sos_control::ServicePhase;
use sos_engine::clock::Speed;
use sos_engine::live::{AssetState, SiteState};
use sos_engine::services::board::Board;
use sos_store::{EventRecord, EventType};
use sos_units::{Missing, Power, Reading, Soc};

use crate::words;

/// The latest events that are shown.
const EVENTS: usize = 4;
/// Services that need attention and are shown with a line of their own.
const TROUBLES: usize = 4;
/// From this width on the bars are longer.
const WIDE: usize = 110;

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        }
    }
}

/// A line of styled pieces, cut to its width as a whole.
#[derive(Default)]
struct Line(Vec<(Style, String)>);

impl Line {
    fn add(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    fn text(self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        let mut left = width;
        for (style, text) in self.0 {
            // What a message holds must not command the terminal.
            let text = words::cut(&text.replace(char::is_control, " "), left);
            left -= text.chars().count();
            if colour && style != Style::Plain && !text.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(out, "\x1b[{}m{text}\x1b[0m", style.code());
            } else {
                out += &text;
            }
        }
        out.trim_end().to_owned()
    }
}

/// The live view of a site, each line at most `width` characters wide beside colour codes. The last of `events` is the
/// newest.
pub(crate) fn render(
    state: &SiteState,
    board: &Board,
    events: &[EventRecord],
    width: usize,
    colour: bool,
) -> Vec<String> {
    let mut lines = vec![title(state), connection(state, width), money(state), Line::default()];
    lines.extend(groups(state, width));
    lines.push(Line::default());
    if let Some(plan) = plan(state) {
        lines.push(plan);
    }
    lines.extend(services(board));
    lines.extend(latest(events, &state.zone));
    lines.into_iter().map(|line| line.text(width, colour)).collect()
}

/// One plain line for those who do not look at a terminal.
pub(crate) fn line(state: &SiteState, board: &Board) -> String {
    let (ready, all) = ready(board);
    let grid = told(state.grid, words::connection(state.island));
    let stored = state.soc.map_or_else(|_| "–".to_owned(), |soc| words::percent(soc.as_fraction()));
    let saved = words::money(saving(state), &state.currency);
    let time = sos_engine::time_text(state.time, &state.zone);
    format!("{} {time}: {grid}, {stored} stored, saved {saved}, {ready} of {all} services ready", state.site)
}

fn saving(state: &SiteState) -> f64 {
    state.totals.objective.baseline - state.totals.objective.actual
}

fn told(power: Reading<Power>, words: fn(f64) -> String) -> String {
    power.map_or_else(|why| format!("unknown: {why}"), |power| words(power.as_kw()))
}

fn title(state: &SiteState) -> Line {
    let time = state.zone.to_datetime(state.time).strftime("%a %Y-%m-%d %H:%M").to_string();
    let speed = match state.speed {
        Speed::LockStep => "lock-step".to_owned(),
        Speed::Factor(factor) => format!("{factor}×"),
    };
    let price = state.price.map_or_else(
        |_| "price unknown".to_owned(),
        |price| format!("{:.3} {}/kWh", price.as_per_kwh(), state.currency),
    );
    let carbon = state.carbon.map_or_else(
        |_| "carbon unknown".to_owned(),
        |carbon| format!("{:.0} g CO2/kWh", carbon.as_kg_per_kwh() * 1000.0),
    );
    let of_grid = if state.island { String::new() } else { format!("  {price}  {carbon}") };
    Line::default().add(Style::Bold, &state.site).add(Style::Plain, format!("  {time}  {speed}{of_grid}"))
}

fn connection(state: &SiteState, width: usize) -> Line {
    let words = words::connection(state.island);
    let line = Line::default().add(Style::Bold, if state.island { "Island " } else { "Grid   " });
    let Ok(grid) = state.grid else { return line.add(Style::Warning, told(state.grid, words)) };
    let used = grid.as_kw();
    let limit = if used >= 0.0 { state.import_limit } else { state.export_limit };
    let line = line.add(Style::Plain, words(used));
    let Some(limit) = limit.filter(|limit| *limit > Power::ZERO) else { return line };
    let share = used.abs() / limit.as_kw();
    let style = match share {
        share if share > 1.0 => Style::Bad,
        share if share > 0.9 => Style::Warning,
        _ => Style::Good,
    };
    let bars = if width >= WIDE { 24 } else { 12 };
    line.add(Style::Plain, format!(" of {}  ", words::kw(limit.as_kw()))).add(style, bar(share, bars))
}

fn money(state: &SiteState) -> Line {
    let totals = &state.totals;
    let saving = saving(state);
    let share = if totals.objective.baseline.abs() > 0.005 {
        format!(
            " ({} of {})",
            words::percent(saving / totals.objective.baseline.abs()),
            words::money(totals.objective.baseline, &state.currency)
        )
    } else {
        String::new()
    };
    let (actual, baseline) = totals.limit_violations;
    let style = if saving < -0.005 { Style::Bad } else { Style::Good };
    let over = if state.island { "not all served" } else { "over the limit" };
    Line::default()
        .add(Style::Bold, "Saved  ")
        .add(style, words::money(saving, &state.currency))
        .add(Style::Plain, format!("{share}  {over}: {actual} steps, without control {baseline}"))
}

/// What the assets of one home do together.
#[derive(Default)]
struct Group<'a> {
    solar: Option<Reading<Power>>,
    load: Option<Reading<Power>>,
    battery: Option<Reading<Power>>,
    soc: Option<Reading<Soc>>,
    reason: &'a str,
}

fn grouped(assets: &[AssetState]) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for asset in assets {
        let group = groups.entry(asset.group.as_deref().unwrap_or(&asset.name)).or_default();
        let add = |sum: &mut Option<Reading<Power>>| {
            *sum = Some(sum.unwrap_or(Ok(Power::ZERO)).and_then(|sum| Ok(sum + asset.power?)));
        };
        match asset.kind {
            "solar" => add(&mut group.solar),
            "battery" => {
                add(&mut group.battery);
                // Of several batteries the first is shown; the site's own share is on the page.
                group.soc = group.soc.or(asset.soc);
            }
            _ => add(&mut group.load),
        }
        // Batteries are what is decided about; their reason goes before others.
        if !asset.reason.is_empty() && (group.reason.is_empty() || asset.kind == "battery") {
            group.reason = &asset.reason;
        }
    }
    groups
}

fn groups(state: &SiteState, width: usize) -> Vec<Line> {
    let groups = grouped(&state.assets);
    let name = groups.keys().map(|name| name.chars().count()).max().unwrap_or(0).clamp(4, 16);
    let bars = if width >= WIDE { 10 } else { 5 };
    let head = format!(
        "{:name$}  {:>7}  {:>7}  {:<18}  {:<stored$}  WHY",
        "HOME",
        "SOLAR",
        "LOAD",
        "BATTERY",
        "STORED",
        stored = bars + 6
    );
    let mut lines = vec![Line::default().add(Style::Dim, head)];
    for (group, does) in &groups {
        let mut line = Line::default()
            .add(Style::Bold, format!("{:name$}", words::cut(group, name)))
            .add(Style::Plain, "  ");
        line = power(line, does.solar, 7, words::kw).add(Style::Plain, "  ");
        line = power(line, does.load, 7, words::kw).add(Style::Plain, "  ");
        line = power(line, does.battery, -18, words::battery).add(Style::Plain, "  ");
        line = match does.soc {
            Some(Ok(soc)) => line
                .add(Style::Good, bar(soc.as_fraction(), bars))
                .add(Style::Plain, format!(" {:>5}", words::percent(soc.as_fraction()))),
            Some(Err(_)) => line.add(Style::Warning, format!("{:stored$}", "unknown", stored = bars + 6)),
            None => line.add(Style::Plain, " ".repeat(bars + 6)),
        };
        lines.push(line.add(Style::Dim, format!("  {}", does.reason)));
    }
    lines
}

/// A cell; a negative width fills on the right.
fn power(line: Line, reading: Option<Reading<Power>>, width: isize, words: fn(f64) -> String) -> Line {
    let (style, text) = match reading {
        None => (Style::Plain, String::new()),
        Some(Ok(power)) => (Style::Plain, words(power.as_kw())),
        Some(Err(Missing::NotYet)) => (Style::Dim, "…".to_owned()),
        Some(Err(_)) => (Style::Warning, "unknown".to_owned()),
    };
    let fill = width.unsigned_abs();
    line.add(style, if width < 0 { format!("{text:<fill$}") } else { format!("{text:>fill$}") })
}

/// A bar of `width` blocks, full at a share of 1 and above.
fn bar(share: f64, width: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(width - full)
}

fn plan(state: &SiteState) -> Option<Line> {
    let plan = state.plan.as_ref()?;
    let line = Line::default().add(Style::Bold, "Plan   ");
    let clock = |time: Timestamp| state.zone.to_datetime(time).strftime("%H:%M").to_string();
    let style = if plan.source == "solver" { Style::Plain } else { Style::Warning };
    let line = line.add(style, format!("of {} by {}", clock(plan.made_at), plan.source));
    let Some(step) = plan.steps.iter().rev().find(|step| step.time <= state.time).or(plan.steps.first())
    else {
        return Some(line);
    };
    let because = words::reasons(step.because.iter().map(|(name, why)| (name.as_str(), why.as_str())));
    Some(
        line.add(Style::Plain, format!(": {}; ", words::connection(state.island)(step.grid.as_kw())))
            .add(Style::Dim, because),
    )
}

/// Services that are ready, and all that should be: a job that is not at work is as it should be.
fn ready(board: &Board) -> (usize, usize) {
    let well = board.services.values().filter(|view| is_well(view.status.phase)).count();
    (well, board.services.len())
}

const fn is_well(phase: ServicePhase) -> bool {
    matches!(
        phase,
        ServicePhase::Running | ServicePhase::Completed | ServicePhase::Waiting | ServicePhase::Stopped
    )
}

fn services(board: &Board) -> Vec<Line> {
    let (well, all) = ready(board);
    let style = if well == all { Style::Good } else { Style::Warning };
    let restarts: u32 = board.services.values().map(|view| view.status.restarts).sum();
    let mut lines = vec![
        Line::default()
            .add(Style::Bold, "Services  ")
            .add(style, format!("{well} of {all} well"))
            .add(Style::Plain, format!(", {restarts} restarts")),
    ];
    let troubles: Vec<_> = board.services.iter().filter(|(_, view)| !is_well(view.status.phase)).collect();
    for (name, view) in troubles.iter().take(TROUBLES) {
        let style = if view.status.phase == ServicePhase::Failed { Style::Bad } else { Style::Warning };
        lines.push(
            Line::default()
                .add(Style::Plain, format!("  {name}  "))
                .add(style, format!("{:?}", view.status.phase))
                .add(Style::Plain, format!("  {}/{} ready  ", view.status.ready, view.status.replicas))
                .add(Style::Dim, &view.message),
        );
    }
    if troubles.len() > TROUBLES {
        lines.push(Line::default().add(Style::Dim, format!("  and {} more", troubles.len() - TROUBLES)));
    }
    lines
}

fn latest(events: &[EventRecord], zone: &TimeZone) -> Vec<Line> {
    let shown = &events[events.len().saturating_sub(EVENTS)..];
    let mut lines = Vec::new();
    if !shown.is_empty() {
        lines.push(Line::default().add(Style::Bold, "Events"));
    }
    for record in shown {
        let event = &record.event;
        let style = if event.event_type == EventType::Warning { Style::Warning } else { Style::Plain };
        // The table's clock is the site's; what follows none has the wall clock's time, and says so.
        let clock = if event.site_time.is_some() { "" } else { " wall clock" };
        let time = zone.to_datetime(event.site_time.unwrap_or(event.time)).strftime("%H:%M:%S");
        let time = format!("{time}{clock}");
        let times = if record.count > 1 { format!(" ({} times)", record.count) } else { String::new() };
        lines.push(
            Line::default()
                .add(Style::Dim, format!("  {time}  "))
                .add(style, &event.reason)
                .add(Style::Plain, format!("  {}/{}  {}{times}", event.kind, event.name, event.message)),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use sos_control::ServiceStatus;
    use sos_engine::live::{Compared, PlanState, PlanStepState, Totals};
    use sos_engine::services::board::ServiceView;
    use sos_store::Event;
    use sos_units::{CarbonIntensity, Energy, Price};

    use super::*;

    fn asset(name: &str, kind: &'static str, kw: Reading<f64>, soc: Option<f64>, reason: &str) -> AssetState {
        AssetState {
            name: name.into(),
            kind,
            mode: "control".into(),
            group: Some("home-1".into()),
            power: kw.map(Power::kw),
            soc: soc.map(|soc| Ok(Soc::fraction(soc))),
            setpoint: None,
            reason: reason.into(),
        }
    }

    fn state() -> SiteState {
        let time: Timestamp = "2016-08-01T22:15:00Z".parse().unwrap();
        let step = PlanStepState {
            feeders: BTreeMap::new(),
            time,
            grid: Power::kw(2.0),
            soc: None,
            price: Price::per_kwh(0.22),
            power: BTreeMap::new(),
            because: BTreeMap::from([("home-1-battery".into(), "solar surplus now".into())]),
            binding_limits: Vec::new(),
        };
        SiteState {
            feeders: Vec::new(),
            charges: Vec::new(),
            carbon_cap: None,
            site: "fontana".into(),
            zone: TimeZone::get("Etc/GMT+8").unwrap(),
            time,
            tick: 60,
            step: jiff::SignedDuration::from_mins(15),
            speed: Speed::Factor(600.0),
            currency: "USD".into(),
            island: false,
            grid: Ok(Power::kw(2.0)),
            import_limit: Some(Power::kw(12.0)),
            export_limit: None,
            price: Ok(Price::per_kwh(0.22)),
            carbon: Ok(CarbonIntensity::kg_per_kwh(0.31)),
            totals: Totals {
                objective: Compared { actual: 8.0, baseline: 10.0 },
                import: Energy::kwh(3.0),
                limit_violations: (1, 4),
                ..Totals::default()
            },
            solar: Ok(Power::kw(3.0)),
            load: Ok(Power::kw(-1.0)),
            battery: Ok(Power::kw(-1.5)),
            work: Power::ZERO,
            waiting: Vec::new(),
            soc: Ok(Soc::fraction(0.52)),
            assets: vec![
                asset("home-1-solar", "solar", Ok(3.04), None, ""),
                asset(
                    "home-1-battery",
                    "battery",
                    Ok(-1.5),
                    Some(0.52),
                    "charging: solar surplus now, evening price 0.54 later",
                ),
                asset("home-1-load", "load", Err(Missing::Unavailable), None, "unavailable: no answer"),
            ],
            plan: Some(PlanState { made_at: time, source: "solver".into(), steps: vec![step] }),
            plans: 1,
            fallbacks: 0,
            forecasts: Vec::new(),
        }
    }

    fn board() -> Board {
        let view = |phase, ready, message: &str| {
            let status = ServiceStatus {
                phase,
                ready,
                live: ready,
                replicas: 1,
                observed_generation: 1,
                restarts: 2,
                ready_replicas: Vec::new(),
                conditions: Vec::new(),
            };
            ServiceView::new(status, message)
        };
        let services = BTreeMap::from([
            ("home-1".to_owned(), view(ServicePhase::Running, 1, "")),
            ("sunspec".to_owned(), view(ServicePhase::BackOff, 0, "ended with 1, next try in 4 s \u{1b}[2J")),
        ]);
        Board { services, ..Board::default() }
    }

    fn events() -> Vec<EventRecord> {
        let event = |n: u64| EventRecord {
            seq: n,
            event: Event {
                time: "2016-08-01T22:15:00Z".parse().unwrap(),
                site_time: None,
                kind: "Service".into(),
                name: "sunspec".into(),
                event_type: EventType::Warning,
                reason: format!("BackOff{n}"),
                message: "it ended".into(),
            },
            count: n,
            first: "2016-08-01T22:15:00Z".parse().unwrap(),
        };
        (1..=6).map(event).collect()
    }

    #[test]
    fn the_picture_tells_power_plan_saving_and_health_in_words() {
        let text = render(&state(), &board(), &events(), 120, false).join("\n");
        for wanted in [
            "fontana  Mon 2016-08-01 14:15  600×  0.220 USD/kWh  310 g CO2/kWh",
            "Grid   imports 2.0 kW of 12.0 kW  ████░",
            "Saved  2.00 USD (20 % of 10.00 USD)  over the limit: 1 steps, without control 4",
            "home-1   3.0 kW  unknown  charging 1.5 kW     █████░░░░░  52 %  charging: solar surplus now, evening price 0.54 later",
            "Plan   of 14:15 by solver: imports 2.0 kW; solar surplus now",
            "Services  1 of 2 well, 4 restarts",
            "  sunspec  BackOff  0/1 ready  ended with 1, next try in 4 s",
            "BackOff6  Service/sunspec  it ended (6 times)",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert!(!text.contains("BackOff2") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_colour_changes_no_text() {
        for width in [1, 20, 40, 80, 120, 200] {
            let plain = render(&state(), &board(), &events(), width, false);
            for line in &plain {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let coloured = render(&state(), &board(), &events(), width, true);
            let bare: Vec<String> = coloured.iter().map(|line| uncoloured(line)).collect();
            assert_eq!(bare.iter().map(|l| l.trim_end()).collect::<Vec<_>>(), plain);
        }
    }

    fn uncoloured(text: &str) -> String {
        let mut parts = text.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn eighty_columns_show_every_figure() {
        let text = render(&state(), &board(), &[], 80, false).join("\n");
        for wanted in ["600×", "0.220 USD/kWh", "of 12.0 kW", "charging 1.5 kW", " 52 %", "charging: solar"]
        {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_told_and_never_zero() {
        let mut state = state();
        state.grid = Err(Missing::Unavailable);
        state.soc = Err(Missing::NotYet);
        state.assets[0].power = Err(Missing::NotYet);
        state.plan = None;
        let text = render(&state, &Board::default(), &[], 100, false).join("\n");
        assert!(text.contains("Grid   unknown: source does not answer"), "{text}");
        assert!(text.contains("home-1        …"), "{text}");
        assert_eq!(
            line(&state, &board()),
            "fontana 2016-08-01T14:15:00-08:00: unknown: source does not answer, – stored, saved 2.00 USD, 1 of 2 services ready"
        );
    }
}
