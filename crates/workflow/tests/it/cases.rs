//! Wrong documents with their exact problems: `cases/workflow/wrong/NAME.yaml` with `NAME.txt`, one problem a line.
//! `SOS_BLESS=1` writes the latter anew, to be read before it is kept.

use std::fs;
use std::path::Path;

#[test]
fn wrong_documents_have_exactly_their_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/workflow/wrong");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let problems = sos_workflow::read(&text).and_then(|document| document.check()).unwrap_err();
        let found = format!("{problems}\n");
        let expected = path.with_extension("txt");
        if std::env::var_os("SOS_BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} cases");
}
