//! `sos forecast` on files as people have them: good ones, odd ones and wrong ones.

use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;

use crate::cli::{Ran, answer, sos};

fn folder(files: &[(&str, String)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// `rows` hours from 2020-01-01 on with the values of `cell`.
fn hourly(rows: i64, cell: impl Fn(i64) -> String) -> String {
    let mut text = String::from("time,load,note,wind\n");
    for row in 0..rows {
        let time = jiff::Timestamp::from_second(1_577_836_800 + row * 3600).unwrap();
        writeln!(text, "{time},{},calm,{}", cell(row), row % 7).unwrap();
    }
    text
}

fn day(row: i64) -> f64 {
    50.0 + 10.0 * ((row % 24) as f64 / 24.0 * std::f64::consts::TAU).sin() + (row * 7919 % 13) as f64 / 10.0
}

fn forecast(dir: &Path, more: &[&str]) -> Ran {
    let args = [&["forecast", "f.csv", "--target", "load"], more].concat();
    sos(dir, &args)
}

/// Refused with exit code 2 and these words, and nothing on stdout.
fn refused(text: &str, more: &[&str], words: &[&str]) {
    let dir = folder(&[("f.csv", text.to_owned())]);
    let ran = forecast(dir.path(), more);
    assert_eq!(ran.code, 2, "{more:?}: {}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "");
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not in {:?}", ran.stderr);
    }
}

#[test]
fn a_day_ahead_is_rows_with_ordered_quantiles_and_a_method() {
    let dir = folder(&[("f.csv", hourly(24 * 40, |row| day(row).to_string()))]);
    let told = answer(dir.path(), &["forecast", "f.csv", "--target", "load", "--quantiles", "0.9,0.05,0.5"]);
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["issued_at", "valid_at", "mean", "q0.05", "q0.5", "q0.9", "method"]);
    assert_eq!(rows.len(), 25);
    assert_eq!(rows[1][..2], ["2020-02-09T23:00:00Z", "2020-02-10T00:00:00Z"]);
    for row in &rows[1..] {
        let numbers: Vec<f64> = row[2..6].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(numbers[1] <= numbers[2] && numbers[2] <= numbers[3], "{row:?}");
        assert!((30.0..75.0).contains(&numbers[0]), "{row:?}");
        assert_eq!(row[6], "blend");
    }
}

#[test]
fn rows_after_the_issue_time_change_nothing_unless_they_are_known_ahead() {
    let with = |later: f64| {
        hourly(24 * 40, |row| if row >= 24 * 30 { later.to_string() } else { day(row).to_string() })
    };
    let dir = folder(&[("a.csv", with(0.0)), ("b.csv", with(1e6))]);
    let issue = |file: &str| {
        let args = [
            "forecast",
            file,
            "--target",
            "load",
            "--from",
            "2020-01-28T23:00:00Z",
            "--to",
            "2020-01-30T23:00:00Z",
        ];
        answer(dir.path(), &args)
    };
    assert_eq!(issue("a.csv"), issue("b.csv"));
    assert_eq!(issue("a.csv").lines().count(), 1 + 3 * 24);
    // Another column of numbers is read up to the issue time, or ahead when it is declared so.
    let ahead = answer(
        dir.path(),
        &["forecast", "a.csv", "--target", "load", "--known", "wind", "--at", "2020-01-30T23:00:00Z"],
    );
    assert_eq!(ahead.lines().count(), 25);
}

#[test]
fn odd_series_have_a_named_fallback_and_never_a_number_that_is_none() {
    let odd: [(&str, String); 6] = [
        ("constant", hourly(24 * 30, |_| "5".to_owned())),
        ("nothing at all", hourly(24 * 30, |_| "0".to_owned())),
        (
            "half of it missing",
            hourly(24 * 30, |row| if row % 2 == 0 { String::new() } else { day(row).to_string() }),
        ),
        ("a step", hourly(24 * 30, |row| (day(row) + if row > 500 { 1e4 } else { 0.0 }).to_string())),
        ("a spike", hourly(24 * 30, |row| (day(row) + if row == 500 { 1e11 } else { 0.0 }).to_string())),
        ("two rows", hourly(2, |row| day(row).to_string())),
    ];
    for (what, text) in odd {
        let dir = folder(&[("f.csv", text)]);
        let ran = forecast(dir.path(), &["--horizon", "30h"]);
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 31, "{what}");
        let low = ran.stdout.to_lowercase();
        assert!(!low.contains("nan") && !low.contains("inf"), "{what}");
        assert!(ran.stdout.lines().skip(1).all(|line| line.rsplit(',').next().unwrap().len() > 3), "{what}");
    }
}

