// Generated from crates/api/src/wire.rs and wire/. Do not edit; after a change there run
// SOS_WRITE_CONTRACT=1 cargo test --release -p sos-api contract

export type Compared = { 
/**
 * What happened.
 */
actual: number, 
/**
 * What would have happened without control.
 */
baseline: number, };

export type ComparedCount = { 
/**
 * What happened.
 */
actual: number, 
/**
 * What would have happened without control.
 */
baseline: number, };

export type Connection = { 
/**
 * Whether there is none: the power is then what lacks, above zero, or what is lost, below.
 */
island: boolean, 
/**
 * Import above zero, export below.
 */
power_kw: number | null, 
/**
 * Most that may be imported, kW, zero or above; left out when there is none.
 */
import_limit_kw?: number, 
/**
 * Most that may be exported, kW, zero or above; left out when there is none.
 */
export_limit_kw?: number, 
/**
 * How far the exchange is over its limit now, kW, zero when within.
 */
over_limit_kw: number, };

export type FeederLive = { 
/**
 * Its name.
 */
name: string, 
/**
 * Flow into it above zero, out of it below, and its limits now: by its fuse and by orders of the grid operator.
 */
connection: Connection, };

export type ChargeLive = { 
/**
 * Its name.
 */
name: string, 
/**
 * The feeder where it is paid; left out for the site's connection.
 */
feeder?: string, 
/**
 * `kW` of a peak, `kWh` of an amount.
 */
unit: string, 
/**
 * What the running period has come to so far, in that unit.
 */
so_far: Compared, 
/**
 * What it has cost since the site's start, currency.
 */
cost: Compared, };

export type CarbonCapLive = { 
/**
 * Most of a period, kg CO2.
 */
most_kg: number, 
/**
 * Emitted in the running one, kg CO2.
 */
so_far_kg: number, };

export type Totals = { 
/**
 * Paid for energy, currency.
 */
cost: Compared, 
/**
 * Emissions of what was imported or burnt, kg CO2.
 */
emissions_kg: Compared, 
/**
 * Cost + carbon price × emissions + unserved energy − value of what is stored, currency.
 */
objective: Compared, 
/**
 * `objective.baseline − objective.actual`, currency; below zero when control cost more.
 */
saving: number, 
/**
 * Imported, kWh.
 */
import_kwh: number, 
/**
 * Exported, kWh.
 */
export_kwh: number, 
/**
 * Surplus of one home used by another, kWh.
 */
shared_kwh: number, 
/**
 * Part of the generation used on site, 0…1; `null` before any was generated.
 */
self_consumption: number | null, 
/**
 * Steps in which a limit of the connection or of a feeder was exceeded.
 */
limit_violations: ComparedCount, };

export type AssetLive = { 
/**
 * Name of the asset, unique in its site.
 */
name: string, 
/**
 * `battery`, `solar`, `load`, …: the asset's declared type.
 */
type: string, 
/**
 * `observe`, `advise` or `control`.
 */
mode: string, 
/**
 * The home or building it belongs to.
 */
group?: string, 
/**
 * Measured: generation and discharge above zero, consumption and charging below.
 */
power_kw?: number, 
/**
 * State of charge, 0…1.
 */
soc?: number, 
/**
 * What it was last told, same sign as `power_kw`.
 */
setpoint_kw?: number, 
/**
 * Whether it can be measured and, in mode `control`, commanded.
 */
available: boolean, 
/**
 * Why it does what it does, a sentence for people.
 */
reason: string, 
/**
 * Why a measurement is missing.
 */
missing?: string, };

export type PlanStep = { 
/**
 * Start of the step.
 */
time: string, 
/**
 * Planned exchange with the grid, import above zero.
 */
grid_kw: number, 
/**
 * Planned state of charge over all batteries at the step's end, 0…1.
 */
soc: number | null, 
/**
 * Expected price of import, currency per kWh.
 */
price_per_kwh: number | null, 
/**
 * Why, a sentence for people.
 */
because: string, 
/**
 * Limits that the step is at, in words; empty where nothing holds the plan back.
 */
binding_limits: Array<string>, };

export type PlanLive = { 
/**
 * Site time at which it was made.
 */
made_at: string, 
/**
 * What made it: the optimiser, or the name of the fallback.
 */
source: string, 
/**
 * From now on, in order of time.
 */
steps: Array<PlanStep>, };

