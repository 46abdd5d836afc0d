//! Runtime expressions: jq, within limits.
//!
//! # Guarantees
//! An expression sees its input, its variables and the time that it is given; nothing of the machine, so that a run that is replayed
//! comes to the same values. It ends: steps, size and depth are counted while it works, and what exceeds them is a fault.

mod meter;
mod native;
mod own;
mod pattern;
mod place;
mod read;
mod text;

use jaq_core::{Ctx, Vars};
use jaq_json::Val;
use jiff::Timestamp;

use self::native::{Kind, Meter, Run};
use self::read::Program;

/// Values that workflows work on: JSON, shared where it is copied.
pub type Data = Val;

/// The longest expression, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// The stack on which expressions are read and those work that can go deep. Only what is used of it takes memory.
const STACK: usize = 512 << 20;
/// What is kept free of a stack for what a single filter needs.
const SPARE: usize = 256 << 10;
/// What flat expressions need at most.
const FLAT: usize = 512 << 10;

/// What an evaluation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps; an output of a filter, a call of a definition or some bytes that are made count as one.
    pub steps: u64,
    /// Size of a value in bytes.
    pub bytes: usize,
    /// Stack in bytes, which is what recursion uses up.
    stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, bytes: 16 << 20, stack: 64 << 20 }
    }
}

/// Which limit an evaluation exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// It did not end.
    #[error("it did not end within {0} steps")]
    Steps(u64),
    /// It makes something too large.
    #[error("it makes a value of more than {0} bytes")]
    Size(usize),
    /// It goes too deep.
    #[error("it goes too deep: a definition that calls itself, or a value nested in itself")]
    Recursion,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is too long.
    #[error("the expression is longer than {LONGEST} bytes")]
    TooLong,
    /// It is no jq.
    #[error("the expression cannot be read at character {at}: expected {expected}")]
    Syntax {
        /// Place of the problem, counted in characters from 1.
        at: usize,
        /// What should be there.
        expected: String,
    },
    /// It names what there is not.
    #[error("the expression names the unknown {what} `{name}`; known: {known}")]
    Unknown {
        /// `variable`, `filter` or `label`.
        what: &'static str,
        /// What it names.
        name: String,
        /// What it could name.
        known: String,
    },
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The expression says so, or does what cannot be done.
    #[error("{0}")]
    Error(String),
    /// It would use too much.
    #[error("{0}")]
    Exceeded(#[from] Exceeded),
    /// It names a secret that is not there.
    #[error(
        "there is no secret `{0}`: the document has to declare it in `use.secrets`, and who runs it to give it"
    )]
    NoSecret(String),
}

