//! What clients saw, and whether it could have happened with each request taking effect once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hapax_tests::Answer;

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// When its answer was there, in the order of all events.
    pub(crate) end: u64,
    pub(crate) key: Arc<str>,
    pub(crate) seen: Seen,
    /// When it was sent, in the order of all events.
    pub(crate) start: u64,
}

/// What a client saw of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// A complete answer of the upstream.
    Answer { content: Content, replayed: bool },
    /// The gateway said that it runs.
    Busy,
    /// The gateway said that the outcome is unknown.
    Doubt,
    /// The gateway said that nothing ran.
    NotRun,
    /// No complete answer: refused, cut, or lost.
    Nothing,
    /// An answer that no rule allows.
    Strange(String),
}

/// What has to be the same in every answer to one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Content {
    pub(crate) body: Vec<u8>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) status: u16,
}

/// What came out of a history.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// Keys whose answer a client saw.
    pub(crate) answered: usize,
    /// Requests that brought no complete answer.
    pub(crate) cut: usize,
    /// Keys whose last answer was that the outcome is unknown.
    pub(crate) doubts: usize,
    /// What happened at the upstream.
    pub(crate) effects: usize,
    /// Answers of first runs.
    pub(crate) executed: usize,
    pub(crate) keys: usize,
    /// Answers that were seen, and of which a retry was told that it runs or that nobody knows.
    pub(crate) lost: usize,
    /// Requests that were told that nothing ran.
    pub(crate) refused: usize,
    pub(crate) replayed: usize,
    pub(crate) requests: usize,
    /// Keys with more than one effect.
    pub(crate) twice: usize,
    /// What must not have happened, in words; empty if all is well.
    pub(crate) wrong: Vec<String>,
}

impl Event {
    fn overlaps(&self, span: &RangeInclusive<u64>) -> bool {
        self.start <= *span.end() && self.end >= *span.start()
    }
}

impl Verdict {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { answered, cut, doubts, effects, executed, keys, .. } = other;
        let Self { lost, refused, replayed, requests, twice, wrong, .. } = other;
        self.answered += answered;
        self.cut += cut;
        self.doubts += doubts;
        self.effects += effects;
        self.executed += executed;
        self.keys += keys;
        self.lost += lost;
        self.refused += refused;
        self.replayed += replayed;
        self.requests += requests;
        self.twice += twice;
        self.wrong.extend(wrong);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, cut, doubts, effects, executed, keys, .. } = self;
        let Self { lost, refused, replayed, requests, twice, wrong, .. } = self;
        let wrong = wrong.len();
        write!(
            f,
            "{requests} requests with {keys} keys, {refused} refused, {cut} without a complete answer; {effects} effects, \
             {answered} keys answered, {executed} first answers and {replayed} replays seen, {doubts} \
             keys in doubt; {twice} double executions, {lost} lost answers, {wrong} wrong"
        )
    }
}

impl Seen {
    /// Of what came back.
    pub(crate) fn of(answer: std::io::Result<Answer>) -> Self {
        let Ok(answer) = answer else { return Self::Nothing };
        match (answer.status, answer.problem().as_deref()) {
            (201, None) => {
                let kept = ["content-type", "content-length", "location", "x-effect"];
                let fields = kept
                    .iter()
                    .flat_map(|name| answer.fields.all(name).map(|value| (*name, value)))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                let replayed = answer.replayed();
                let content = Content { body: answer.body, fields, status: answer.status };
                Self::Answer { content, replayed }
            }
            (409, Some("in-progress")) => Self::Busy,
            (409 | 502 | 504, Some("outcome-unknown")) => Self::Doubt,
            (502, Some("upstream-unreachable")) | (503, Some(_)) => Self::NotRun,
            (status, problem) => Self::Strange(format!("{status} {problem:?} {}", answer.text())),
        }
    }
}

/// Judges: `arrivals` counts the upstream's effects per key, `last` is what each key showed at the
/// very end, with nothing killed any more. While the store was away, in these spans of the order of
/// events, an answer may have been given before it was kept (ruling 12): retries may then hear that it
/// runs or is in doubt, until the end, when it has to be there.
pub(crate) fn judge(
    events: &[Event],
    arrivals: &BTreeMap<String, usize>,
    last: &[Event],
    outages: &[RangeInclusive<u64>],
) -> Verdict {
    let mut verdict =
        Verdict { effects: arrivals.values().sum(), requests: events.len(), ..Verdict::default() };
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().chain(last) {
        by_key.entry(&event.key).or_default().push(event);
    }
    let end = last.iter().map(|event| event.start).min().unwrap_or(u64::MAX);
    verdict.keys = by_key.len();
    for (key, count) in arrivals {
        if *count > 1 {
            verdict.twice += 1;
            verdict.wrong.push(format!("{key} was executed {count} times"));
        }
        if !by_key.contains_key(key.as_str()) {
            verdict.wrong.push(format!("{key} was executed and nobody sent it"));
        }
    }
    for (key, events) in &by_key {
        let runs = arrivals.get(*key).copied().unwrap_or(0);
        let known = judge_answers(key, events, runs, &mut verdict);
        let Some(known) = known else { continue };
        verdict.answered += 1;
        let is_kept = !outages.iter().any(|outage| known.overlaps(outage));
        let kept_from = if is_kept { known.end } else { end.max(known.end) };
        judge_loss(key, events, kept_from, &mut verdict);
    }
    for event in last {
        match &event.seen {
            Seen::Answer { .. } => {}
            Seen::Doubt => verdict.doubts += 1,
            other => verdict.wrong.push(format!("{} is wedged: {other:?}", event.key)),
        }
    }
    verdict
}

