//! What the manifests say to run is run: mainstay with the shipped configuration as the user of the image, and the commands of its probes
//! and of a Job beside it.

use serde_json::Value;

use super::{
    document, list,
    room::{MAINSTAY, Room},
    text, word,
};
use crate::support::child::Bounded;

fn room() -> Room {
    Room::new("127.0.0.1 localhost\n", &[("mainstay/password", "a-password")])
}

fn config() -> String {
    text("deploy/kubernetes/base/mainstay.yaml")
}

/// A command of the manifests, where mainstay is in a room.
fn words(command: &Value) -> Vec<&str> {
    list(command).iter().map(word).map(|word| if word == "/mainstay" { "/run/program" } else { word }).collect()
}

#[test]
fn the_probes_of_a_sidecar_say_yes_although_no_database_answers() {
    let (room, workload) = (room(), document("deploy/kubernetes/components/sidecar/sidecar.yaml"));
    let container = &workload["spec"]["template"]["spec"]["initContainers"][0];
    let ask = |command: &[&str]| room.command(MAINSTAY, command).bounded_status().unwrap().code();
    for probe in ["startupProbe", "livenessProbe"] {
        let mut words = words(&container[probe]["exec"]["command"]);
        // Nobody is there yet; how long that is believed is not what this is about.
        words[5] = "200ms";
        assert_eq!(ask(&words), Some(69), "{probe}");
    }
    let mut mainstay = room.mainstay(&config(), &[]);
    for probe in ["startupProbe", "livenessProbe"] {
        let words = words(&container[probe]["exec"]["command"]);
        assert_eq!(ask(&words), Some(0), "{probe} {words:?}\n{}", room.said("mainstay"));
    }
    // The databases are not there: that is for `ready` alone.
    assert_eq!(ask(&["/run/program", "wait", "--max", "0s", "--admin", "unix:/run/mainstay/admin.sock"]), Some(69));
    // Other users of the pod may look where loopback lets them, and order nothing.
    let order = ["/run/program", "shutdown", "--admin", "unix:/run/mainstay/admin.sock"];
    assert_ne!(room.command((1000, 1000), &order).bounded_status().unwrap().code(), Some(0));
    assert!(mainstay.is_running());
    mainstay.signal(rustix::process::Signal::TERM);
    assert_eq!(mainstay.ends(), Some(0), "{}", room.said("mainstay"));
}

#[test]
fn a_job_of_the_older_shape_ends_with_its_own_exit_code_and_ends_mainstay() {
    let job = document("deploy/kubernetes/examples/sidecar-classic/job.yaml");
    let patch = document("deploy/kubernetes/components/sidecar-classic/ordinary.yaml");
    let of = |path: &str| &list(&patch).iter().find(|one| one["path"].as_str().unwrap().ends_with(path)).unwrap()["value"];
    let delay = of("/env/-");
    for (shell, code) in [("/bin/sh", 3), ("bash", 0)] {
        let room = room();
        // So long that nobody could wait for it by mistake.
        let mut mainstay = room.mainstay(&config(), &[(word(&delay["name"]), "1h")]);
        let hook = words(&of("/lifecycle")["postStart"]["exec"]["command"]);
        assert_eq!(room.command(MAINSTAY, &hook).bounded_status().unwrap().code(), Some(0));
        let report = room.files.file("report", format!("#!/bin/sh\nexit {code}\n"), 0o755);
        let mut words = words(&job["spec"]["template"]["spec"]["containers"][0]["command"]);
        assert_eq!(words[..2], ["/bin/sh", "-c"]);
        let script = words[2].replace("\n/report", &format!("\n{}", report.display()));
        assert_ne!(script, words[2]);
        (words[0], words[2]) = (shell, &script);
        let said = room.command(MAINSTAY, &words).stdout(std::process::Stdio::piped()).bounded_output().unwrap();
        assert_eq!(said.status.code(), Some(code), "{shell}: {}", String::from_utf8_lossy(&said.stderr));
        // It waits for no clients, for none can come any more.
        assert_eq!(mainstay.ends(), Some(0), "{}", room.said("mainstay"));
    }
}
