//! The reader of WSDL: whatever it is given, it answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sos_call::Documents;
use sos_call::soap::{Choice, Client, imports};

fuzz_target!(|text: &[u8]| {
    let _ = imports("fuzz.wsdl", text);
    let _ = Client::read(&Documents::one("fuzz.wsdl", text), &Choice::default());
});
