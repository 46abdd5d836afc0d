//! Documents that are wrong, or ask for what is not supported.

use serde_json::json;

use super::{read, wsdl};
use crate::contract::Documents;
use crate::error::ErrorKind;
use crate::soap::{Choice, Client};

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

#[test]
fn parts_that_cannot_be_told_apart_are_refused() {
    let text = wsdl(
        r#"<x:element name="in" type="x:int"/><x:element name="out" type="x:int"/><x:element name="other" type="x:int"/>"#,
    );
    let second =
        |part: &str| {
            read(&text.replace(
                "</message>\n<message name=\"o\">",
                &format!("{part}</message>\n<message name=\"o\">"),
            ))
        };
    let error = second(r#"<part name="p" element="t:other"/>"#).unwrap_err();
    assert!(error.message.contains("message `{urn:t}i` has two parts `p`"), "{error}");
    let error = second(r#"<part name="q" element="t:in"/>"#).unwrap_err();
    assert!(error.message.contains("element of another part") && error.message.contains("`q`"), "{error}");
    let client = second(r#"<part name="q" element="t:other"/>"#).unwrap();
    assert_eq!(client.contract().operations[0].input["required"], json!(["in", "other"]));
}
