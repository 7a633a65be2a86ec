//! What the page costs mainstay.

use std::{
    env,
    time::{Duration, Instant},
};

use super::Scene;

#[test]
fn a_thousand_loads_leave_no_memory_behind() {
    let scene = Scene::new();
    let load = |times: usize| {
        for _ in 0..times {
            for path in ["/", "/api/v1/status", "/api/v1/events", "/api/v1/operations"] {
                assert_eq!(scene.process.get(path).0, 200);
            }
        }
    };
    // A browser loads it too, with its streams; 1,000 times it would take minutes.
    let browse = |times: usize| {
        for _ in 0..times {
            drop(scene.page());
        }
    };
    load(200);
    browse(3);
    let before = scene.process.memory();
    load(1000);
    browse(20);
    let after = scene.process.memory();
    println!("memory before {before}, after {after}");
    // What is kept grows with each load; a page is more than 50 KB, so 1,000 of them would be 50 MB.
    assert!(after < before + 2 * 1024 * 1024, "{before} -> {after}");
    assert!(scene.process.files() < 64, "{} descriptors", scene.process.files());
}

#[test]
fn an_open_page_takes_a_hundredth_of_a_core() {
    let scene = Scene::new();
    let page = scene.page();
    let minutes: u64 = env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let time = if minutes == 0 { Duration::from_secs(20) } else { Duration::from_secs(60 * minutes) };
    let took = |time: Duration| {
        scene.process.processor_time(|| {
            // The time is the subject.
            std::thread::sleep(time);
        })
    };
    let since = Instant::now();
    let open = took(time);
    let asked = page.ask("performance.getEntriesByType('resource').length");
    drop(page);
    let alone = took(Duration::from_secs(10));
    let share = |took: Duration, time: Duration| took.as_secs_f64() / time.as_secs_f64();
    let (open, alone) = (share(open, time), share(alone, Duration::from_secs(10)));
    println!(
        "of a core: {:.3} % with a page open, {:.3} % without; {asked} requests, {:?}",
        100.0 * open,
        100.0 * alone,
        since.elapsed()
    );
    assert!(open - alone <= 0.01, "{open} {alone}");
}
