//! The reader of XML Schema, behind a WSDL that is well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sos_call::Documents;
use sos_call::soap::{Choice, Client};

const WSDL: &str = r#"<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t">
<w:types><x:schema targetNamespace="urn:t"><x:include schemaLocation="fuzz.xsd"/></x:schema></w:types>
<w:message name="m"><w:part name="p" element="t:e"/></w:message>
<w:portType name="p"><w:operation name="o"><w:input message="t:m"/><w:output message="t:m"/></w:operation></w:portType>
<w:binding name="b" type="t:p"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<w:operation name="o"><s:operation/><w:input><s:body use="literal"/></w:input><w:output><s:body use="literal"/></w:output></w:operation></w:binding>
<w:service name="s"><w:port name="p" binding="t:b"><s:address location="http://h/"/></w:port></w:service></w:definitions>"#;

fuzz_target!(|text: &[u8]| {
    let all = vec![
        ("fuzz.wsdl".to_owned(), WSDL.as_bytes().to_vec()),
        ("fuzz.xsd".to_owned(), text.to_vec()),
    ];
    let _ = Client::read(&Documents { all }, &Choice::default());
});