/// Judges what was answered; the answer that was there first.
fn judge_answers<'a>(
    key: &str,
    events: &[&'a Event],
    runs: usize,
    verdict: &mut Verdict,
) -> Option<&'a Event> {
    let mut first: Option<(&'a Event, &Content)> = None;
    let mut executed = 0;
    for event in events {
        match &event.seen {
            Seen::Answer { content, replayed } => {
                executed += usize::from(!replayed);
                verdict.replayed += usize::from(*replayed);
                if runs == 0 {
                    verdict.wrong.push(format!("{key} was answered and never executed"));
                }
                match first {
                    Some((_, known)) if known != content => {
                        verdict.wrong.push(format!("{key} has two answers"));
                    }
                    Some((known, _)) if known.end <= event.end => {}
                    _ => first = Some((event, content)),
                }
            }
            Seen::Busy | Seen::Doubt => {}
            Seen::NotRun => verdict.refused += 1,
            Seen::Nothing => verdict.cut += 1,
            Seen::Strange(what) => verdict.wrong.push(format!("{key} got {what}")),
        }
    }
    verdict.executed += executed;
    if executed > 1 {
        verdict.wrong.push(format!("{key} had {executed} first answers"));
    }
    first.map(|(event, _)| event)
}

/// Judges what was told later than the answer was kept.
fn judge_loss(key: &str, events: &[&Event], kept_from: u64, verdict: &mut Verdict) {
    let mut lost = events.iter().filter(|event| event.start >= kept_from);
    if let Some(event) = lost.find(|event| matches!(event.seen, Seen::Busy | Seen::Doubt)) {
        verdict.lost += 1;
        verdict.wrong.push(format!("{key} lost its answer: then {:?}", event.seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, start: u64, seen: Seen) -> Event {
        Event { end: start + 1, key: key.into(), seen, start }
    }

    fn answer(body: &str, replayed: bool) -> Seen {
        let content = Content { body: body.into(), fields: Vec::new(), status: 201 };
        Seen::Answer { content, replayed }
    }

    fn judged(events: &[Event], runs: usize, last: Seen) -> Vec<String> {
        let arrivals = BTreeMap::from([("a".to_owned(), runs)]);
        judge(events, &arrivals, &[event("a", 90, last)], &[]).wrong
    }

    #[test]
    fn a_sound_history_is_accepted_and_counted() {
        let events = [
            event("a", 0, Seen::Nothing),
            event("a", 2, Seen::Busy),
            event("a", 4, answer("one", false)),
            event("a", 6, Seen::Nothing),
            event("b", 8, Seen::Nothing),
        ];
        let arrivals = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]);
        let last = [event("a", 90, answer("one", true)), event("b", 92, Seen::Doubt)];
        let verdict = judge(&events, &arrivals, &last, &[]);
        let expected = Verdict {
            answered: 1,
            cut: 3,
            doubts: 1,
            effects: 2,
            executed: 1,
            keys: 2,
            lost: 0,
            refused: 0,
            replayed: 1,
            requests: 5,
            twice: 0,
            wrong: Vec::new(),
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_second_execution_is_caught() {
        assert_eq!(judged(&[], 2, answer("one", true)), ["a was executed 2 times"]);
        let twice = [event("a", 0, answer("one", false)), event("a", 4, answer("one", false))];
        assert_eq!(judged(&twice, 1, answer("one", true)), ["a had 2 first answers"]);
    }

    #[test]
    fn a_lost_or_changed_answer_is_caught() {
        let seen = [event("a", 0, answer("one", false))];
        assert_eq!(judged(&seen, 1, Seen::Doubt), ["a lost its answer: then Doubt"]);
        assert_eq!(judged(&seen, 1, answer("other", true)), ["a has two answers"]);
        assert_eq!(judged(&seen, 0, answer("one", true)).len(), 2, "answered, never executed");
    }

    #[test]
    fn an_answer_given_during_an_outage_has_to_be_there_at_the_end() {
        let seen = [event("a", 4, answer("one", false)), event("a", 10, Seen::Busy)];
        let arrivals = BTreeMap::from([("a".to_owned(), 1)]);
        let judged = |last: Seen, outage: RangeInclusive<u64>| {
            let verdict = judge(&seen, &arrivals, &[event("a", 90, last)], &[outage]);
            (verdict.lost, verdict.wrong.len())
        };
        assert_eq!(judged(answer("one", true), 2..=6), (0, 0));
        assert_eq!(judged(answer("one", true), 6..=8), (1, 1), "it was kept before");
        assert_eq!(judged(Seen::Doubt, 2..=6), (1, 1));
    }

    #[test]
    fn a_wedged_key_and_a_strange_answer_are_caught() {
        assert_eq!(judged(&[], 1, Seen::Busy), ["a is wedged: Busy"]);
        let strange = [event("a", 0, Seen::Strange("500".into()))];
        assert_eq!(judged(&strange, 1, Seen::Doubt), ["a got 500"]);
    }
}
