//! What Grafana asks: the requests of its panels, of Explore and of its variables.

use super::http::{Answer, Client, form};

/// Every series of the benchmark; each server has some of its own besides.
const ALL: &str = "{cluster=\"bench\"}";

/// How a request is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At the end of the day.
    Instant,
    /// Over the day with a step in s.
    Range(i64),
    /// A list below `/api/v1/` of what matches.
    List(&'static str),
}

/// A request, and whether it is in the table of times. All are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) what: &'static str,
    pub(super) way: Way,
    pub(super) query: &'static str,
    pub(super) timed: bool,
}

/// What reads a day of all series and answers one number.
pub(super) const READ_ALL: &str = "sum(sum_over_time({cluster=\"bench\"}[1d]))";

const RATE: &str = "rate(http_requests_total[5m])";
const RATE_BY_JOB: &str = "sum by (job) (rate(http_requests_total[5m]))";
const QUANTILE: &str = "histogram_quantile(0.9, sum by (le) (rate(request_duration_seconds_bucket[5m])))";
const TOP: &str = "topk(5, sum by (instance) (rate(http_requests_total[5m])))";
const MEAN: &str = "avg_over_time(temperature_celsius[1h])";

const TIMED: &[Asked] = &[
    timed("all series", Way::Range(60), ALL),
    timed("all series", Way::Range(300), ALL),
    timed("rate", Way::Range(60), RATE),
    timed("rate", Way::Range(300), RATE),
    timed("sum by (rate)", Way::Range(60), RATE_BY_JOB),
    timed("sum by (rate)", Way::Range(300), RATE_BY_JOB),
    timed("histogram_quantile", Way::Range(60), QUANTILE),
    timed("histogram_quantile", Way::Range(300), QUANTILE),
    timed("topk", Way::Range(60), TOP),
    timed("topk", Way::Range(300), TOP),
    timed("avg_over_time", Way::Range(60), MEAN),
    timed("avg_over_time", Way::Range(300), MEAN),
    timed("a day read", Way::Instant, READ_ALL),
    timed("all series", Way::Instant, ALL),
    timed("sum by (rate)", Way::Instant, RATE_BY_JOB),
    timed("histogram_quantile", Way::Instant, QUANTILE),
    timed("topk", Way::Instant, TOP),
    timed("series", Way::List("series"), ALL),
    timed("labels", Way::List("labels"), ALL),
    timed("label/instance/values", Way::List("label/instance/values"), ALL),
];

/// Queries that are only compared, each at the end of the day and over the day.
const COMPARED: &[&str] = &[
    "up",
    "sum(up) / count(up)",
    "up == 0",
    "1 + 2 * 3 ^ 2",
    "vector(time())",
    "\"text\"",
    "absent(up{job=\"none\"})",
    "irate(http_requests_total{code=\"500\"}[5m])",
    "increase(http_requests_total{method=\"POST\"}[1h])",
    "delta(temperature_celsius{sensor=\"inlet\"}[30m])",
    "deriv(temperature_celsius{sensor=\"inlet\"}[30m])",
    "predict_linear(temperature_celsius{sensor=\"case\"}[1h], 3600)",
    "changes(temperature_celsius{sensor=\"case\"}[10m])",
    "resets(http_requests_total{code=\"500\"}[1h])",
    "max_over_time(temperature_celsius{sensor=\"outlet\"}[1h])",
    "quantile_over_time(0.95, temperature_celsius{sensor=\"outlet\"}[1h])",
    "stddev_over_time(temperature_celsius{sensor=\"outlet\"}[1h])",
    "count_over_time(up[1h])",
    "last_over_time(up[10m])",
    "holt_winters(temperature_celsius{sensor=\"inlet\"}[1h], 0.5, 0.5)",
    "avg without (sensor) (temperature_celsius)",
    "stddev by (job) (temperature_celsius)",
    "quantile by (sensor) (0.9, temperature_celsius)",
    "bottomk(3, temperature_celsius)",
    "sort_desc(sum by (job) (temperature_celsius))",
    "count_values by (job) (\"state\", up)",
    "group by (job, code) (http_requests_total)",
    "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (job) (rate(http_requests_total[5m]))",
    "temperature_celsius{sensor=\"outlet\"} - ignoring (sensor) temperature_celsius{sensor=\"inlet\"}",
    "up * on (instance) group_right () temperature_celsius",
    "temperature_celsius > 80 or temperature_celsius < 20",
    "up unless on (instance) (temperature_celsius > 60)",
    "temperature_celsius offset 1h",
    "temperature_celsius @ end()",
    "max_over_time(sum(rate(http_requests_total[5m]))[1h:5m])",
    "histogram_quantile(0.5, sum by (job, le) (rate(request_duration_seconds_bucket[10m])))",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
    "label_join(up, \"where\", \"/\", \"cluster\", \"job\")",
    "clamp_max(round(temperature_celsius, 0.5), 60)",
    "hour() + minute() / 60",
    "scalar(sum(up)) + up{job=\"job-1\"}",
    "{__name__=~\"temp.*\", instance!~\"10.0.[1-9].*\"}",
];