export type ServiceLive = { 
/**
 * Name of the service.
 */
name: string, 
/**
 * `Waiting`, `Starting`, `Running`, `Degraded`, `BackOff`, `Rolling`, `Stopping`, `Stopped`, `Completed`, `Failed`.
 */
phase: string, 
/**
 * Replicas that answer their readiness probe.
 */
ready: number, 
/**
 * Replicas that are declared.
 */
replicas: number, 
/**
 * Restarts since the service was deployed, over all replicas.
 */
restarts: number, 
/**
 * What people should know; empty when all is well.
 */
message: string, };

export type WorkLive = { 
/**
 * Name of the run and, when it is a part of that, where in the workflow: `RUN/do/0/TASK`.
 */
name: string, 
/**
 * Name of the workflow.
 */
workflow: string, 
/**
 * Whether it may use power now.
 */
running: boolean, 
/**
 * When it is to begin or began, RFC 3339; left out when no plan knows it yet.
 */
planned?: string, 
/**
 * When it has to be done, RFC 3339.
 */
deadline: string, 
/**
 * All of its energy, kWh, zero or above.
 */
energy_kwh: number, 
/**
 * What is left of that.
 */
left_kwh: number, 
/**
 * Money saved against beginning at once, currency; left out when no plan knows it yet.
 */
saves?: number, 
/**
 * The same in kg CO2.
 */
saves_kg?: number, 
/**
 * Why it waits or runs.
 */
because: string, };

export type SiteLive = { 
/**
 * Name of the site.
 */
site: string, 
/**
 * Site time of the tick.
 */
time: string, 
/**
 * Ticks since the site's start.
 */
tick: number, 
/**
 * Length of a data step, seconds, above zero.
 */
step_seconds: number, 
/**
 * `max` in lock-step, else how many times faster than the wall clock, as text (`1`, `600`).
 */
speed: string, 
/**
 * ISO 4217 code of all money here.
 */
currency: string, 
/**
 * What people must know about how the site runs now ("advise only: nothing is written").
 */
mode_note?: string, 
/**
 * The shared connection to the grid.
 */
connection: Connection, 
/**
 * Parts of the site behind meters or fuses of their own.
 */
feeders: Array<FeederLive>, 
/**
 * What is charged for peaks and amounts.
 */
charges: Array<ChargeLive>, 
/**
 * The limit on emissions of a period; left out when there is none.
 */
carbon_cap?: CarbonCapLive, 
/**
 * Price of import now, currency per kWh.
 */
price_per_kwh: number | null, 
/**
 * Carbon intensity of import now, kg CO2 per kWh.
 */
carbon_kg_per_kwh: number | null, 
/**
 * Sums since the site's start.
 */
totals: Totals, 
/**
 * Generation of all photovoltaics, kW, zero or above.
 */
solar_kw: number | null, 
/**
 * Consumption of all loads, kW, zero or below.
 */
load_kw: number | null, 
/**
 * Power of all batteries: above zero discharges, below zero charges.
 */
battery_kw: number | null, 
/**
 * Energy stored over all batteries by their capacity, 0…1.
 */
soc: number | null, 
/**
 * Work of workflows that may wait.
 */
work: Array<WorkLive>, 
/**
 * In the order they are shown.
 */
assets: Array<AssetLive>, 
/**
 * The schedule in force; `null` before the first.
 */
plan: PlanLive | null, 
/**
 * Services of the site's platform.
 */
services: Array<ServiceLive>, };

export type ActualPoint = { 
/**
 * Start of the step.
 */
time: string, 
/**
 * Exchange with the grid, import above zero.
 */
grid_kw: number | null, 
/**
 * What the plan in force at that time said.
 */
planned_grid_kw: number | null, 
/**
 * Generation, zero or above.
 */
solar_kw: number | null, 
/**
 * Consumption, zero or below.
 */
load_kw: number | null, 
/**
 * State of charge over all batteries at the step's end, 0…1.
 */
soc: number | null, 
/**
 * Price of import, currency per kWh.
 */
price_per_kwh: number | null, };

