//! What a promotion does fails, hangs, or is overtaken by the primary itself.

use std::fs;

use serde_json::json;

use super::{Pair, Site, fence, local, promotion, streams};
use crate::support::{scratch::Scratch, wait::until};

/// A fence that must succeed fails, or does not end: nobody is promoted, not even although the death was seen as refused. One that
/// need not is only tried then.
#[test]
fn a_fence_that_fails_or_hangs_keeps_everybody_a_standby_if_it_is_required() {
    let scratch = Scratch::new();
    for (script, required, said) in [
        ("echo no answer from the power switch; exit 1", true, "no answer from the power switch"),
        ("sleep 600", true, "did not end within"),
        ("exit 1", false, ""),
    ] {
        let pair = Pair::new();
        let more = json!({"required": required, "timeout": if script.starts_with("sleep") { "1s" } else { "20s" }});
        let site = pair.site(&fence(&scratch, script, &more));
        site.sees(2);
        pair.kill();
        if required {
            let evidence = site.ended("aborted");
            assert!(evidence.contains("in step fence") && evidence.contains(said), "{evidence}");
            site.refuses(&["candidate"]);
            assert!(pair.is_standby_still());
            assert_eq!((site.promotions("aborted"), site.promotions("failed")), (1, 0));
        } else {
            site.serves("db-b");
            assert_eq!(site.promotions("done"), 1);
        }
    }
}

/// The check's role may not promote: it is told with the words that grant it, each standby is tried once, and then a person must act.
#[test]
fn a_promotion_that_fails_is_tried_with_one_other_standby_at_most() {
    for standbys in 1..=2 {
        let pair = Pair::new();
        pair.primary.sql("CREATE ROLE probe LOGIN; GRANT pg_monitor TO probe");
        let others: Vec<_> = (1..standbys).map(|_| pair.primary.standby(&[])).collect();
        streams(&pair.primary, standbys);
        let backends: Vec<_> = [pair.address, local(&pair.standby)].into_iter().chain(others.iter().map(local)).collect();
        let site = Site::start(&backends, &promotion(&json!({})), |pool| pool["check"]["postgres"]["user"] = json!("probe"));
        site.sees(2);
        pair.kill();
        let evidence = site.ended("failed");
        assert!(evidence.contains("GRANT EXECUTE ON FUNCTION"), "{evidence}");
        site.refuses(if standbys == 1 { &["candidate"] } else { &["candidate", "attempts"] });
        assert_eq!(site.promotions("failed"), u64::try_from(standbys).unwrap());
        assert!([&pair.standby].into_iter().chain(&others).all(super::is_standby));
    }
}

/// It starts again while it is fenced, which takes a while: it goes on, and nobody is promoted.
#[test]
fn a_primary_that_comes_back_in_the_middle_goes_on() {
    let scratch = Scratch::new();
    let mut pair = Pair::new();
    let site = pair.site(&fence(
        &scratch,
        "echo begun > $DIR/begun; while [ -e $DIR/begun ]; do sleep 0.1; done",
        &json!({"timeout": "60s"}),
    ));
    site.sees(2);
    pair.kill();
    until("it is being fenced", || scratch.written("begun"));
    pair.primary.restart(&[]);
    let evidence = site.ended("aborted");
    site.serves("db-a");
    println!("{evidence}");
    assert!(pair.is_standby_still());
    assert_eq!((site.epoch(), site.promotions("aborted")), (2, 1));
    // The next death is another case.
    streams(&pair.primary, 1);
    fs::remove_file(scratch.path("begun")).unwrap();
    site.sees(2);
    pair.kill();
    until("it is being fenced", || scratch.written("begun"));
}