/// Requests that both have to refuse, in the same way.
const REFUSED: &[&str] = &[
    "sum(",
    "up{",
    "rate(up)",
    "nosuch(up)",
    "up[5m] + 1",
    "up * on (job) up",
    "{}",
    "label_replace(up, \"0\", \"$1\", \"job\", \"(\")",
];

const LISTS: &[(&str, &str)] = &[
    ("series", "up"),
    ("series", "{__name__=~\"http.*\",code=\"500\"}"),
    ("labels", "up"),
    ("label/__name__/values", ALL),
    ("label/job/values", "http_requests_total{method=\"POST\"}"),
    ("label/le/values", ALL),
    ("label/nosuch/values", ALL),
];

const fn timed(what: &'static str, way: Way, query: &'static str) -> Asked {
    Asked { what, way, query, timed: true }
}

/// All requests, the timed ones first.
pub(super) fn all() -> Vec<Asked> {
    let compared = |way, query| Asked { what: "", way, query, timed: false };
    let over = |query: &'static str| {
        // A string has no course; 2.42 refuses it over a range, which is compared too.
        [compared(Way::Instant, query), compared(Way::Range(300), query)]
    };
    let mut all = TIMED.to_vec();
    all.extend(COMPARED.iter().chain(REFUSED).flat_map(|query| over(query)));
    all.extend(LISTS.iter().map(|(list, query)| compared(Way::List(list), query)));
    all
}

impl Asked {
    /// How it is shown in the table.
    pub(super) fn label(&self) -> String {
        match self.way {
            Way::Instant => format!("{}, instant", self.what),
            Way::Range(step) => format!("{}, day by {step} s", self.what),
            Way::List(_) => self.what.to_owned(),
        }
    }

    /// Sends it as Grafana does; `span` is the day in s since 1970.
    pub(super) fn send(&self, client: &mut Client, (from, to): (i64, i64)) -> Result<Answer, String> {
        let form_type = &[("Content-Type", "application/x-www-form-urlencoded")];
        let (from, to) = (from.to_string(), to.to_string());
        let query = self.query.to_owned();
        match self.way {
            Way::Instant => {
                let body = form(&[("query", query), ("time", to)]);
                client.post("/api/v1/query", form_type, body.as_bytes())
            }
            Way::Range(step) => {
                let step = step.to_string();
                let body = form(&[("query", query), ("start", from), ("end", to), ("step", step)]);
                client.post("/api/v1/query_range", form_type, body.as_bytes())
            }
            Way::List(list) => {
                let question = form(&[("match[]", query), ("start", from), ("end", to)]);
                client.get(&format!("/api/v1/{list}?{question}"))
            }
        }
    }
}