/// An expression that has been read.
pub struct Expression {
    source: String,
    uses: Vec<String>,
    secrets: Vec<String>,
    program: Program,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

impl Expression {
    /// Reads an expression that may use these variables, which are named without the leading `$`.
    ///
    /// # Errors
    /// When it is too long, no jq, or names what is not known.
    pub fn read(source: &str, variables: &[&str]) -> Result<Self, Unreadable> {
        if source.len() > LONGEST {
            return Err(Unreadable::TooLong);
        }
        stacker::grow(STACK, || read::read(source, variables))
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it uses, in the order in which their values are given to [`Self::evaluate`].
    #[must_use]
    pub fn uses(&self) -> &[String] {
        &self.uses
    }

    /// The secrets that it names, whether it comes to need them or not.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Its value: the one output; null where there is none, and all of them in an array where there are more.
    ///
    /// # Errors
    /// When the expression fails or uses too much.
    pub fn evaluate(
        &self,
        input: &Data,
        variables: Vec<Data>,
        now: Timestamp,
        limits: Limits,
    ) -> Result<Data, Failed> {
        match &self.program {
            Program::Properties { variable, names } => {
                let of =
                    if *variable { variables.into_iter().next().unwrap_or_default() } else { input.clone() };
                names.iter().try_fold(of, |of, name| property(of, name))
            }
            Program::Filter { filter, flat: true }
                if stacker::remaining_stack().is_some_and(|left| left > FLAT + SPARE) =>
            {
                run(filter, input.clone(), variables, now, Limits { stack: FLAT.min(limits.stack), ..limits })
            }
            Program::Filter { filter, .. } => {
                stacker::grow(STACK, || run(filter, input.clone(), variables, now, limits))
            }
        }
    }
}

fn run(
    filter: &jaq_core::Filter<Kind>,
    input: Data,
    variables: Vec<Data>,
    now: Timestamp,
    limits: Limits,
) -> Result<Data, Failed> {
    let meter = Meter::new(limits, now);
    let ctx = Ctx::<Kind>::new(Run { lut: &filter.lut, meter: &meter }, Vars::new(variables));
    let mut outputs = Vec::new();
    for output in filter.id.run((ctx, input)) {
        match output {
            Ok(value) => outputs.push(value),
            Err(exception) => {
                return Err(match (meter.exceeded.get(), exception.get_err()) {
                    (Some(exceeded), _) => exceeded.into(),
                    (None, Ok(error)) => Failed::Error(error.to_string()),
                    (None, Err(_)) => Failed::Error("it was broken off".to_owned()),
                });
            }
        }
        if outputs.len() as u64 > limits.steps {
            return Err(Exceeded::Steps(limits.steps).into());
        }
    }
    let value = match outputs.len() {
        0 => Data::Null,
        1 => outputs.swap_remove(0),
        _ => outputs.into_iter().collect(),
    };
    match meter.check(&value) {
        true => Ok(value),
        false => Err(meter.exceeded.get().unwrap_or(Exceeded::Recursion).into()),
    }
}

/// A property as the language has it: null of what has no such property, an error of what can have none.
fn property(of: Data, name: &str) -> Result<Data, Failed> {
    match of {
        Data::Null => Ok(Data::Null),
        Data::Obj(entries) => Ok(entries.get(&Data::from(name.to_owned())).cloned().unwrap_or_default()),
        other => Err(Failed::Error(format!("cannot index {other} with \"{name}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-05T08:00:00Z".parse().unwrap()
    }

    fn value(json: &str) -> Data {
        serde_json::from_str(json).unwrap()
    }

    fn evaluated(source: &str, input: &str) -> Result<String, Failed> {
        let expression = Expression::read(source, &["context", "secrets"]).unwrap();
        let variables = expression.uses().iter().map(|name| match name.as_str() {
            "context" => value(r#"{"who":"anna","n":2}"#),
            _ => value(r#"{"key":"hidden"}"#),
        });
        let limits = Limits { steps: 100_000, ..Limits::default() };
        expression.evaluate(&value(input), variables.collect(), now(), limits).map(|value| value.to_string())
    }

    #[test]
    fn values_are_those_of_jq() {
        let cases = [
            (".", r#"{"a":1}"#, r#"{"a":1}"#),
            (".a.b", r#"{"a":{"b":[1,2]}}"#, "[1,2]"),
            (".x.y", r#"{"a":1}"#, "null"),
            ("$context.who", "null", r#""anna""#),
            ("$context | .n + 1", "null", "3"),
            ("$secrets.key + $context.who", "null", r#""hiddenanna""#),
            (".colors + [\"red\"]", "{}", r#"["red"]"#),
            ("[.[] | select(. > 1) | . * 2]", "[1,2,3]", "[4,6]"),
            (".[]", "[1,2]", "[1,2]"),
            ("empty", "1", "null"),
            ("[1,2] as [$a, $b] | $a + $b", "null", "3"),
            ("def f(x): x * 2; f(.)", "4", "8"),
            ("reduce range(5) as $i (0; . + $i)", "null", "10"),
            ("\"a\" * 3", "null", r#""aaa""#),
            ("\"\\(.a) of \\([1])\"", r#"{"a":2}"#, r#""2 of [1]""#),
            ("now", "null", "1767600000"),
            (".a |= . + 1", r#"{"a":1}"#, r#"{"a":2}"#),
            (".a += 2", r#"{"a":1}"#, r#"{"a":3}"#),
            (".[] += 2", "[1,2]", "[3,4]"),
            ("[..]", "[1]", "[[1],1]"),
            ("[paths]", r#"{"a":[1]}"#, r#"[["a"],["a",0]]"#),
            ("del(.a)", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            ("to_entries", r#"{"a":1}"#, r#"[{"key":"a","value":1}]"#),
            ("try error(\"x\") catch .", "null", r#""x""#),
            ("\"[1,2]\" | fromjson", "null", "[1,2]"),
            ("[limit(3; repeat(1))]", "null", "[1,1,1]"),
            ("[(1,2) + (10,20)]", "null", "[11,12,21,22]"),
            ("[(1,2) * (10,20)]", "null", "[10,20,20,40]"),
            ("test(\"^a\")", r#""abc""#, "true"),
            ("\"2026-01-05T08:00:00Z\" | fromdate", "null", "1767600000"),
            ("if .a then 1 elif .b then 2 else 3 end", r#"{"b":true}"#, "2"),
            ("[.[] as {a: $x} | $x]", r#"[{"a":1},{"a":2}]"#, "[1,2]"),
            ("{a: 1, (\"b\" + \"c\"): .}", "5", r#"{"a":1,"bc":5}"#),
            ("@base64", r#""hi""#, r#""aGk=""#),
            ("[splits(\", *\")]", r#""a, b""#, r#"["a","b"]"#),
            ("flatten", "[[1],[[2]]]", "[1,2]"),
            ("group_by(.a) | map(length)", r#"[{"a":1},{"a":2},{"a":1}]"#, "[2,1]"),
            (
                "label $out | foreach .[] as $x (0; . + $x; if . > 2 then ., break $out else . end)",
                "[1,2,3]",
                "[1,3]",
            ),
        ];
        for (source, input, expected) in cases {
            assert_eq!(evaluated(source, input).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_does_not_end_or_grows_without_end_is_a_fault() {
        let exceeds = |source: &str| match evaluated(source, "[1,2,3,4,5,6,7,8,9,10]") {
            Err(Failed::Exceeded(exceeded)) => exceeded,
            other => panic!("{source}: {other:?}"),
        };
        let steps = Exceeded::Steps(100_000);
        for source in [
            "def f: f; f",
            "repeat(1)",
            "[range(1e18)]",
            "last(range(1e9))",
            "[.[] as $a|.[] as $b|.[] as $c|.[] as $d|.[] as $e|.[] as $f|.[] as $g|1]",
            "(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)|(.,.)",
            "until(false; .)",
            "reduce range(60) as $i ([]; [., .]) | tojson",
            "reduce range(60) as $i ([]; [., .])",
            "reduce range(60) as $i ([]; [., .]) | . == 1",
            "reduce range(60) as $i ([]; [., .]) | [..] | length",
            "last(recurse(. + [1]))",
        ] {
            assert_eq!(exceeds(source), steps, "{source}");
        }
        let size = Exceeded::Size(16 << 20);
        for source in [
            "\"x\" * 1e9",
            "\"x\" * 1000000000",
            "\"x\" * 20000 * 20000",
            "{} | .a[99999999] = 1",
            "null | setpath([1e15]; 1)",
        ] {
            assert_eq!(exceeds(source), size, "{source}");
        }
        for source in [
            "\"x\" * 1e7 * 1.7",
            "[range(3000)] | .[] |= (reduce range(100) as $i (.; . + $i))",
            "[range(3000)] as $kept | [range(3000) as $i | $kept | .[0] = $i]",
            "reduce range(1e9) as $i ({}; .a[$i] = $i)",
            "reduce range(60) as $i ([]; [., .]) | .. = 1",
            "reduce range(60) as $i ([]; [., .]) | del(.. | .[0]?)",
            "reduce range(60) as $i ([]; [., .]) | @text",
            "[range(50000) as $n | \"a\" | test(\"a\\($n)\")]",
            "[range(30000) | \"a\"] | join(\",\") * 20 | [scan(\"a\")]",
            "reduce range(60) as $i ([]; [., .]) | [tostream]",
            "reduce range(60) as $i (\"x\"; . + .)",
            "try (def f: try f catch f; f) catch 1",
            "def f: 1 + f; f",
            "def f: [f]; f",
            "reduce range(50000) as $i (null; [.])",
            "def f(x): f(x | x); f(.)",
        ] {
            let exceeded = exceeds(source);
            assert!([Exceeded::Recursion, steps, size].contains(&exceeded), "{source}: {exceeded}");
        }
        let deep = Expression::read("reduce range(900000) as $i (null; [.])", &[]).unwrap();
        let deep = deep.evaluate(&Data::Null, Vec::new(), now(), Limits::default());
        assert!(
            matches!(deep, Err(Failed::Exceeded(_))),
            "what is nested as deep as steps allow is let go again"
        );
    }

    #[test]
    fn nothing_of_the_machine_is_seen() {
        for source in ["env", "$ENV", "input", "inputs", "halt", "input_filename", "$__prog_args"] {
            assert!(Expression::read(source, &[]).is_err(), "{source}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        let error = |source: &str| Expression::read(source, &["context", "input"]).unwrap_err().to_string();
        assert_eq!(
            error("$contxt.a"),
            "the expression names the unknown variable `$contxt`; known: $context, $input"
        );
        assert_eq!(
            error(".a | $nothing + 1"),
            "the expression names the unknown variable `$nothing`; known: $context, $input"
        );
        assert!(error(".a | foo(1)").contains("unknown filter `foo"), "{}", error(".a | foo(1)"));
        assert!(error(".a +").contains("at character"), "{}", error(".a +"));
        assert!(error("{a: ").contains("at character"), "{}", error("{a: "));
        let deep = "(".repeat(30_000);
        assert!(matches!(Expression::read(&deep, &[]), Err(Unreadable::Syntax { .. })));
        let long = "[".repeat(20_000) + &"]".repeat(20_000);
        let _ = Expression::read(&long, &[]);
        assert_eq!(Expression::read(&" ".repeat(LONGEST + 1), &[]).unwrap_err(), Unreadable::TooLong);
    }
}
