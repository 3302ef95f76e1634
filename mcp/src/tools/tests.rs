use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[test]
fn names_are_unique() {
    let tools = all();
    let names: BTreeSet<_> = tools.iter().map(Entry::name).collect();
    assert_eq!(names.len(), tools.len());
}
