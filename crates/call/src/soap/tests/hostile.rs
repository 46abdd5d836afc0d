//! Documents and answers that are changed at random, large, or made to do harm.

use proptest::prelude::*;
use serde_json::json;

use super::{SOAP, answer, answer_in, read, refused, round, written, wsdl};
use crate::contract::Documents;
use crate::soap::{Choice, Client, imports};

/// A document with most of what there is, for mutations.
fn rich() -> String {
    wsdl(
        r###"<x:group name="G"><x:choice><x:element name="g1" type="x:string"/><x:element ref="t:head"/></x:choice></x:group>
        <x:element name="head" abstract="true" type="x:decimal"/><x:element name="m1" substitutionGroup="t:head" type="x:int"/>
        <x:simpleType name="Code"><x:restriction base="x:token"><x:pattern value="[A-Z]{2}\d"/></x:restriction></x:simpleType>
        <x:complexType name="Base"><x:sequence><x:element name="b" type="t:Base" minOccurs="0"/></x:sequence><x:attribute name="k" type="t:Code"/></x:complexType>
        <x:complexType name="Derived"><x:complexContent><x:extension base="t:Base"><x:sequence maxOccurs="unbounded"><x:element name="d" type="x:dateTime" nillable="true"/><x:any minOccurs="0" namespace="##other"/></x:sequence></x:extension></x:complexContent></x:complexType>
        <x:complexType name="T"><x:sequence><x:group ref="t:G" maxOccurs="2"/><x:element name="base" type="t:Base"/></x:sequence></x:complexType>
        <x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"###,
    )
}

fn rich_answer() -> String {
    format!(
        "<s:Envelope xmlns:s='{SOAP}' xmlns:i='http://www.w3.org/2001/XMLSchema-instance' xmlns:t='urn:t'><s:Header><t:h>1</t:h></s:Header><s:Body><t:out><t:g1>x</t:g1><t:m1>7</t:m1><t:base i:type='t:Derived' k='AB1'><t:b/><t:d>2026-11-29T12:00:00Z</t:d><o xmlns='urn:o'>&amp;<![CDATA[<]]></o><t:d i:nil='true'/></t:base></t:out></s:Body></s:Envelope>"
    )
}

static RICH: std::sync::LazyLock<(Client, jsonschema::Validator)> = std::sync::LazyLock::new(|| {
    let client = read(&rich()).unwrap();
    let judge = jsonschema::draft202012::new(&client.contract().operation("do").unwrap().output).unwrap();
    (client, judge)
});

