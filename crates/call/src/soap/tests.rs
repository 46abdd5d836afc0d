//! Whole messages, without a connection: documents read, requests written, answers read.

use http::header::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::read::Arrived;
use super::{Choice, Client};
use crate::call::Answer;
use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// A WSDL with this schema text, whose operation `do` takes the element `in` and gives `out` of namespace `urn:t`.
fn wsdl(schema: &str) -> String {
    format!(
        r#"<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t">
<types><x:schema targetNamespace="urn:t" elementFormDefault="qualified">{schema}</x:schema></types>
<message name="i"><part name="p" element="t:in"/></message>
<message name="o"><part name="p" element="t:out"/></message>
<portType name="pt"><operation name="do"><documentation>Does it.</documentation><input message="t:i"/><output message="t:o"/></operation></portType>
<binding name="b" type="t:pt"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<operation name="do"><soap:operation soapAction="urn:do"/><input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
<service name="s"><port name="p" binding="t:b"><soap:address location="http://h/s"/></port></service>
</definitions>"#
    )
}

fn read(text: &str) -> Result<Client, CallError> {
    Client::read(&Documents::one("s.wsdl", text), &Choice::default())
}

/// A client whose input and output are the same element type: `in` and `out` are of type `t:T`.
fn of_type(schema: &str) -> Client {
    read(&wsdl(&format!(r#"{schema}<x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#)))
        .unwrap()
}

fn answer_in(client: &Client, status: u16, kind: &str, body: &[u8]) -> Result<Answer, CallError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_str(kind).unwrap());
    client.read_answer("do", &Arrived { status, reason: "", headers: &headers, body }, None)
}

fn answer(client: &Client, body: &str) -> Result<Value, CallError> {
    let text = format!(
        "<s:Envelope xmlns:s='{SOAP}' xmlns:x='http://www.w3.org/2001/XMLSchema' xmlns:i='http://www.w3.org/2001/XMLSchema-instance' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:t='urn:t'><s:Body>{body}</s:Body></s:Envelope>"
    );
    answer_in(client, 200, "text/xml", text.as_bytes()).map(|answer| answer.output)
}

/// The body that is written for an input.
fn written(client: &Client, input: &Value) -> Result<String, CallError> {
    let text = client.write_request("do", input)?;
    let body = text.split_once("<soap:Body>").unwrap().1.split_once("</soap:Body>").unwrap().0;
    Ok(body.to_owned())
}

/// Writes an input, reads it back as an output, and judges both by the schemas.
fn round(client: &Client, input: &Value) -> String {
    let operation = client.contract().operation("do").unwrap();
    let judge = jsonschema::draft202012::new(&operation.input).unwrap();
    assert!(judge.is_valid(input), "{input} by {}", operation.input);
    let body = written(client, input).unwrap_or_else(|error| panic!("{error}"));
    let output = answer(client, &body.replacen(":in ", ":out ", 1).replacen(":in>", ":out>", 2))
        .unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(&output, input, "{body}");
    let judge = jsonschema::draft202012::new(&operation.output).unwrap();
    assert!(judge.is_valid(&output), "{output} by {}", operation.output);
    body
}

fn refused(client: &Client, input: &Value) -> (String, String) {
    let error = written(client, input).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadInput);
    (error.place, error.message)
}

fn bad_answer(client: &Client, body: &str) -> (String, String) {
    let error = answer(client, body).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer, "{error}");
    (error.place, error.message)
}

#[test]
fn the_contract_tells_what_can_be_asked() {
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="a" type="x:int"/></x:sequence></x:complexType>"#,
    );
    let contract = client.contract();
    assert_eq!((contract.title.as_str(), client.address()), ("s", Some("http://h/s")));
    let operation = contract.operation("do").unwrap();
    assert_eq!((operation.path.as_str(), operation.summary.as_str()), ("urn:do", "Does it."));
    assert_eq!(operation.output["required"], json!(["a"]));
}

