//! Whole messages, without a connection: documents read, requests written, answers read.

use http::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::read::Arrived;
use super::{Choice, Client};
use crate::call::Answer;
use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};

mod answers;
mod documents;
mod hostile;

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
