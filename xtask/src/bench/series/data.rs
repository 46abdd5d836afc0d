//! A day of a thousand series, and the requests of remote write 1.0 that bring it.

/// Time between two samples of a series, in ms.
pub(super) const STEP_MS: i64 = 60_000;
/// Steps of a day.
pub(super) const STEPS: usize = 1440;
pub(super) const SERIES: usize = 1000;
/// All samples.
pub(super) const SAMPLES: usize = SERIES * STEPS;
/// Upper bounds of the histograms' buckets.
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
const INSTANCES: usize = 100;
const HISTOGRAMS: usize = 20;

/// What is sent: labels with `__name__` first, values by step.
pub(super) struct Day {
    series: Vec<Series>,
    /// Time of the last step, in ms since 1970.
    end: i64,
}

struct Series {
    labels: Vec<(&'static str, String)>,
    /// Before the full minute; all series of an instance have the same, as when they are scraped together.
    early_ms: i64,
    values: Vec<f64>,
}

/// How samples are put into requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Connections that send at once, each its own share of the series.
    pub(super) senders: usize,
    /// Samples a request.
    pub(super) samples: usize,
    /// Whether the samples of a series stand together; Prometheus sends each by itself with all labels.
    pub(super) grouped: bool,
}

impl Shape {
    /// Steps that a request covers.
    pub(super) fn steps(self) -> usize {
        (self.samples * self.senders / SERIES).max(1)
    }
}

/// Repeatable noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u32) -> f64 {
        f64::from(u32::try_from(self.next() % u64::from(end)).unwrap_or_default())
    }
}

/// How the values of a series come about.
#[derive(Clone, Copy)]
enum Course {
    /// Rises by up to so many a step.
    Counter(u32),
    /// Walks up and down, two decimals.
    Gauge,
    /// Stays.
    Constant,
}

impl Course {
    fn values(self, noise: &mut Noise) -> Vec<f64> {
        let mut hundredths = 1000.0 + noise.below(8000);
        let mut count = noise.below(100_000);
        let mut value = || match self {
            Self::Counter(most) => {
                count += noise.below(most);
                count
            }
            Self::Gauge => {
                hundredths += noise.below(101) - 50.0;
                hundredths / 100.0
            }
            Self::Constant => 1.0,
        };
        (0..STEPS).map(|_| value()).collect()
    }
}

impl Day {
    /// The day up to the last full minute before `now` (s since 1970).
    pub(super) fn until(now: i64) -> Self {
        let mut noise = Noise(0x5eed_0fda_7a00_0001);
        let mut series = Vec::with_capacity(SERIES);
        for instance in 0..INSTANCES {
            let mut add = |name: &str, own: &[(&'static str, String)], values: Vec<f64>| {
                series.push(Series::new(name, instance, own, values));
            };
            for (method, code, most) in
                [("GET", "200", 600), ("GET", "500", 3), ("POST", "200", 90), ("POST", "500", 2)]
            {
                let own = [("code", code.to_owned()), ("method", method.to_owned())];
                add("http_requests_total", &own, Course::Counter(most).values(&mut noise));
            }
            for sensor in ["inlet", "outlet", "case"] {
                let own = [("sensor", sensor.to_owned())];
                add("temperature_celsius", &own, Course::Gauge.values(&mut noise));
            }
            add("up", &[], Course::Constant.values(&mut noise));
            if instance < HISTOGRAMS {
                for (bound, values) in BOUNDS.iter().zip(histogram(&mut noise)) {
                    add("request_duration_seconds_bucket", &[("le", (*bound).to_owned())], values);
                }
            }
        }
        Self { series, end: now.div_euclid(60) * STEP_MS }
    }

    /// Seconds since 1970 of the first and last step.
    pub(super) fn span(&self) -> (i64, i64) {
        let steps = i64::try_from(STEPS).unwrap_or_default() - 1;
        ((self.end - steps * STEP_MS) / 1000, self.end / 1000)
    }

    fn time(&self, series: &Series, step: usize) -> i64 {
        let ago = i64::try_from(STEPS - 1 - step).unwrap_or_default();
        self.end - ago * STEP_MS - series.early_ms
    }

    /// The requests of each sender, packed, in the order in which they are sent.
    pub(super) fn requests(&self, shape: Shape) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let share = SERIES / shape.senders;
        self.series.chunks(share).map(|series| self.requests_of(series, shape)).collect()
    }

    fn requests_of(&self, series: &[Series], shape: Shape) -> Result<Vec<Vec<u8>>, String> {
        // Fewer samples than series: the series take turns; more: several steps at once.
        let (width, steps) = (shape.samples.min(series.len()), shape.steps());
        let mut requests = Vec::new();
        for from in (0..STEPS).step_by(steps) {
            let to = (from + steps).min(STEPS);
            for part in series.chunks(width) {
                let mut message = Vec::new();
                if shape.grouped {
                    part.iter().for_each(|one| self.put(&mut message, one, from..to));
                } else {
                    (from..to).for_each(|step| {
                        part.iter().for_each(|one| self.put(&mut message, one, step..step + 1))
                    });
                }
                let packed = snap::raw::Encoder::new().compress_vec(&message);
                requests.push(packed.map_err(|e| format!("snappy: {e}"))?);
            }
        }
        Ok(requests)
    }