#[test]
fn order_comes_from_the_schema() {
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="z" type="x:string"/><x:element name="a" type="x:int" minOccurs="0" maxOccurs="3"/>
        <x:choice minOccurs="0"><x:element name="m" type="x:boolean"/><x:sequence><x:element name="n" type="x:decimal"/><x:element name="o" type="x:date" minOccurs="0"/></x:sequence></x:choice>
        </x:sequence><x:attribute name="k" type="x:long" use="required"/></x:complexType>"#,
    );
    let body = round(&client, &json!({"a": [1, -2], "z": "<&>", "@k": 7, "n": 1.5, "o": "2026-11-29"}));
    assert!(body.contains("k=\"7\"") && body.find(":z>").unwrap() < body.find(":a>").unwrap(), "{body}");
    round(&client, &json!({"z": "", "@k": "9223372036854775807", "m": false}));
    round(&client, &json!({"z": "x", "@k": -9007199254740991_i64, "n": "0.12345678901234567890123"}));
    for (input, place, says) in [
        (json!({"@k": 1}), "", "`z` is missing"),
        (json!({"z": "x"}), "", "`@k` is missing"),
        (json!({"z": "x", "@k": 1, "y": 2}), "/y", "known: `z`, `a`, `m`, `n`, `o`, `@k`"),
        (json!({"z": "x", "@k": 1, "@q": 2}), "/@q", "known: `@k`"),
        (json!({"z": 1, "@k": 1}), "/z", "expected a text, found 1"),
        (json!({"z": "x", "@k": 1, "a": [1, 2, 3, 4]}), "/a", "3 or fewer, found 4"),
        (json!({"z": "x", "@k": 1, "a": 1}), "/a", "expected a list"),
        (json!({"z": "x", "@k": 1, "a": [1, "2"]}), "/a/1", "an integer from"),
        (json!({"z": "x", "@k": 1, "a": [1.5]}), "/a/0", "an integer from"),
        (json!({"z": "x", "@k": 1, "a": [2147483648_i64]}), "/a/0", "an integer from"),
        (json!({"z": "x", "@k": "9223372036854775808"}), "/@k", "an integer from"),
        (json!({"z": "x", "@k": 1, "m": true, "n": 1}), "/n", "no place beside"),
        (json!({"z": "x", "@k": 1, "o": "2026-11-29"}), "", "`n` is missing"),
        (json!({"z": "x", "@k": 1, "n": 1, "o": "29.11.2026"}), "/o", "a date such as"),
        (json!({"z": null, "@k": 1}), "/z", "not nillable"),
        (json!({"z": "a\u{1}", "@k": 1}), "/z", "U+0001"),
        (json!({"z": {"x": 1}, "@k": 1}), "/z", "found an object"),
        (json!([1]), "", "expected an object"),
        (json!("x"), "", "expected an object"),
    ] {
        let (at, message) = refused(&client, &input);
        assert!(message.contains(says), "{input}: {message}");
        assert_eq!(at, place, "{input}");
    }
    let error = client.write_request("dont", &json!({})).unwrap_err();
    assert!(error.message.contains("known: `do`"), "{error}");
}

#[test]
fn answers_are_checked_with_path_and_place() {
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="a" type="x:int"/><x:element name="b" type="x:int" minOccurs="0"/></x:sequence></x:complexType>"#,
    );
    for (body, place, says) in [
        (
            "<t:out><t:a>1</t:a><t:c/></t:out>",
            "/Envelope/Body/out/c, line 1",
            "unexpected element `c`; expected nothing more",
        ),
        ("<t:out><t:b>1</t:b></t:out>", "/Envelope/Body/out/b", "unexpected element `b`; expected `a`"),
        ("<t:out/>", "/Envelope/Body/out,", "expected `a` in `out`, which ends"),
        ("<t:out><t:a>x</t:a></t:out>", "/Envelope/Body/out/a", "an integer from"),
        ("<t:out><t:a>1</t:a><t:a>1</t:a></t:out>", "/Envelope/Body/out/a[2]", "unexpected element `a`"),
        ("<t:out><a>1</a></t:out>", "/Envelope/Body/out/a", "unexpected element `a` of namespace ``"),
        ("<t:out><t:a>1</t:a>text</t:out>", "/Envelope/Body/out", "unexpected text `text`"),
        ("<t:out z='1'><t:a>1</t:a></t:out>", "/Envelope/Body/out", "unexpected attribute `z`"),
        ("<t:out><t:a i:nil='true'/></t:out>", "/Envelope/Body/out/a", "not nillable"),
        ("<t:out><t:a><t:b/></t:a></t:out>", "/Envelope/Body/out/a/b", "expected a text"),
        ("<t:in/>", "/Envelope/Body/in", "unexpected element `{urn:t}in`; expected `{urn:t}out`"),
        ("", "/Envelope/Body,", "expected `out` in `Body`"),
        ("<t:out><t:a>1</t:a></t:out><t:out/>", "/Envelope/Body/out[2]", "expected nothing more"),
        ("<t:out i:type='t:U'><t:a>1</t:a></t:out>", "/Envelope/Body/out", "type `{urn:t}U` is not known"),
        ("<t:out i:type='x:int'>1</t:out>", "/Envelope/Body/out", "not derived from"),
    ] {
        let (at, message) = bad_answer(&client, body);
        assert!(message.contains(says), "{body}: {message}");
        assert!(at.starts_with(place) && at.contains("line 1, column"), "{body}: {at}");
    }
    assert_eq!(
        answer(&client, "<t:out s:encodingStyle='x' xmlns:z='urn:z'>\n <t:a> 1\n</t:a></t:out>").unwrap(),
        json!({"a": 1})
    );
}

