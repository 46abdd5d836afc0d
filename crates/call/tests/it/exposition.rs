//! Any body is read or refused with a place; the speed of reading.

use proptest::prelude::*;
use sos_call::exposition::{Format, ScrapedBody};

fn check(body: Vec<u8>) {
    let text = String::from_utf8_lossy(&body).into_owned();
    for format in [Format::Text, Format::OpenMetrics] {
        match ScrapedBody::parse(body.clone(), format, 1000) {
            Ok(body) => {
                assert_eq!(body.samples().count(), body.len());
                for sample in body.samples() {
                    assert!(
                        !sample.name.is_empty() && sample.labels.clone().all(|(name, _)| !name.is_empty())
                    );
                }
                assert!(body.metadata().all(|metadata| !metadata.name.is_empty()));
            }
            Err(error) => {
                let line = text.split('\n').nth(error.line - 1);
                assert!(
                    line.is_some_and(|line| error.column <= line.chars().count() + 1),
                    "{error} of {text:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused_with_a_place(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(body);
    }

    #[test]
    fn so_is_what_almost_is_an_exposition(parts in proptest::collection::vec(
        proptest::sample::select(vec![
            "a", "b_total", "{", "}", "\"", "\\", "=", ",", " ", "  ", "\t", "\n", "1", "-5", "NaN", "+Inf", "# ", "#",
            "# TYPE ", "# HELP ", "# UNIT ", "# EOF", "counter", "x=\"y\"", "{l=\"v\"}", "ä", " # {} 1", "1e999",
        ]), 0..40,
    )) {
        check(parts.concat().into_bytes());
    }

    #[test]
    fn what_is_written_comes_back(
        samples in proptest::collection::vec(("[a-z_:][a-z0-9_:]{0,8}", ".{0,12}", any::<f64>(), proptest::option::of(-9_000_000_000_000i64..9_000_000_000_000)), 0..20),
    ) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let lines: Vec<String> = samples.iter().map(|(name, label, value, ms)| {
            let ms = ms.map_or(String::new(), |ms| format!(" {ms}"));
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            format!("{name}{{l=\"{}\"}} {value}{ms}\n", escaped(label))
        }).collect();
        let body = ScrapedBody::parse(lines.concat().into_bytes(), Format::Text, 1000).unwrap();
        for (sample, (name, label, value, ms)) in body.samples().zip(&samples) {
            prop_assert_eq!(sample.name.as_ref(), name);
            prop_assert_eq!(sample.value.to_bits(), if value.is_nan() { f64::NAN } else { *value }.to_bits());
            prop_assert_eq!(sample.timestamp_ms, *ms);
            let labels: Vec<String> = sample.labels.map(|(_, value)| value.into_owned()).collect();
            prop_assert_eq!(labels.concat(), label.clone());
        }
    }
}

/// 10,000 samples with five labels each take milliseconds; the bound leaves room for a busy machine.
#[test]
fn ten_thousand_samples_are_read_in_milliseconds() {
    let text: String = (0..10_000)
        .map(|n| {
            format!("home_power_watts{{site=\"fontana\",home=\"{n}\",device=\"battery\",phase=\"l{}\",instance=\"home{n}:9100\"}} {}.25\n", n % 3, n * 7)
        })
        .collect();
    let mut best = std::time::Duration::MAX;
    for _ in 0..10 {
        let start = std::time::Instant::now();
        let body = ScrapedBody::parse(text.clone().into_bytes(), Format::Text, 1_000_000).unwrap();
        let bytes: usize = body
            .samples()
            .map(|s| s.labels.map(|(name, value)| name.len() + value.len()).sum::<usize>())
            .sum();
        best = best.min(start.elapsed());
        assert!(body.len() == 10_000 && bytes > 500_000);
    }
    println!("{} bytes with 10,000 samples of 5 labels: {best:?}", text.len());
    assert!(best < std::time::Duration::from_millis(100), "{best:?}");
}
