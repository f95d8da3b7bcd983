//! Every machine's module opens with its state graph and a test that walks through it.

use std::fs;
use std::path::{Path, PathBuf};

/// Wrappers whose states are those of what they wrap.
const WRAPPERS: [&str; 1] = ["sim/checked.rs"];

#[test]
fn every_machine_has_a_graph_and_a_walk_through_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sans-io/src");
    let mut machines = 0;
    for file in files(&source) {
        let name = file.strip_prefix(&source).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_machine = code.lines().any(|line| {
            line.starts_with("impl") && line.contains(" Machine for ") && line.ends_with('{')
        });
        let is_test = ["tests", "fuzz"].iter().any(|part| name.contains(part));
        if !is_machine || is_test || WRAPPERS.contains(&name) {
            continue;
        }
        machines += 1;
        let own = Documentation::of(&text);
        let module = file.with_file_name("mod.rs");
        let module = Documentation::of(&fs::read_to_string(module).unwrap_or_default());
        assert!(own.graph || module.graph, "{name} has no state graph");
        assert!(own.walk || module.walk, "{name} has no walk-through");
    }
    assert!(machines >= 6, "only {machines} machines were found");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.flat_map(|entry| match entry.file_type().unwrap().is_dir() {
        true => files(&entry.path()),
        false => vec![entry.path()],
    });
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// What the documentation at the top of a file contains.
struct Documentation {
    graph: bool,
    walk: bool,
}

impl Documentation {
    fn of(text: &str) -> Self {
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        let documentation = lines.collect::<Vec<_>>().join("\n");
        let mut blocks = documentation.split("```").skip(1).step_by(2);
        let is_graph = |block: &str| {
            block.starts_with("text") && ["─", "->", "▶"].iter().any(|arrow| block.contains(arrow))
        };
        Self {
            graph: blocks.clone().any(is_graph),
            walk: blocks.any(|block| block.starts_with('\n')),
        }
    }
}