#[test]
fn nil_defaults_and_fixed_values() {
    let client = of_type(
        r#"<x:complexType name="A"><x:sequence><x:element name="x" type="x:int"/></x:sequence><x:attribute name="why" type="x:string"/></x:complexType>
        <x:complexType name="T"><x:sequence><x:element name="n" type="x:int" nillable="true"/><x:element name="c" type="t:A" nillable="true" minOccurs="0" maxOccurs="unbounded"/>
        <x:element name="d" type="x:int" default="5" minOccurs="0"/><x:element name="f" type="x:decimal" fixed="1.0" minOccurs="0"/></x:sequence>
        <x:attribute name="u" type="x:boolean" default="true"/></x:complexType>"#,
    );
    let body =
        round(&client, &json!({"n": null, "c": [null, {"#nil": true, "@why": "no"}, {"x": 1}], "@u": false}));
    assert_eq!(body.matches("nil=\"true\"").count(), 3, "{body}");
    let output = answer(&client, "<t:out><t:n>1</t:n><t:d/><t:f/></t:out>").unwrap();
    assert_eq!(output, json!({"n": 1, "d": 5, "f": 1, "@u": true}));
    assert!(bad_answer(&client, "<t:out><t:n>1</t:n><t:f>2</t:f></t:out>").1.contains("the only value"));
    assert!(bad_answer(&client, "<t:out><t:n i:nil='1'>1</t:n></t:out>").1.contains("not empty"));
    assert!(refused(&client, &json!({"n": 1, "f": 2})).1.contains("the only value"));
    assert_eq!(refused(&client, &json!({"n": 1, "c": [{"#nil": true, "x": 1}]})).0, "/c/0/x");
}

#[test]
fn types_are_chosen_by_xsi_type() {
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="s" type="t:Shape" maxOccurs="unbounded"/></x:sequence></x:complexType>
        <x:complexType name="Shape" abstract="true"><x:sequence><x:element name="name" type="x:string"/></x:sequence></x:complexType>
        <x:complexType name="Circle"><x:complexContent><x:extension base="t:Shape"><x:sequence><x:element name="r" type="x:double"/></x:sequence><x:attribute name="id" type="x:ID"/></x:extension></x:complexContent></x:complexType>
        <x:complexType name="Ring"><x:complexContent><x:extension base="t:Circle"><x:sequence><x:element name="inner" type="x:double"/></x:sequence></x:extension></x:complexContent></x:complexType>"#,
    );
    let body = round(
        &client,
        &json!({"s": [{"@xsi:type": "Circle", "name": "c", "r": 1.5, "@id": "a"}, {"@xsi:type": "Ring", "name": "r", "r": 2, "inner": "INF"}]}),
    );
    assert!(body.contains(":type=\""), "{body}");
    let (place, message) = refused(&client, &json!({"s": [{"name": "x"}]}));
    assert!(
        place == "/s/0" && message.contains("is abstract") && message.contains("`Circle`, `Ring`"),
        "{place} {message}"
    );
    assert_eq!(refused(&client, &json!({"s": [{"@xsi:type": "T", "name": "x"}]})).0, "/s/0/@xsi:type");
    assert!(
        bad_answer(&client, "<t:out><t:s i:type='t:T'><t:name/></t:s></t:out>").1.contains("not derived")
    );
    assert!(bad_answer(&client, "<t:out><t:s><t:name/></t:s></t:out>").1.contains("is abstract"));
    assert!(
        bad_answer(&client, "<t:out><t:s i:type='t:Shape'><t:name/></t:s></t:out>").1.contains("is abstract")
    );
}

#[test]
fn repeated_choices_keep_their_order_where_it_matters() {
    let client = of_type(
        r#"<x:complexType name="T"><x:choice minOccurs="0" maxOccurs="unbounded"><x:element name="a" type="x:int"/><x:element name="b" type="x:int"/></x:choice></x:complexType>"#,
    );
    round(&client, &json!({"a": [1, 2], "b": [3]}));
    round(&client, &json!({}));
    let body = round(&client, &json!({"a": [1, 2], "b": [3], "#order": ["a", "b", "a"]}));
    assert!(body.find(">3<").unwrap() < body.find(">2<").unwrap(), "{body}");
    assert_eq!(refused(&client, &json!({"a": [1], "#order": ["a", "b"]})).0, "/#order");
    assert_eq!(refused(&client, &json!({"a": [1], "#order": ["z"]})).0, "/#order");
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence maxOccurs="2"><x:element name="a" type="x:int"/><x:element name="b" type="x:int" minOccurs="0"/></x:sequence></x:complexType>"#,
    );
    let body = round(&client, &json!({"a": [1, 2], "b": [3]}));
    assert!(body.find(">3<").unwrap() < body.find(">2<").unwrap(), "{body}");
    assert!(refused(&client, &json!({"b": [3]})).1.contains("`a` is missing"));
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="a" type="x:int" maxOccurs="unbounded"/><x:element name="b" type="x:int"/><x:element name="a" type="x:int"/></x:sequence></x:complexType>"#,
    );
    let body = round(&client, &json!({"a": [1, 2, 4], "b": 3}));
    assert!(
        body.find(">3<").unwrap() < body.find(">4<").unwrap()
            && body.find(">2<").unwrap() < body.find(">3<").unwrap(),
        "{body}"
    );
}

