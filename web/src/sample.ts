// A small site for tests.
import type { SiteLive } from "./contract";

export function sample(): SiteLive {
  return {
    site: "fontana",
    time: "2016-08-01T14:00:00-08:00",
    tick: 15,
    step_seconds: 3600,
    speed: "600",
    currency: "USD",
    connection: { island: false, power_kw: 4.2, import_limit_kw: 20, over_limit_kw: 0 },
    feeders: [],
    charges: [],
    price_per_kwh: 0.22,
    carbon_kg_per_kwh: 0.17,
    totals: {
      cost: { actual: 9, baseline: 12 },
      emissions_kg: { actual: 20, baseline: 26 },
      objective: { actual: 11, baseline: 14.6 },
      saving: 3.6,
      import_kwh: 40,
      export_kwh: 1,
      shared_kwh: 3,
      self_consumption: 0.9,
      limit_violations: { actual: 1, baseline: 4 },
    },
    solar_kw: 3,
    load_kw: -7.2,
    battery_kw: -1.5,
    soc: 0.5,
    assets: [
      { name: "home-1-battery", type: "battery", mode: "control", group: "home-1", power_kw: -1.5, soc: 0.5, setpoint_kw: -1.5, available: true, reason: "charging: solar surplus now" },
      { name: "home-1-load", type: "load", mode: "observe", group: "home-1", power_kw: -2, available: true, reason: "measured only" },
    ],
    plan: {
      made_at: "2016-08-01T14:00:00-08:00",
      source: "optimiser",
      steps: [{ time: "2016-08-01T15:00:00-08:00", grid_kw: 5, soc: 0.6, price_per_kwh: 0.54, because: "evening price", binding_limits: [] }],
    },
    work: [],
    services: [{ name: "adapter", phase: "Running", ready: 1, replicas: 1, restarts: 0, message: "" }],
  };
}