export type PlanPoint = { 
/**
 * Start of the step.
 */
time: string, 
/**
 * Length of the step, seconds, above zero; plans may have longer steps than the data.
 */
seconds: number, 
/**
 * Exchange with the grid, import above zero.
 */
grid_kw: number, 
/**
 * State of charge over all batteries at the step's end, 0…1.
 */
soc: number | null, 
/**
 * Expected price of import, currency per kWh.
 */
price_per_kwh: number | null, };

export type SiteChart = { 
/**
 * Name of the site.
 */
site: string, 
/**
 * Length of a step, seconds, above zero.
 */
step_seconds: number, 
/**
 * In order of time; a gap in the data is a row of `null`s or no row.
 */
actual: Array<ActualPoint>, 
/**
 * The plan in force from now on, in order of time.
 */
plan: Array<PlanPoint>, };

export type SiteForecasts = { 
/**
 * Name of the site.
 */
site: string, 
/**
 * Site time of the latest tick.
 */
time: string, 
/**
 * Assets first, then what is the site's; what has not been forecast yet is left out.
 */
series: Array<SeriesForecast>, };

export type SeriesForecast = { 
/**
 * Name of the asset, `SITE.need` for what all whose power cannot be chosen need together, or `SITE.carbon` for the
 * carbon intensity of import.
 */
name: string, 
/**
 * The asset; left out for what belongs to the whole site.
 */
asset?: string, 
/**
 * `load`, `solar`, `need` or `carbon`.
 */
type: string, 
/**
 * Unit of values and errors: `kW` (above zero into the site, so a load is below and a need above) or `kgCO2/kWh`.
 */
unit: string, 
/**
 * Length of a step, seconds, above zero.
 */
step_seconds: number, 
/**
 * Rung of the fallback ladder, one word.
 */
method: string, 
/**
 * What the forecast rests on, for people.
 */
because: string, 
/**
 * Nothing known later was used.
 */
issued_at: string, 
/**
 * The next 24 hours, in order of time.
 */
steps: Array<ForecastStep>, 
/**
 * Means measured in the last 24 hours, in order of time; gaps are left out.
 */
actual: Array<MeasuredStep>, 
/**
 * How good the forecasts of the last weeks were, the nearest horizon first.
 */
accuracy: Array<ForecastAccuracy>, 
/**
 * Recent mean absolute error by the usual one; left out before enough is known.
 */
error_by_usual?: number, 
/**
 * Whether forecasts are far worse than usual.
 */
drifting: boolean, };

export type ForecastStep = { 
/**
 * Start of the step.
 */
valid_at: string, 
/**
 * Expected mean.
 */
mean: number, 
/**
 * In the order of `q`.
 */
quantiles: Array<ForecastQuantile>, };

export type ForecastQuantile = { 
/**
 * The probability, 0…1.
 */
q: number, 
/**
 * The value.
 */
value: number, };

export type MeasuredStep = { 
/**
 * Start of the step.
 */
time: string, 
/**
 * The mean.
 */
value: number, };

export type ForecastAccuracy = { 
/**
 * Hours ahead: `1h`, `2-4h`, `5-12h` or `13-24h`.
 */
horizon: string, 
/**
 * Pairs of forecast and outcome that it rests on, weighed by their age.
 */
pairs: number, 
/**
 * Mean absolute error, zero or above.
 */
mae: number, 
/**
 * Mean absolute error by that of the same time yesterday: below 1 is better than that.
 */
mase: number | null, 
/**
 * Mean loss over the quantiles, zero or above.
 */
pinball: number | null, 
/**
 * Share of outcomes between the quantiles 0.1 and 0.9, 0…1: 0.8 is right.
 */
coverage: number | null, };

export type EventRecord = { 
/**
 * Rises with each event; an event that happens again gets a new one, with a higher count.
 */
id: number, 
/**
 * When it last happened, by the wall clock.
 */
time: string, 
/**
 * When it last happened in the time of its site; left out for what follows no site's clock.
 */
site_time?: string, 
/**
 * `Normal` or `Warning`.
 */
type: string, 
/**
 * One word for machines (`Started`, `BackOff`, `PlanFallback`).
 */
reason: string, 
/**
 * Kind of the resource.
 */
kind: string, 
/**
 * Name of the resource.
 */
name: string, 
/**
 * A sentence for people.
 */
message: string, 
/**
 * How often it happened in a row.
 */
count: number, };

export type SiteSummary = { 
/**
 * Name of the site.
 */
name: string, };

export type Role = "viewer" | "operator" | "admin";