#[test]
fn groups_substitutes_any_and_all() {
    let client = of_type(
        r###"<x:group name="G"><x:choice><x:element name="g1" type="x:string"/><x:element ref="t:head"/></x:choice></x:group>
        <x:attributeGroup name="AG"><x:attribute name="p"/><x:attributeGroup ref="t:AH"/></x:attributeGroup><x:attributeGroup name="AH"><x:attribute ref="xml:lang"/><x:anyAttribute namespace="##other"/></x:attributeGroup>
        <x:element name="head" abstract="true" type="x:decimal"/><x:element name="m1" substitutionGroup="t:head" type="x:int"/><x:element name="m2" substitutionGroup="t:m1"/>
        <x:complexType name="T"><x:sequence><x:group ref="t:G" maxOccurs="2"/><x:element name="all"><x:complexType><x:all><x:element name="y" type="x:int"/><x:element name="x" type="x:int" minOccurs="0"/></x:all></x:complexType></x:element>
        <x:any namespace="##other" processContents="lax" minOccurs="0" maxOccurs="unbounded"/></x:sequence><x:attributeGroup ref="t:AG"/></x:complexType>"###,
    );
    round(
        &client,
        &json!({"m2": [5], "g1": ["x"], "all": {"y": 1, "x": 2}, "@p": "q", "@lang": "de", "@{urn:o}z": "1", "#order": ["m2", "g1", "all", "#any"],
        "#any": [{"#name": "{urn:o}e", "@k": "v", "@{urn:o}l": "w", "#content": ["t ", {"#name": "plain"}, " u"]}]}),
    );
    assert_eq!(
        answer(&client, "<t:out><t:g1>x</t:g1><t:all><t:x>2</t:x><t:y>1</t:y></t:all></t:out>").unwrap(),
        json!({"g1": ["x"], "all": {"x": 2, "y": 1}})
    );
    assert!(
        bad_answer(&client, "<t:out><t:head>1</t:head></t:out>")
            .1
            .contains("expected one of `g1`, `m1`, `m2`")
    );
    assert!(refused(&client, &json!({"all": {"y": 1}})).1.contains("one of `g1`, `m1`, `m2` is missing"));
    let input = json!({"g1": ["x"], "all": {"y": 1}, "#any": [{"#name": "{urn:t}e"}]});
    assert!(refused(&client, &input).1.contains("expected nothing more, found `{urn:t}e`"));
    for any in [
        json!("x"),
        json!([1]),
        json!([{"#name": "a b"}]),
        json!([{"#name": "{urn:o}e", "x": 1}]),
        json!([{"#name": "{urn:o}e", "#content": "x"}]),
    ] {
        assert!(refused(&client, &json!({"g1": ["x"], "all": {"y": 1}, "#any": any})).0.starts_with("/#any"));
    }
}

#[test]
fn simple_types_lists_unions_and_facets() {
    let client = of_type(
        r#"<x:simpleType name="Code"><x:restriction base="x:token"><x:pattern value="[A-Z]{2}\d"/><x:enumeration value="AB1"/><x:enumeration value="CD2"/></x:restriction></x:simpleType>
        <x:simpleType name="Codes"><x:list itemType="t:Code"/></x:simpleType><x:simpleType name="Few"><x:restriction base="t:Codes"><x:maxLength value="2"/></x:restriction></x:simpleType>
        <x:simpleType name="Size"><x:union memberTypes="x:int t:Code"><x:simpleType><x:restriction base="x:string"><x:enumeration value="big"/></x:restriction></x:simpleType></x:union></x:simpleType>
        <x:complexType name="Money"><x:simpleContent><x:extension base="x:decimal"><x:attribute name="unit" type="t:Code" use="required"/></x:extension></x:simpleContent></x:complexType>
        <x:complexType name="Cents"><x:simpleContent><x:restriction base="t:Money"><x:fractionDigits value="2"/><x:minInclusive value="0"/></x:restriction></x:simpleContent></x:complexType>
        <x:complexType name="T"><x:sequence><x:element name="few" type="t:Few"/><x:element name="size" type="t:Size" maxOccurs="9"/><x:element name="price" type="t:Cents"/>
        <x:element name="q" type="x:QName" minOccurs="0"/><x:element name="h" type="x:hexBinary" minOccurs="0"/><x:element name="e" type="x:double" minOccurs="0"/></x:sequence></x:complexType>"#,
    );
    round(
        &client,
        &json!({"few": ["AB1", "CD2"], "size": [1, "AB1", "big"], "price": {"#text": 1.25, "@unit": "CD2"}, "q": "{urn:q}n", "h": "00ff", "e": -0.5}),
    );
    round(
        &client,
        &json!({"few": [], "size": [1], "price": {"#text": 0, "@unit": "CD2"}, "q": "n", "e": "NaN"}),
    );
    let good = json!({"few": ["AB1"], "size": [1], "price": {"#text": 1, "@unit": "AB1"}});
    for (key, value, place) in [
        ("few", json!(["AB1", "AB1", "AB1"]), "/few"),
        ("few", json!(["EF3"]), "/few"),
        ("size", json!(["small"]), "/size/0"),
        ("price", json!({"#text": 1.255, "@unit": "AB1"}), "/price/#text"),
        ("price", json!({"#text": -1, "@unit": "AB1"}), "/price/#text"),
        ("price", json!({"@unit": "AB1"}), "/price"),
        ("price", json!(1), "/price"),
        ("q", json!("p:n"), "/q"),
        ("h", json!("0"), "/h"),
        ("e", json!("1.5"), "/e"),
    ] {
        let mut input = good.clone();
        input[key] = value;
        assert_eq!(refused(&client, &input).0, place, "{input}");
    }
    let output = answer(&client, "<t:out><t:few> AB1\n CD2 </t:few><t:size> 07 </t:size><t:price unit=' AB1 '>+1.50</t:price><t:q xmlns:z='urn:z'>z:n</t:q><t:e>1e3</t:e></t:out>").unwrap();
    assert_eq!(
        output,
        json!({"few": ["AB1", "CD2"], "size": [7], "price": {"#text": 1.5, "@unit": "AB1"}, "q": "{urn:z}n", "e": 1000})
    );
    assert!(
        bad_answer(
            &client,
            "<t:out><t:few/><t:size>1</t:size><t:price unit='AB1'>1</t:price><t:q>z:n</t:q></t:out>"
        )
        .1
        .contains("declared nowhere")
    );
}

