//! The reader of OpenAPI and Swagger, in JSON and YAML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sos_call::Documents;
use sos_call::rest::{Client, references};

fuzz_target!(|text: &[u8]| {
    for name in ["fuzz.json", "fuzz.yaml"] {
        let _ = references(name, text);
        let _ = Client::read(&Documents::one(name, text));
    }
});