    /// A `TimeSeries` of a `prometheus.WriteRequest`.
    fn put(&self, message: &mut Vec<u8>, series: &Series, steps: std::ops::Range<usize>) {
        let mut body = Vec::with_capacity(256);
        for (name, value) in &series.labels {
            let mut label = Vec::with_capacity(64);
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut body, 1, &label);
        }
        for step in steps {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&series.values[step].to_le_bytes());
            sample.push(2 << 3);
            put_varint(&mut sample, self.time(series, step).unsigned_abs());
            put_bytes(&mut body, 2, &sample);
        }
        put_bytes(message, 1, &body);
    }
}

impl Series {
    fn new(name: &str, instance: usize, own: &[(&'static str, String)], values: Vec<f64>) -> Self {
        let mut labels = vec![
            ("__name__", name.to_owned()),
            ("cluster", "bench".to_owned()),
            ("instance", format!("10.0.{}.7:9100", instance)),
            ("job", format!("job-{}", instance % 10)),
        ];
        labels.extend_from_slice(own);
        labels.sort();
        let early_ms = i64::try_from(instance * 593 % 50_000).unwrap_or_default();
        Self { labels, early_ms, values }
    }
}

/// The counters of a histogram's buckets: each has what those below it have.
fn histogram(noise: &mut Noise) -> Vec<Vec<f64>> {
    let mut buckets = vec![Vec::with_capacity(STEPS); BOUNDS.len()];
    let mut counts = [0.0; BOUNDS.len()];
    for _ in 0..STEPS {
        let mut below = 0.0;
        for (position, (count, bucket)) in counts.iter_mut().zip(&mut buckets).enumerate() {
            // Most observations are in the middle.
            below += noise.below([3, 9, 30, 60, 90, 60, 30, 9, 5, 2][position]);
            *count += below;
            bucket.push(*count);
        }
    }
    buckets
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(senders: usize, samples: usize, grouped: bool) -> Shape {
        Shape { name: "", senders, samples, grouped }
    }

    /// Fields of a message that are bytes: number and content.
    fn fields(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [tag, rest @ ..] = bytes {
            let (mut len, mut used) = (0, 0);
            for byte in rest {
                len |= usize::from(byte & 0x7f) << (7 * used);
                used += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            assert_eq!(tag & 7, 2);
            found.push((tag >> 3, &rest[used..used + len]));
            bytes = &rest[used + len..];
        }
        found
    }

    #[test]
    fn each_shape_brings_every_sample_once() {
        let day = Day::until(1_700_000_000);
        assert_eq!(day.series.len(), SERIES);
        for shape in [shape(1, 10_000, true), shape(1, 500, false), shape(4, 500, false)] {
            let senders = day.requests(shape).unwrap();
            assert_eq!(senders.len(), shape.senders);
            let mut samples = 0;
            for request in senders.iter().flatten() {
                let message = snap::raw::Decoder::new().decompress_vec(request).unwrap();
                let series = fields(&message);
                let of = |body: &[u8]| fields(body).iter().filter(|(field, _)| *field == 2).count();
                let here: usize = series.iter().map(|(_, body)| of(body)).sum();
                assert_eq!(here, shape.samples);
                samples += here;
            }
            assert_eq!(samples, SAMPLES);
        }
    }

    #[test]
    fn a_series_is_written_as_protobuf_with_its_labels_in_order() {
        let day = Day::until(1_700_000_000);
        let mut message = Vec::new();
        day.put(&mut message, &day.series[0], STEPS - 1..STEPS);
        let series = fields(&message);
        let parts = fields(series[0].1);
        let labels = parts.iter().filter(|(field, _)| *field == 1).map(|(_, label)| fields(label)[0].1);
        let labels: Vec<&str> = labels.map(|name| std::str::from_utf8(name).unwrap()).collect();
        assert_eq!(labels, ["__name__", "cluster", "code", "instance", "job", "method"]);
        let sample = parts.last().unwrap().1;
        let value = day.series[0].values[STEPS - 1];
        assert_eq!((sample[0], &sample[1..9], sample[9]), (9, &value.to_le_bytes()[..], 16));
        assert_eq!(day.span(), (1_699_913_640, 1_699_999_980));
    }

    #[test]
    fn the_buckets_of_a_histogram_rise_with_their_bounds_and_with_time() {
        let buckets = histogram(&mut Noise(1));
        for pair in buckets.windows(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(lower, upper)| lower <= upper));
        }
        assert!(buckets.iter().all(|bucket| bucket.is_sorted()));
    }
}