#[test]
fn any_type_and_mixed_content() {
    let client = of_type(
        r#"<x:complexType name="P"><x:sequence><x:element name="x" type="x:int"/></x:sequence></x:complexType>
        <x:complexType name="T"><x:sequence><x:element name="v" type="x:anyType" maxOccurs="9"/><x:element name="p" type="t:P" minOccurs="0"/>
        <x:element name="m" minOccurs="0"><x:complexType mixed="true"><x:sequence><x:element name="b" type="x:string" minOccurs="0" maxOccurs="9"/></x:sequence></x:complexType></x:element></x:sequence></x:complexType>"#,
    );
    round(
        &client,
        &json!({"v": ["text", {"@xsi:type": "int", "#text": 5}, {"@xsi:type": "P", "x": 1}, {"@a": "1", "#content": ["t", {"#name": "{urn:z}c"}]}], "m": {"#text": "hello ", "b": ["x"]}}),
    );
    assert!(written(&client, &json!({"v": [5, true]})).unwrap().contains(">5<"));
    assert_eq!(refused(&client, &json!({"v": [["x"]]})).0, "/v/0");
}

#[test]
fn same_local_names_of_two_namespaces_do_not_clash() {
    let documents = Documents {
        all: vec![
            ("w/s.wsdl".into(), wsdl(r#"<x:import namespace="urn:o" schemaLocation="../o.xsd"/><x:complexType name="T"><x:sequence xmlns:o="urn:o"><x:element name="n" type="x:int"/><x:element ref="o:n"/><x:element name="n" form="unqualified" type="x:int"/><x:element name="other" type="o:T"/></x:sequence><x:attribute name="a"/><x:attribute xmlns:o="urn:o" ref="o:a"/></x:complexType>
                <x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#).into()),
            ("o.xsd".into(), r#"<schema xmlns="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:o" xmlns:o="urn:o"><include schemaLocation="inc/c.xsd"/><element name="n" type="string"/><attribute name="a" type="int"/><complexType name="T"><sequence><element name="c" type="o:C"/></sequence></complexType></schema>"#.into()),
            ("inc/c.xsd".into(), r#"<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:include schemaLocation="../inc/c.xsd"/><x:complexType name="C"><x:sequence><x:element name="v" type="D"/></x:sequence></x:complexType><x:simpleType name="D"><x:restriction base="x:int"/></x:simpleType></x:schema>"#.into()),
        ],
    };
    let client = Client::read(&documents, &Choice::default()).unwrap();
    round(
        &client,
        &json!({"{urn:t}n": 1, "{urn:o}n": "x", "{}n": 2, "other": {"c": {"v": 3}}, "@{}a": "y", "@{urn:o}a": 4}),
    );
    assert!(refused(&client, &json!({"n": 1})).1.contains("`{urn:t}n`, `{urn:o}n`, `{}n`"));
}

#[test]
fn what_is_redefined_is_seen_redefined() {
    let documents = Documents {
        all: vec![
            ("s.wsdl".into(), wsdl(r#"<x:redefine schemaLocation="b.xsd"><x:complexType name="T"><x:complexContent><x:extension base="t:T"><x:sequence><x:element name="b" type="x:int"/></x:sequence></x:extension></x:complexContent></x:complexType>
                <x:simpleType name="S"><x:restriction base="t:S"><x:maxLength value="2"/></x:restriction></x:simpleType></x:redefine><x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#).into()),
            ("b.xsd".into(), r#"<schema xmlns="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t" elementFormDefault="qualified"><complexType name="T"><sequence><element name="a" type="t:S"/></sequence></complexType><simpleType name="S"><restriction base="string"><minLength value="1"/></restriction></simpleType></schema>"#.into()),
        ],
    };
    let client = Client::read(&documents, &Choice::default()).unwrap();
    round(&client, &json!({"a": "xy", "b": 1}));
    assert_eq!(refused(&client, &json!({"a": "xyz", "b": 1})).0, "/a");
    assert_eq!(refused(&client, &json!({"a": "", "b": 1})).0, "/a");
}

#[test]
fn documents_that_are_wrong_are_refused_with_their_place() {
    let element =
        |ty: &str| format!(r#"{ty}<x:element name="in" type="t:T"/><x:element name="out" type="t:T"/>"#);
    let complex = |content: &str| element(&format!("<x:complexType name=\"T\">{content}</x:complexType>"));
    for (schema, says) in [
        (element(""), "type `{urn:t}T` is declared nowhere"),
        (complex(r#"<x:sequence><x:element name="a" type="z:b"/></x:sequence>"#), "prefix of `z:b`"),
        (
            complex(r#"<x:sequence><x:element ref="t:b"/></x:sequence>"#),
            "element `{urn:t}b` is declared nowhere; known in its namespace: `in`, `out`",
        ),
        (
            complex(r#"<x:sequence><x:element name="a" type="x:strin"/></x:sequence>"#),
            "type `{http://www.w3.org/2001/XMLSchema}strin`",
        ),
        (
            complex(r#"<x:sequence><x:element name="a" maxOccurs="many"/></x:sequence>"#),
            "expected a number for `maxOccurs`, found `many`",
        ),
        (complex(r#"<x:sequence><x:element name="a" minOccurs="2"/></x:sequence>"#), "is more than"),
        (complex(r#"<x:sequence><x:element/></x:sequence>"#), "needs a `name`"),
        (complex(r#"<x:sequence><x:elment name="a"/></x:sequence>"#), "found `elment`"),
        (complex(r#"<x:sequence><x:element name="a" type="t:T"/></x:sequence>"#), "never ends"),
        (
            complex(
                r#"<x:sequence><x:element name="a"><x:complexType><x:choice><x:element ref="t:in"/><x:element ref="t:out"/></x:choice></x:complexType></x:element></x:sequence>"#,
            ),
            "never ends",
        ),
        (complex(r#"<x:complexContent><x:extension base="t:T"/></x:complexContent>"#), "derived from itself"),
        (
            element(
                r#"<x:complexType name="T"><x:complexContent><x:extension base="t:U"/></x:complexContent></x:complexType><x:complexType name="U"><x:complexContent><x:restriction base="t:T"/></x:complexContent></x:complexType>"#,
            ),
            "derived from itself",
        ),
        (
            element(
                r#"<x:simpleType name="T"><x:restriction base="t:U"/></x:simpleType><x:simpleType name="U"><x:union memberTypes="x:int t:T"/></x:simpleType>"#,
            ),
            "derived from itself",
        ),
        (
            element(
                r#"<x:group name="G"><x:sequence><x:group ref="t:G" minOccurs="0"/></x:sequence></x:group><x:complexType name="T"><x:group ref="t:G"/></x:complexType>"#,
            ),
            "within themselves",
        ),
        (
            element(
                r#"<x:attributeGroup name="G"><x:attributeGroup ref="t:G"/></x:attributeGroup><x:complexType name="T"><x:attributeGroup ref="t:G"/></x:complexType>"#,
            ),
            "within themselves",
        ),
        (
            complex(
                r#"<x:sequence><x:element name="a" type="x:int"/><x:element name="a" type="x:string"/></x:sequence>"#,
            ),
            "two types",
        ),
        (
            element(r#"<x:complexType name="T"/><x:complexType name="T"><x:sequence/></x:complexType>"#),
            "declared differently",
        ),
        (
            element(
                r#"<x:simpleType name="T"><x:restriction base="x:int"><x:maxLength value="-1"/></x:restriction></x:simpleType>"#,
            ),
            "not negative",
        ),
        (
            element(
                r#"<x:simpleType name="T"><x:restriction base="x:int"><x:minInclusive value="x"/></x:restriction></x:simpleType>"#,
            ),
            "an integer from",
        ),
        ("<x:include schemaLocation='s.wsdl'/>".to_owned(), "found `definitions`"),
        ("<y/>".to_owned(), "expected a component of XML Schema, found `y`"),
        ("<x:element/>".to_owned(), "needs a `name`"),
    ] {
        let error = read(&wsdl(&schema)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadDocument);
        assert!(error.message.contains(says), "{schema}: {error}");
        assert!(error.place.contains("line "), "{schema}: {error}");
    }
    let good = wsdl(r#"<x:element name="in" type="x:int"/><x:element name="out" type="x:int"/>"#);
    for (from, to, says) in [
        ("message=\"t:i\"", "message=\"t:x\"", "message `{urn:t}x` is declared nowhere"),
        ("binding=\"t:b\"", "binding=\"t:x\"", "binding `{urn:t}x` is declared nowhere; known: `{urn:t}b`"),
        ("type=\"t:pt\"", "type=\"t:x\"", "port type `{urn:t}x`"),
        (
            "<operation name=\"do\"><soap",
            "<operation name=\"da\"><soap",
            "operation `da` is not in port type",
        ),
        ("transport=\"http", "transport=\"jms", "has the transport"),
        (
            "xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\"",
            "xmlns:soap=\"urn:other\"",
            "is no SOAP binding",
        ),
        ("element=\"t:in\"", "element=\"t:ni\"", "element `{urn:t}ni` is declared nowhere"),
        ("<definitions", "<!DOCTYPE definitions [<!ENTITY a \"b\">]><definitions", "DTD"),
        ("</definitions>", "", "ends within `definitions`"),
        ("http://schemas.xmlsoap.org/wsdl/\"", "http://www.w3.org/ns/wsdl\"", "WSDL 2.0"),
    ] {
        let error = read(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.message.contains(says), "{to}: {error}");
        assert!(error.place.contains("line "), "{to}: {error}");
    }
    assert!(Client::read(&Documents::default(), &Choice::default()).is_err());
    let choice = |service: Option<&str>, port: Option<&str>| {
        let choice = Choice { service: service.map(str::to_owned), port: port.map(str::to_owned) };
        Client::read(&Documents::one("s", good.as_str()), &choice).map(|_| ()).map_err(|error| error.message)
    };
    choice(Some("s"), Some("p")).unwrap();
    choice(None, Some("b")).unwrap();
    assert!(choice(Some("z"), None).unwrap_err().contains("known: `s`"));
    assert!(choice(None, Some("z")).unwrap_err().contains("known: `p`"));
}

#[test]
fn what_is_encoded_is_refused_and_the_rest_stays() {
    let text = wsdl(r#"<x:element name="in" type="x:int"/><x:element name="out" type="x:int"/>"#)
        .replace("</portType>", r#"<operation name="old"><input message="t:i"/></operation></portType>"#)
        .replace(
            "</binding>",
            r#"<operation name="old"><input><soap:body use="encoded"/></input></operation></binding>"#,
        );
    let client = read(&text).unwrap();
    assert_eq!(client.contract().operations.len(), 1);
    let (name, error) = &client.refused()[0];
    assert!(name == "old" && error.operation == "old" && error.message.contains("binding `b`"), "{error}");
    let error = client.write_request("old", &json!(1)).unwrap_err();
    assert!(error.message.contains("not supported") && error.message.contains("encoded"), "{error}");
    let error = read(&text.replace("literal", "encoded")).unwrap_err();
    assert!(error.kind == ErrorKind::BadDocument && error.message.contains("encoded"), "{error}");
}

fn simple_client() -> Client {
    of_type(
        r#"<x:element name="Busy"><x:complexType><x:sequence><x:element name="until" type="x:time"/></x:sequence></x:complexType></x:element>
        <x:simpleType name="T"><x:restriction base="x:string"/></x:simpleType>"#,
    )
}

#[test]
fn faults_of_both_versions_are_told() {
    let text = wsdl(r#"<x:element name="Busy"><x:complexType><x:sequence><x:element name="until" type="x:time"/></x:sequence></x:complexType></x:element><x:element name="in" type="x:string"/><x:element name="out" type="x:string"/>"#)
        .replace("<portType", r#"<message name="f"><part name="p" element="t:Busy"/></message><portType"#)
        .replace("<output message=\"t:o\"/>", r#"<output message="t:o"/><fault name="f" message="t:f"/>"#);
    let client = read(&text).unwrap();
    let fault = |status: u16, text: String| {
        let error = answer_in(&client, status, "text/xml", text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fault, "{error}");
        (*error.fault.unwrap(), error.message)
    };
    let v11 = |code: &str, detail: &str| {
        format!(
            "<s:Envelope xmlns:s='{SOAP}' xmlns:o='urn:o' xmlns:t='urn:t'><s:Body><s:Fault><faultcode>{code}</faultcode><faultstring>no &lt;luck&gt;</faultstring>{detail}</s:Fault></s:Body></s:Envelope>"
        )
    };
    let (told, message) =
        fault(500, v11("s:Server", "<detail><t:Busy><t:until>12:00:00</t:until></t:Busy><o:x/></detail>"));
    assert_eq!((told.code.as_str(), told.status, told.temporary), ("soap:Server", 500, false));
    assert_eq!(told.detail, json!({"Busy": {"until": "12:00:00"}, "#any": [{"#name": "{urn:o}x"}]}));
    assert_eq!(message, "soap:Server: no <luck>");
    for (status, code, expected, temporary) in [
        (200, "s:Client.Auth", 400, false),
        (503, "s:Server", 503, true),
        (500, "o:Odd", 500, false),
        (500, "no:Prefix", 500, false),
        (500, "s:MustUnderstand", 400, false),
    ] {
        let (told, _) = fault(status, v11(code, "<detail>text</detail>"));
        assert_eq!(
            (told.status, told.temporary, &told.detail),
            (expected, temporary, &json!("text")),
            "{code}"
        );
    }
    let v12 = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:o='urn:o'><s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>o:ServerBusy</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang='de'>nein</s:Text><s:Text xml:lang='en-GB'>no</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>";
    let (told, message) = fault(500, v12.to_owned());
    assert_eq!(
        (told.code.as_str(), told.status, told.temporary, told.detail),
        ("soap:Receiver/{urn:o}ServerBusy", 500, true, Value::Null)
    );
    assert!(message.ends_with(": no"), "{message}");
    let (told, _) =
        fault(500, format!("<s:Envelope xmlns:s='{SOAP}'><s:Body><s:Fault/></s:Body></s:Envelope>"));
    assert_eq!(told.status, 500);
}

#[test]
fn answers_that_are_none_are_told_apart() {
    let client = simple_client();
    let html = b"<html><head><title>x</title></head><body>Not here<br></body></html>";
    for (status, kind, body, expected, says) in [
        (404, "text/html", &html[..], ErrorKind::Fault, "HTTP status 404"),
        (404, "text/xml", b"", ErrorKind::Fault, "404"),
        (401, "", b"", ErrorKind::Fault, "401"),
        (500, "text/xml", b"<error/>", ErrorKind::Fault, "500"),
        (500, "application/json", b"{}", ErrorKind::Fault, "500"),
        (200, "text/html", &html[..], ErrorKind::BadAnswer, "found `text/html`"),
        (200, "text/xml", b"", ErrorKind::BadAnswer, "found nothing"),
        (202, "text/xml", b"  ", ErrorKind::BadAnswer, "found nothing"),
        (200, "text/xml", b"<html/>", ErrorKind::BadAnswer, "expected an envelope"),
        (200, "text/xml", b"\xFF\xFE\xFF", ErrorKind::BadAnswer, "UTF-16"),
        (200, "text/xml", b"<a>\xFF", ErrorKind::BadAnswer, "no UTF-8"),
        (200, "text/xml; charset=klingon", b"<a/>", ErrorKind::BadAnswer, "klingon"),
        (200, "text/xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", ErrorKind::BadAnswer, "DTD"),
        (200, "application/json", b"{}", ErrorKind::BadAnswer, "application/json"),
        (302, "text/xml", b"", ErrorKind::BadAnswer, "redirects"),
        (200, "multipart/related", b"x", ErrorKind::BadAnswer, "boundary"),
    ] {
        let error = answer_in(&client, status, kind, body).unwrap_err();
        assert_eq!(error.kind, expected, "{status} {kind}: {error}");
        assert!(error.message.contains(says), "{status} {kind}: {error}");
    }
    let deep = format!("<s:Envelope xmlns:s='{SOAP}'><s:Body>{}", "<a>".repeat(100_000));
    assert_eq!(answer_in(&client, 200, "text/xml", deep.as_bytes()).unwrap_err().kind, ErrorKind::TooLarge);
    let other = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body/></s:Envelope>";
    assert!(
        answer_in(&client, 200, "text/xml", other.as_bytes())
            .unwrap_err()
            .message
            .contains("expected SOAP 1.1, found SOAP 1.2")
    );
    let must = format!(
        "<s:Envelope xmlns:s='{SOAP}'><s:Header><z s:mustUnderstand='1'/></s:Header><s:Body><t:out xmlns:t='urn:t'>x</t:out></s:Body></s:Envelope>"
    );
    assert!(
        answer_in(&client, 200, "text/xml", must.as_bytes())
            .unwrap_err()
            .message
            .contains("has to be understood")
    );
    answer_in(&client, 200, "text/xml", must.replace("'1'", "'0'").as_bytes()).unwrap();
}

#[test]
fn answers_in_other_encodings_and_parts_are_read() {
    let client = of_type(
        r#"<x:complexType name="T"><x:sequence><x:element name="t" type="x:string"/><x:element name="d" type="x:base64Binary" minOccurs="0"/></x:sequence></x:complexType>"#,
    );
    let text = format!(
        "<s:Envelope xmlns:s='{SOAP}'><s:Body><out xmlns='urn:t'><t>ü</t></out></s:Body></s:Envelope>"
    );
    let latin: Vec<u8> = text.chars().map(|char| char as u8).collect();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (kind, bytes) in [
        ("text/xml; charset=ISO-8859-1", latin),
        ("application/xml", wide),
        ("text/xml;charset=\"utf-8\"", text.clone().into_bytes()),
    ] {
        assert_eq!(answer_in(&client, 200, kind, &bytes).unwrap().output, json!({"t": "ü"}), "{kind}");
    }
    let with = text.replace(
        "</t>",
        "</t><d><i:Include xmlns:i='http://www.w3.org/2004/08/xop/include' href='cid:a%40b'/></d>",
    );
    let parts = format!(
        "--x\r\nContent-Type: application/xop+xml; charset=UTF-8; type=\"text/xml\"\r\nContent-ID: <r>\r\n\r\n{with}\r\n--x\r\nContent-ID: <a@b>\r\n\r\nABC\r\n--x--\r\n"
    );
    let kind = "multipart/related; type=\"application/xop+xml\"; boundary=\"x\"; start=\"<r>\"; start-info=\"text/xml\"";
    assert_eq!(
        answer_in(&client, 200, kind, parts.as_bytes()).unwrap().output,
        json!({"t": "ü", "d": "QUJD"})
    );
    let error = answer_in(&client, 200, kind, parts.replace("<a@b>", "<c>").as_bytes()).unwrap_err();
    assert!(error.message.contains("did not come"), "{error}");
}

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
        let _ = super::imports("s.wsdl", &bytes);
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
        let _ = (super::imports("x", &bytes), written(client, &json!(text)));
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
