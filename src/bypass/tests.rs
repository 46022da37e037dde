//! The detector's verdicts, look by look.

use lb_ctl::health::Cause;

use super::*;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// A target that is looked at once a second, and is checked in between.
struct Scene {
    watch: Watch,
    counted: Signs,
    second: u64,
}

impl Scene {
    fn new() -> Scene {
        let mut scene = Scene { watch: Watch::default(), counted: Signs::default(), second: 0 };
        assert_eq!(scene.look([99, 99, 99], None), News::Nothing, "what was before is nobody's sign");
        scene
    }

    /// The next look: repeated SYNs, bypassed flows and replies since the last one; the second that a passed check ended in.
    fn look(&mut self, [repeated_syns, bypassed_flows, replies]: [u64; 3], check: Option<u64>) -> News {
        self.counted.repeated_syns += repeated_syns;
        self.counted.bypassed_flows += bypassed_flows;
        self.counted.replies += replies;
        self.second += 1;
        let took = Duration::from_millis(10);
        let passed = check.map(|second| LastCheck { ended: at(second), took, outcome: Ok(()) });
        self.watch.look(self.counted, passed, at(self.second))
    }

    fn note_told(&mut self) {
        (self.watch.told, self.watch.is_told) = (Some(at(self.second)), true);
    }
}

#[test]
fn acknowledged_answers_that_nobody_saw_are_a_bypass_from_the_second_flow_on() {
    let mut scene = Scene::new();
    assert_eq!(scene.look([0, 1, 0], None), News::Nothing);
    assert_eq!(scene.look([0, 1, 0], None), News::Due);
    assert_eq!(scene.watch.verdict.as_ref().unwrap().sign, BypassSign::AnsweredElsewhere);
}

#[test]
fn silence_is_one_only_of_a_target_that_passed_a_check_in_between() {
    for (checks, expected) in [
        ([None, None, None], News::Nothing),
        ([Some(1), Some(1), Some(1)], News::Nothing), // Before the silence: it may have died since.
        ([None, None, Some(4)], News::Nothing),       // It has come up a moment ago.
        ([None, Some(3), Some(3)], News::Due),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.look([0, 0, 0], None), News::Nothing);
        let news = checks.map(|check| scene.look([1, 0, 0], check));
        assert_eq!(news[2], expected, "{checks:?}");
    }
}

#[test]
fn who_answers_anybody_is_not_suspected() {
    let mut scene = Scene::new();
    for second in 1..100 {
        // Half of the answers are lost; a flood acknowledges what it has not waited for, and is answered all the same.
        assert_eq!(scene.look([5, 3, 4], Some(second)), News::Nothing);
    }
}

#[test]
fn what_lasts_is_told_now_and_then_and_its_end_once() {
    let mut scene = Scene::new();
    let mut told = Vec::new();
    for second in 2..=700 {
        if scene.look([0, 9, 0], None) == News::Due {
            scene.note_told();
            told.push(second);
        }
    }
    assert_eq!(told, [2, 302, 602]);
    assert_eq!(scene.look([0, 0, 1], None), News::Over);
    assert_eq!(scene.look([0, 0, 1], None), News::Nothing);
}

#[test]
fn what_begins_again_is_told_again_but_not_at_once_and_only_what_was_told_has_an_end() {
    let mut scene = Scene::new();
    assert_eq!(scene.look([0, 9, 0], None), News::Due);
    scene.note_told();
    assert_eq!(scene.look([0, 0, 1], None), News::Over);
    assert_eq!(scene.look([0, 9, 0], None), News::Nothing, "known, but not told so soon");
    assert!(scene.watch.verdict.is_some());
    assert_eq!(scene.look([0, 0, 1], None), News::Nothing, "nobody knew that it had begun");
    let again = (0..60).position(|_| scene.look([0, 9, 0], None) == News::Due);
    assert_eq!(again, Some(26), "half a minute after it was told");
}

#[test]
fn signs_are_forgotten() {
    let mut scene = Scene::new();
    scene.look([0, 2, 0], None);
    scene.note_told();
    let news: Vec<News> = (0..130).map(|_| scene.look([0; 3], None)).collect();
    assert_eq!(news.iter().filter(|news| **news == News::Over).count(), 1);
    assert_eq!(scene.look([0, 1, 0], None), News::Nothing, "one flow is none");
}

#[test]
fn a_target_that_has_died_since_is_not_blamed() {
    let took = Duration::ZERO;
    let mut suspicion = Suspicion { since: at(5), latest: at(5), bypassed_flows: 0, is_alive: false };
    for (outcome, ended, expected) in
        [(Ok(()), 4, false), (Ok(()), 6, true), (Ok(()), 6, true), (Err(Cause::Timeout), 7, false)]
    {
        suspicion.consider(Some(LastCheck { ended: at(ended), took, outcome }));
        assert_eq!(suspicion.is_alive, expected, "{outcome:?} at {ended}");
    }
}

#[test]
fn the_way_back_leads_to_the_address_that_the_host_sends_from() {
    assert_eq!(own_address_towards([127, 0, 0, 5].into()), Some([127, 0, 0, 1].into()));
}
