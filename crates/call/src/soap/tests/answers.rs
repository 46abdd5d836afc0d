//! Faults, pages that are no answers, other encodings.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{SOAP, answer_in, of_type, read, wsdl};
use crate::error::ErrorKind;
use crate::soap::Client;
use crate::soap::read::Arrived;

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

#[test]
fn a_busy_service_says_when_to_come_again() {
    let client = simple_client();
    let refused = |status: u16, list: &[(&'static str, &'static str)]| {
        let headers: HeaderMap = list
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let arrived = Arrived { status, reason: "", headers: &headers, body: b"" };
        client.read_answer("do", &arrived, None).unwrap_err()
    };
    let error = refused(503, &[("retry-after", "7")]);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert!(error.fault.unwrap().temporary);
    let at = "Sun, 29 Nov 2026 12:00:00 GMT";
    let error = refused(500, &[("retry-after", "Sun, 29 Nov 2026 12:00:30 GMT"), ("date", at)]);
    assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    assert!(!refused(500, &[]).fault.unwrap().temporary);
}

const RPC: &str = r#"<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap12/" xmlns:h="http://schemas.xmlsoap.org/wsdl/http/"
  xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t" xmlns:wsaw="http://www.w3.org/2006/05/addressing/wsdl">
<types><x:schema targetNamespace="urn:t"><x:complexType name="P"><x:sequence><x:element name="v" type="x:int" maxOccurs="2"/></x:sequence></x:complexType><x:element name="who" type="x:string"/></x:schema></types>
<message name="i"><part name="a" type="t:P"/><part name="b" type="x:string"/></message><message name="o"><part name="r" type="x:decimal"/></message>
<message name="n"/><message name="h"><part name="w" element="t:who"/></message>
<portType name="pt">
<operation name="do"><input name="one" message="t:i"/><output message="t:o"/></operation>
<operation name="do"><input name="two" message="t:n"/></operation>
<operation name="ask"><output message="t:o"/><input message="t:i"/></operation></portType>
<binding name="hb" type="t:pt"><h:binding verb="GET"/></binding>
<binding name="b" type="t:pt"><wsaw:UsingAddressing/><soap:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
<operation name="do"><soap:operation soapAction="urn:do"/><input name="one"><soap:body use="literal" namespace="urn:r"/><soap:header message="t:h" part="w" use="literal"/></input><output><soap:body use="literal" namespace="urn:r"/><soap:header message="t:h" part="w" use="literal"/></output></operation>
<operation name="do"><input name="two"><soap:body use="literal" namespace="urn:r"/></input></operation>
<operation name="ask"><input><soap:body use="literal"/></input></operation></binding>
<service name="s"><port name="http" binding="t:hb"/><port name="p" binding="t:b"><soap:address location="http://h/s"/></port></service>
</definitions>"#;

#[test]
fn rpc_messages_have_a_wrapper_and_parts_without_a_namespace() {
    let client = read(RPC).unwrap();
    let names: Vec<&str> = client.contract().operations.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["do.one", "do.two"]);
    assert!(client.refused()[0].1.message.contains("solicit-response"), "{:?}", client.refused());
    let input =
        json!({"b": "x", "a": {"v": [1, 2]}, "$headers": {"who": "me", "#any": [{"#name": "{urn:z}z"}]}});
    let text = client.write_request("do.one", &input).unwrap();
    assert!(text.contains("=\"urn:t\">me</n2:who>"), "{text}");
    assert!(text.contains("\"urn:r\"><a><v>1</v><v>2</v></a><b>x</b></"), "{text}");
    assert_eq!(
        client.write_request("do.one", &json!({"a": {"v": [1]}})).unwrap_err().message,
        "`b` is missing; known: `a`, `b`"
    );
    let text = client.write_request("do.two", &json!({})).unwrap();
    assert!(text.contains(":do xmlns:n1=\"urn:r\"/>"), "{text}");
    let answer = |body: &str| {
        let text = format!(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:a='http://www.w3.org/2005/08/addressing'><s:Header><a:RelatesTo>urn:1</a:RelatesTo><who xmlns='urn:t'>you</who></s:Header><s:Body>{body}</s:Body></s:Envelope>"
        );
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/soap+xml"));
        let arrived = Arrived { status: 200, reason: "OK", headers: &headers, body: text.as_bytes() };
        client.read_answer("do.one", &arrived, Some("urn:1")).map(|answer| answer.output)
    };
    let output = answer("<r:doResponse xmlns:r='urn:r'><r>1.50</r></r:doResponse>").unwrap();
    assert_eq!(output, json!({"r": 1.5, "$headers": {"who": "you"}}));
    let error = answer("<r:doResponse xmlns:r='urn:r'><r:r>1.50</r:r></r:doResponse>").unwrap_err();
    assert!(error.message.contains("expected `r`"), "{error}");
    let error = answer("<r:do xmlns:r='urn:r'><r>1</r></r:do>").unwrap_err();
    assert!(error.message.contains("expected `{urn:r}doResponse`"), "{error}");
}