/// Cuts, doubles, swaps and overwrites pieces of a text at char boundaries or in the middle of bytes.
fn mutated(text: &str, steps: &[(usize, usize, usize, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (kind, from, length, byte) in steps {
        if bytes.is_empty() {
            break;
        }
        let from = from % bytes.len();
        let to = (from + length % 60).min(bytes.len());
        match kind % 5 {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            2 => bytes[from] = *byte,
            3 => bytes.truncate(to),
            _ => {
                // One name in the place of another one.
                let piece = bytes[from..to].to_vec();
                let at = (from * 31 + length) % bytes.len();
                bytes.splice(at..(at + piece.len()).min(bytes.len()), piece);
            }
        }
    }
    bytes
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, usize, u8)>> {
    proptest::collection::vec(
        (0..5_usize, any::<usize>().prop_map(|n| n % 1_000_000), 0..1_000_usize, any::<u8>()),
        1..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_document_panics(steps in steps()) {
        let bytes = mutated(&rich(), &steps);
        let _ = imports("s.wsdl", &bytes);
        if let Ok(client) = Client::read(&Documents::one("s.wsdl", bytes), &Choice::default()) {
            for operation in &client.contract().operations {
                prop_assert!(jsonschema::draft202012::new(&operation.input).is_ok());
            }
        }
    }

    #[test]
    fn no_mutated_answer_panics_or_is_taken_for_what_it_is_not(steps in steps()) {
        let (client, judge) = &*RICH;
        if let Ok(answer) = answer_in(client, 200, "text/xml", &mutated(&rich_answer(), &steps)) {
            prop_assert!(judge.is_valid(&answer.output), "{}", answer.output);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let client = &RICH.0;
        let _ = (answer(client, &text), answer_in(client, 200, "text/xml", &bytes), read(&text));
        let _ = (imports("x", &bytes), written(client, &json!(text)));
    }
}

#[test]
fn the_answer_for_mutations_is_a_good_one() {
    let client = read(&rich()).unwrap();
    let output = answer_in(&client, 200, "text/xml", rich_answer().as_bytes()).unwrap().output;
    assert_eq!(output["base"]["@xsi:type"], "Derived");
    assert_eq!(output["base"]["d"], json!(["2026-11-29T12:00:00Z", null]));
    round(&client, &output);
}

#[test]
fn large_and_hostile_documents_end_soon() {
    // Groups of groups of groups: 2^24 elements, were they all written out.
    let mut bomb =
        r#"<x:group name="g0"><x:sequence><x:element name="e" type="x:int"/></x:sequence></x:group>"#
            .to_owned();
    for n in 1..25 {
        bomb.push_str(&format!(r#"<x:group name="g{n}"><x:sequence><x:group ref="t:g{m}"/><x:group ref="t:g{m}"/></x:sequence></x:group>"#, m = n - 1));
    }
    bomb.push_str(r#"<x:complexType name="T"><x:group ref="t:g24"/></x:complexType><x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#);
    let error = read(&wsdl(&bomb)).unwrap_err();
    assert!(error.message.contains("more than 500000"), "{error}");
    // A long chain of derivation.
    let mut chain = r#"<x:complexType name="T0"/>"#.to_owned();
    for n in 1..5_000 {
        chain.push_str(&format!(r#"<x:complexType name="T{n}"><x:complexContent><x:extension base="t:T{}"/></x:complexContent></x:complexType>"#, n - 1));
    }
    chain.push_str(r#"<x:element name="in" type="t:T4999"/><x:element name="out" type="t:T0"/>"#);
    let error = read(&wsdl(&chain)).unwrap_err();
    assert!(error.message.contains("more than 64 times"), "{error}");
    // A long chain of types that need each other.
    let mut chain = r#"<x:simpleType name="T0"><x:restriction base="x:int"/></x:simpleType>"#.to_owned();
    for n in 1..5_000 {
        chain.push_str(&format!(r#"<x:complexType name="T{n}"><x:sequence><x:element name="a" type="t:T{}"/></x:sequence></x:complexType>"#, n - 1));
    }
    chain.push_str(r#"<x:element name="in" type="t:T4999"/><x:element name="out" type="t:T10"/>"#);
    let client = read(&wsdl(&chain)).unwrap();
    let mut input = json!(1);
    for _ in 0..1_000 {
        input = json!({"a": input});
    }
    assert!(refused(&client, &input).1.contains("256 elements deep"));
}

#[test]
fn long_answers_are_read_in_time_that_grows_with_their_length() {
    let list = read(&wsdl(
        r#"<x:complexType name="T"><x:choice minOccurs="0" maxOccurs="unbounded"><x:element name="a" type="x:int"/><x:element name="b" type="x:int"/></x:choice></x:complexType>
        <x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#,
    ))
    .unwrap();
    let items: String =
        (0..200_000).map(|n| if n % 3 == 0 { "<t:a>1</t:a>" } else { "<t:b>22</t:b>" }).collect();
    let begun = std::time::Instant::now();
    let output = answer(&list, &format!("<t:out>{items}</t:out>")).unwrap();
    assert_eq!(output["b"].as_array().unwrap().len(), 133_333);
    assert_eq!(output["#order"].as_array().unwrap().len(), 200_000);
    let body = written(&list, &output).unwrap();
    assert_eq!(body.matches('>').count(), 400_002);
    // Some hundred milliseconds here; what grows with the square would take minutes.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    let many = format!("<t:out>{}</t:out>", "<t:a>1</t:a>".repeat(1_100_000));
    let error = answer(&list, &many).unwrap_err();
    assert_eq!(error.kind, crate::error::ErrorKind::TooLarge, "{error}");
}
