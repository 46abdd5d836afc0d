//! The JSON Schemas are valid, accept what the reader accepts and refuse what it refuses.

use serde_json::{Value as Json, json};
use sos_model::{Kind, json_schema, load};

use crate::manifests::cases;

#[test]
fn every_schema_is_valid_json_schema() {
    for kind in Kind::ALL {
        let schema = json_schema(kind);
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
        assert_eq!(required, ["apiVersion", "kind", "metadata", "spec"]);
    }
}

#[test]
fn canonical_json_of_every_good_manifest_fits_its_schema() {
    for entry in std::fs::read_dir(cases().join("good")).unwrap() {
        let folder = entry.unwrap().path();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            for one in load(&[(path.display().to_string(), std::fs::read(&path).unwrap())]).unwrap() {
                let validator = jsonschema::validator_for(&json_schema(one.kind())).unwrap();
                let json = one.to_json();
                let errors: Vec<String> =
                    validator.iter_errors(&json).map(|e| format!("{} at {}", e, e.instance_path())).collect();
                assert_eq!(errors, [] as [String; 0], "{}", one.id());
            }
        }
    }
}

#[test]
fn a_schema_refuses_unknown_keys_missing_keys_and_bare_numbers() {
    let validator = jsonschema::validator_for(&json_schema(Kind::Asset)).unwrap();
    let asset = |battery: Json| {
        json!({"apiVersion": "sos.energy/v1alpha1", "kind": "Asset", "metadata": {"name": "a"},
            "spec": {"site": "s", "type": "battery", "battery": battery}})
    };
    let good = json!({"capacity": "6.4 kWh", "maxCharge": "5 kW", "maxDischarge": "5 kW"});
    assert!(validator.is_valid(&asset(good)));
    for bad in [
        json!({"capacity": 6.4, "maxCharge": "5 kW", "maxDischarge": "5 kW"}),
        json!({"capacity": "6.4 kW", "maxCharge": "5 kW", "maxDischarge": "5 kW"}),
        json!({"capacity": "6.4 kWh", "maxCharge": "5 kW"}),
        json!({"capacity": "6.4 kWh", "maxCharge": "5 kW", "maxDischarge": "5 kW", "colour": "red"}),
    ] {
        assert!(!validator.is_valid(&asset(bad.clone())), "{bad}");
    }
}