export type Session = { 
/**
 * Name of the token's owner.
 */
name: string, 
/**
 * What it may do.
 */
role: Role, };

export type Alarms = { 
/**
 * The time of this answer, by the clock of the rules.
 */
time: string, 
/**
 * How many there are; `alarms` holds those that `limit` allows.
 */
total: number, 
/**
 * Firing ones before pending ones, each the newest first.
 */
alarms: Array<Alarm>, };

export type Alarm = { 
/**
 * What identifies it, 16 hexadecimal digits: FNV-1a of its labels, as in Alertmanager.
 */
fingerprint: string, 
/**
 * Name of the alert.
 */
name: string, 
/**
 * `firing` or `pending`.
 */
state: string, 
/**
 * Since when it is in this state.
 */
since: string, 
/**
 * Its label `severity`; empty when there is none.
 */
severity: string, 
/**
 * All labels, `alertname` among them.
 */
labels: { [key in string]: string }, 
/**
 * What people should know.
 */
annotations: { [key in string]: string }, 
/**
 * Where it says what to do: the annotation `runbook_url`, else `runbook`.
 */
runbook?: string, 
/**
 * Of its expression, as text: `12.5`, `NaN`, `+Inf`.
 */
value: string, 
/**
 * Who looks after it; only of firing ones.
 */
acknowledgedBy?: string, 
/**
 * Why nobody is told of it now.
 */
muted?: AlarmMute, 
/**
 * The last notification of each notifier that was told of it; `null` when the outbox could not be read.
 */
told: Array<AlarmTold> | null, };

export type AlarmMute = { 
/**
 * `silence`, `inhibition` or `quiet hours`.
 */
by: string, 
/**
 * Id of the silence, or the labels of the alert that says it all; empty for quiet hours.
 */
what: string, 
/**
 * When it ends by itself; left out where that is not known.
 */
until?: string, };

export type AlarmTold = { 
/**
 * Name of the notifier.
 */
notifier: string, 
/**
 * When it was delivered, else when it was decided.
 */
at: string, 
/**
 * `waiting`, `delivered` or `failed`.
 */
state: string, };

export type AcknowledgeRequest = { 
/**
 * What is being done about it.
 */
comment: string, };

export type SilenceRequest = { 
/**
 * All must hold: `site="x"`, `severity=~"a|b"`, `team!="y"`; one of them has to ask for some value.
 */
matchers: Array<string>, 
/**
 * From then on, RFC 3339; now when left out.
 */
startsAt?: string, 
/**
 * Up to then, RFC 3339.
 */
endsAt?: string, 
/**
 * For so long: `90m`, `2h`, `1d12h`.
 */
duration?: string, 
/**
 * Why.
 */
comment: string, };

export type SilenceRecord = { 
/**
 * Its id.
 */
id: string, 
/**
 * All must hold: `site="x"`, `severity=~"a|b"`.
 */
matchers: Array<string>, 
/**
 * From then on.
 */
startsAt: string, 
/**
 * Up to then.
 */
endsAt: string, 
/**
 * Who made it.
 */
createdBy: string, 
/**
 * Why.
 */
comment: string, 
/**
 * `pending`, `active` or `expired`.
 */
state: string, };

export type NotificationRecord = { 
/**
 * What identifies it.
 */
key: string, 
/**
 * Who is told.
 */
notifier: string, 
/**
 * Why: `first`, `more`, `fewer`, `resolved`, `repeat` or `escalation`.
 */
reason: string, 
/**
 * When it was decided.
 */
at: string, 
/**
 * `waiting`, `delivered` or `failed`.
 */
state: string, 
/**
 * How often it was tried.
 */
attempts: number, 
/**
 * What went wrong at the last try.
 */
error?: string, 
/**
 * When it is tried next; only of waiting ones.
 */
nextTry?: string, 
/**
 * When it was delivered or given up.
 */
endedAt?: string, 
/**
 * How many alerts it tells of.
 */
alertCount: number, 
/**
 * The first twenty of them.
 */
alerts: Array<NotifiedRecord>, };

export type NotifiedRecord = { 
/**
 * What identifies it.
 */
fingerprint: string, 
/**
 * `firing` or `resolved`.
 */
state: string, 
/**
 * All labels, `alertname` among them.
 */
labels: { [key in string]: string }, };
