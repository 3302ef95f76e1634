use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::options::Profile;

fn names(profile: Profile) -> Vec<String> {
    let tools = all().into_iter().filter(|tool| tool.profile <= profile);
    tools.map(|tool| tool.name().to_owned()).collect()
}

#[test]
fn each_profile_has_the_tools_of_the_one_before() {
    assert_eq!(names(VmRun), ["vm_run"]);
    insta::assert_snapshot!(names(WorkspaceCore).join(" "), @"vm_run workspace_create workspace_sync_push workspace_exec exec_read exec_wait exec_kill workspace_diff workspace_export workspace_status workspace_list workspace_logs workspace_delete");
    insta::assert_snapshot!(names(WorkspaceFull).join(" "), @"vm_run vm_list_environments workspace_create workspace_sync_push workspace_exec exec_read exec_wait exec_kill workspace_diff workspace_export workspace_status workspace_list workspace_logs workspace_delete workspace_stop workspace_start workspace_apply workspace_apply_undo workspace_git_fetch snapshot_create snapshot_list snapshot_delete workspace_reset workspace_fork shell_open shell_read shell_write shell_signal shell_list shell_close vm_create vm_start vm_exec vm_stop vm_delete vm_status vm_network_info vm_reap_expired");
    let unique: BTreeSet<_> = names(WorkspaceFull).into_iter().collect();
    assert_eq!(unique.len(), all().len());
}

/// `fixtures/mcp/tools.json` is what `tools/list` answers: whoever changes a tool sees it there.
#[test]
fn the_tools_are_a_document() {
    let described: Vec<_> = all().into_iter().map(|tool| tool.described).collect();
    let text = serde_json::to_string_pretty(&described).unwrap() + "\n";
    in_step("fixtures/mcp/tools.json", &text);
}

#[test]
fn the_page_lists_every_tool() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mcp.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once("<!-- tools -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end of tools -->\n").unwrap();
    let text = format!("{head}<!-- tools -->\n{}<!-- end of tools -->\n{tail}", table());
    in_step("docs/mcp.md", &text);
}

fn table() -> String {
    let mut table = String::from(
        "| tool | profile | what it does | arguments | hints |\n|---|---|---|---|---|\n",
    );
    for tool in all() {
        let described = &tool.described;
        let required: Vec<&str> = described
            .input_schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let properties = described.input_schema["properties"].as_object().unwrap();
        let optional = properties.keys().map(String::as_str);
        let optional =
            optional.filter(|name| !required.contains(name)).map(|name| format!("[{name}]"));
        let arguments: Vec<String> =
            required.iter().map(|name| (*name).to_owned()).chain(optional).collect();
        let annotations = described.annotations.as_ref().unwrap();
        let hints = [
            (annotations.read_only_hint, "reads only"),
            (annotations.destructive_hint, "may destroy"),
            (annotations.idempotent_hint, "idempotent"),
            (annotations.open_world_hint, "open world"),
        ];
        let hints: Vec<_> =
            hints.iter().filter(|(hint, _)| *hint == Some(true)).map(|(_, word)| *word).collect();
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            described.name,
            tool.profile.name(),
            described.title.as_deref().unwrap(),
            arguments.join(", "),
            hints.join(", ")
        );
    }
    table
}

#[track_caller]
fn in_step(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("PYRO_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "{path} is old: PYRO_UPDATE_DOCS=1 cargo test -p pyro-mcp tools");
}

#[test]
fn every_tool_is_described_for_models_and_for_clients() {
    for tool in all() {
        let (name, described) = (tool.name(), &tool.described);
        assert!(described.title.as_ref().is_some_and(|title| !title.is_empty()), "{name}");
        assert!(described.description.as_ref().is_some_and(|text| text.len() > 30), "{name}");
        let hints = described.annotations.as_ref().unwrap();
        assert_ne!(
            (hints.read_only_hint, hints.destructive_hint),
            (Some(true), Some(true)),
            "{name}"
        );
        for (argument, schema) in described.input_schema["properties"].as_object().unwrap() {
            assert!(schema["description"].is_string(), "{name}: {argument} is not described");
        }
        assert_eq!(described.input_schema["additionalProperties"], false, "{name}");
    }
}

/// Clients' validators are of several drafts, and some models' hosts know no references.
#[test]
fn schemas_are_plain() {
    for tool in all() {
        let schemas = [Some(&tool.described.input_schema), tool.described.output_schema.as_ref()];
        for schema in schemas.into_iter().flatten() {
            assert_eq!(schema["type"], "object", "{}", tool.name());
            let text = serde_json::to_string(schema).unwrap();
            for word in ["$ref", "$schema", "$defs", "uint", "\"format\""] {
                assert!(!text.contains(word), "{}: {word}", tool.name());
            }
        }
        let input = serde_json::to_string(&tool.described.input_schema).unwrap();
        assert!(!input.contains("null"), "{}: {input}", tool.name());
        let output = tool.described.output_schema.as_ref().unwrap();
        assert!(output["properties"]["error"]["properties"]["code"].is_object(), "{}", tool.name());
    }
}