/// Homes of different size in hours from 2020-01-01 on; `load` begins in its own row.
fn homes(rows: i64, begins: i64, later: impl Fn(i64) -> f64) -> String {
    let mut text = String::from("time,load,first,second\n");
    for row in 0..rows {
        let time = jiff::Timestamp::from_second(1_577_836_800 + row * 3600).unwrap();
        let home = |size: f64| size * if (17..22).contains(&(row % 24)) { 4.0 } else { 1.0 } + later(row);
        let own = if row < begins { String::new() } else { home(2.0).to_string() };
        writeln!(text, "{time},{own},{},{}", home(5.0), home(9.0)).unwrap();
    }
    text
}

#[test]
fn a_young_series_begins_with_the_day_of_its_siblings() {
    let dir = folder(&[
        ("f.csv", homes(24 * 20, 24 * 20 - 6, |_| 0.0)),
        ("none.csv", homes(24 * 20, i64::MAX, |_| 0.0)),
        ("later.csv", homes(24 * 30, 24 * 20 - 6, |row| if row >= 24 * 20 { 1e6 } else { 0.0 })),
    ]);
    let issue = |file: &str, more: &[&str]| {
        let at = [
            "forecast",
            file,
            "--target",
            "load",
            "--siblings",
            "first,second",
            "--at",
            "2020-01-20T23:00:00Z",
        ];
        answer(dir.path(), &[&at, more].concat())
    };
    let mean =
        |told: &str, row: usize| told.lines().nth(row).unwrap().split(',').nth(2).unwrap().parse::<f64>();
    let told = issue("f.csv", &[]);
    assert!(told.lines().skip(1).all(|line| line.ends_with(",scaled-sibling-shape")), "{told}");
    // 2 kW at night, 8 kW in the evening.
    assert!(
        (mean(&told, 4).unwrap() - 2.0).abs() < 0.3 && (mean(&told, 20).unwrap() - 8.0).abs() < 0.8,
        "{told}"
    );
    let begun = issue("none.csv", &["--prior", "3.25"]);
    assert!(begun.lines().skip(1).all(|line| line.ends_with(",sibling-shape")), "{begun}");
    assert!((mean(&begun, 4).unwrap() - 2.0).abs() < 0.1, "{begun}");
    assert!(issue("f.csv", &["-o", "json"]).contains("the day of 2 siblings"));
    assert_eq!(issue("later.csv", &[]), told, "what comes later to siblings and target is not seen");
}

#[test]
fn a_new_wind_plant_begins_with_a_power_curve_at_the_wind_that_is_known() {
    let dir =
        folder(&[("f.csv", hourly(24 * 3, |row| if row < 2 { "0".to_owned() } else { String::new() }))]);
    let wind =
        ["forecast", "f.csv", "--target", "load", "--kind", "wind", "--known", "wind", "--prior", "100"];
    let told = answer(dir.path(), &wind);
    let rows: Vec<Vec<&str>> = told.lines().skip(1).map(|line| line.split(',').collect()).collect();
    // The file's wind is the row modulo 7, m/s; the first row forecast is the third one.
    let mean = |row: usize| rows[row][2].parse::<f64>().unwrap();
    assert!(mean(4) > 2.0 * mean(0) && mean(4) > 3.0, "{told}");
    assert!(rows.iter().all(|row| row[6] == "power-curve"), "{told}");
    assert!(answer(dir.path(), &[&wind[..], &["-o", "json"]].concat()).contains("at the wind of wind"));
}

