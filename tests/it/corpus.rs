//! The inputs that the fuzz targets found interesting, run as ordinary tests.

use std::fs;
use std::path::Path;

use crate::properties;

#[test]
fn every_property_holds_for_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, property) in properties::ALL {
        property(b"");
        let entries = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut inputs = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| property(&input)) {
                eprintln!("{} breaks the property `{name}`", path.display());
                std::panic::resume_unwind(panic);
            }
            inputs += 1;
        }
        println!("{name}: {inputs} inputs");
        assert!(inputs >= 5, "{name} has only {inputs} inputs");
    }
}

#[test]
fn each_property_has_its_fuzz_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<String> = fs::read_dir(targets)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, properties::ALL.map(|(name, _)| name));
}
