//! The load test, on a router that it starts itself.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_scenario_measures_a_router() {
    let directory = tempfile::tempdir().unwrap();
    let router = format!(
        "ours='{}' run --log-level error --port 0 --dir '{}'",
        env!("CARGO_BIN_EXE_smp-server"),
        directory.path().display()
    );
    let few = ["--clients", "2", "--count", "4", "--connections", "4"];
    let output = Command::new(env!("CARGO_BIN_EXE_smp-bench"))
        .args(["--start", &router, "--queues", "8", "--json"])
        .args(few)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["cycle_floor"].as_f64().unwrap() > 0.0);
    let lines = report["lines"].as_array().unwrap();
    for line in lines {
        assert_eq!(line["router"], "ours");
        assert!(line["operations"].as_u64().unwrap() > 0, "{line}");
        assert!(line["resident"].as_u64().unwrap() > 0, "{line}");
    }
    let restarted = lines.last().unwrap();
    assert_eq!(restarted["scenario"], "restart");
    let remark = restarted["remark"].as_str().unwrap();
    assert!(remark.starts_with("with 8 queues"), "{remark}");
}