#[test]
fn wrong_siblings_are_refused_and_young_ones_told() {
    let text = homes(24 * 20, 24 * 19, |_| 0.0);
    refused(&text, &["--siblings", "load"], &["--siblings load", "is the target"]);
    refused(&text, &["--siblings", "first", "--known", "first"], &["--siblings first", "--known too"]);
    refused(&text, &["--siblings", "first", "--ignore", "first"], &["--siblings first", "--ignore too"]);
    refused(&text, &["--siblings", "third"], &["third", "second"]);
    refused(&text, &["--prior", "-1"], &["-1", "not a possible value"]);
    let dir = folder(&[("f.csv", homes(24 * 3, 24 * 2 + 12, |_| 0.0))]);
    let ran = forecast(dir.path(), &["--siblings", "first"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("sibling \"first\" lends nothing"), "{}", ran.stderr);
    assert!(ran.stdout.contains(",scaled-shape"), "{}", ran.stdout);
}

#[test]
fn a_fan_chart_is_drawn() {
    let dir = folder(&[("f.csv", hourly(24 * 40, |row| day(row).to_string()))]);
    let ran = forecast(dir.path(), &["--from", "2020-02-05T23:00:00Z", "--svg", "fan.svg"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("mean absolute error"), "{}", ran.stderr);
    let drawn = std::fs::read_to_string(dir.path().join("fan.svg")).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("80 % interval") && drawn.contains("<polygon"));
}

#[test]
fn wrong_input_is_refused_with_the_place_and_what_was_expected() {
    let good = hourly(24 * 20, |row| day(row).to_string());
    refused(
        &hourly(200, |row| if row == 77 { "abc".to_owned() } else { "1".to_owned() }),
        &[],
        &["f.csv:79:", "abc", "expected a number"],
    );
    refused(
        &hourly(200, |row| if row == 77 { "NaN".to_owned() } else { "1".to_owned() }),
        &[],
        &["f.csv:79:"],
    );
    refused(&hourly(200, |_| String::new()), &[], &["\"load\" has no value"]);
    refused("time,load\n2020-01-01T00:00:00Z,5\n", &[], &["step cannot be found"]);
    refused("time,load\n", &[], &["no row has a time"]);
    refused("", &[], &["f.csv"]);
    refused(
        "time,load\n2020-01-01T01:00:00Z,5\n2020-01-01T00:00:00Z,5\n",
        &[],
        &["f.csv:3:1", "sort the rows"],
    );
    refused(
        "time,load\n2020-01-01T00:00:00Z,5\n2020-01-01T00:07:00Z,5\n",
        &[],
        &["7 min", "does not divide a day"],
    );
    refused(&good, &["--known", "sun"], &["no column is named \"sun\"", "known: time, load"]);
    refused(&good, &["--known", "note"], &["calm", "is not a number"]);
    refused(&good, &["--horizon", "0h"], &["--horizon", "expected more than 0"]);
    refused(&good, &["--horizon", "5 parsec"], &["unknown unit"]);
    refused(&good, &["--quantiles", "0.1,1.5"], &["quantile 1.5"]);
    refused(&good, &["--at", "2031-01-01T00:00:00Z"], &["--at", "has rows from 2020-01-01T00:00:00Z"]);
    refused(&good, &["--at", "soon"], &["not a time", "RFC 3339"]);
    refused(
        &good,
        &["--from", "2020-01-05T00:00:00Z", "--to", "2020-01-02T00:00:00Z"],
        &["is before --from"],
    );
    refused(&good, &["--from", "2020-01-05T00:00:00Z", "--every", "90min"], &["expected a multiple"]);
    refused(&good, &["--zone", "Mars"], &["no such time zone"]);
    refused(&good, &["--country", "XX"], &["known are AT"]);
    refused(&good, &["--latitude", "123"], &["-90…90"]);
}
