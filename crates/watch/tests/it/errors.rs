//! What is said about queries that are wrong, and where.

use sos_watch::promql::parse_selector;
use sos_watch::{ErrorKind, Memory, Options, Query, Source};

fn said(query: &str) -> String {
    Query::parse(query).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_a_text_is_said_with_its_place_and_what_was_expected() {
    let cases = [
        ("", "1:1: parse error: no expression found in input"),
        ("sum(up", "1:7: parse error: unclosed left parenthesis, expected \")\""),
        ("up{job=}", "1:8: parse error: unexpected \"}\" in label matching, expected string"),
        ("up{job}", "1:7: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("up{=\"a\"}", "1:4: parse error: unexpected \"=\" in label matching, expected identifier or \"}\""),
        ("up +\n  * 2", "2:3: parse error: unexpected \"*\", expected a metric, function, number or \"(\""),
        ("up[5m", "1:6: parse error: unclosed left bracket, expected \"]\""),
        ("up[m]", "1:4: parse error: unexpected 'm' in brackets, expected a duration like 5m or 1h30m"),
        ("up offset x", "1:11: parse error: unexpected identifier \"x\" in offset, expected duration"),
        (
            "up up",
            "1:4: parse error: unexpected identifier \"up\", expected an operator or the end of the query",
        ),
        (
            "sum by job (up)",
            "1:8: parse error: unexpected identifier \"job\" in grouping opts, expected \"(\"",
        ),
        (
            "rate(up)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "rat(up[5m])",
            "1:1: parse error: unknown function with name \"rat\"; did you mean \"rate\", \"irate\", \"rad\"?",
        ),
        ("1 + abs(up, 1)", "1:5: parse error: expected 1 argument(s) in call to \"abs\", got 2"),
        ("{a=~\"(\"}", "1:2: parse error: invalid regular expression \"(\": unclosed group"),
        (
            "up > bool",
            "1:10: parse error: unexpected end of input, expected a metric, function, number or \"(\"",
        ),
        ("1 > 2", "1:2: parse error: comparisons between scalars must use BOOL modifier"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        ("up{a=\"\\q\"}", "1:6: parse error: unknown escape sequence \\q"),
    ];
    for (query, message) in cases {
        assert_eq!(said(query), message, "{query}");
    }
}

#[test]
fn a_clash_of_values_names_the_series_and_the_place() {
    let mut memory = Memory::new();
    for name in ["a", "b"] {
        let (labels, values) = sos_watch::notation::parse(&format!("{name}{{x=\"1\"}} 1")).unwrap();
        memory.append(&labels, sos_watch::notation::samples(&values, 0, 60_000));
    }
    let query = Query::parse("1 +\n  -{x=\"1\"}").unwrap();
    let error = query.instant(&memory, 0, &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert_eq!(
        error.to_string(),
        "2:3: vector cannot contain metrics with the same labelset: {x=\"1\"} is there twice"
    );
    assert_eq!(&query.text()[error.span().start..error.span().end], "-{x=\"1\"}");
}

#[test]
fn a_query_nested_without_end_is_refused() {
    for query in [
        "(".repeat(100_000) + "1",
        "-".repeat(100_000) + "1",
        vec!["1"; 100_000].join("+"),
        "a".to_owned() + &"[1m:]".repeat(1000),
    ] {
        let message = said(&query);
        let reason = ["nested deeper than", "unclosed", "subquery is only allowed"];
        assert!(reason.iter().any(|reason| message.contains(reason)), "{message}");
    }
    for (open, close) in [("abs(", ")"), ("-(", ")"), ("last_over_time(max(", ")[1s:1s])")] {
        let query = open.repeat(80) + "vector(1)" + &close.repeat(80);
        let query = Query::parse(&query).unwrap();
        assert!(query.instant(&Memory::new(), 0, &Options::default()).is_ok());
    }
    assert!(said(&("(".repeat(1000) + "1" + &")".repeat(1000))).contains("nested deeper than 250 levels"));
}

#[test]
fn a_source_that_fails_is_told() {
    struct Broken;
    impl Source for Broken {
        fn select(
            &self,
            _: &sos_watch::Selection<'_>,
        ) -> Result<Vec<sos_watch::Series>, sos_watch::SourceError> {
            Err(sos_watch::SourceError::Failed("disk is gone".to_owned()))
        }
    }
    let error = Query::parse("sum(up)").unwrap().instant(&Broken, 0, &Options::default()).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Source, "1:5: disk is gone"));
}

#[test]
fn selectors_are_read_alone() {
    let matchers = parse_selector("up{job=\"a\", x!~\"b.*\"}").unwrap();
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["job=\"a\"", "x!~\"b.*\"", "__name__=\"up\""]);
    for text in ["sum(up)", "up[5m]", "{}", "1"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

#[test]
fn a_query_is_printed_in_one_way() {
    let cases = [
        ("sum  by(a,b)( rate(x{c='d'}[5m] offset 1h) )", "sum by (a, b) (rate(x{c=\"d\"}[5m] offset 1h))"),
        ("a*on(x)group_left(y)b", "a * on (x) group_left (y) b"),
        ("topk(3,x)without(y)", "topk without (y) (3, x)"),
        ("x>bool-1", "x > bool -1"),
        ("max_over_time(x[1h:5m]@end())", "max_over_time(x[1h:5m] @ end())"),
        ("{a=\"b\"} @ 1.5", "{a=\"b\"} @ 1.500"),
        ("-(x+1)^2", "-(x + 1) ^ 2"),
    ];
    for (query, printed) in cases {
        assert_eq!(Query::parse(query).unwrap().to_string(), printed);
        assert_eq!(Query::parse(printed).unwrap().to_string(), printed);
    }
}
