//! How the demo is told: short, and for people.

use std::io::Write as _;

use super::api::SampleApi;
use super::customer::Told;
use super::process::GatewayProcess;

/// Lines of a story end here.
const COLUMNS: usize = 90;

/// Which way a customer took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Bare,
    Hapax,
}

/// What one scene came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) bare: usize,
    pub(super) hapax: usize,
    /// Whether the story held where it was promised to.
    pub(super) held: bool,
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
}

/// One line on standard output. A reader that has gone is not worth another line.
pub(super) fn say(line: &str) {
    let _gone = writeln!(std::io::stdout().lock(), "{line}");
}

pub(super) fn open(api: &SampleApi, gateway: &GatewayProcess) {
    say("Hapax demo: one sample shop, and customers whose apps retry, each story told twice.");
    say("");
    say(&format!("  bare   http://{}   the shop's own API", api.address));
    say(&format!("  Hapax  http://{}   the same API behind the gateway", gateway.address));
    say(&format!("  admin  http://{}", gateway.admin));
}

/// The headline of a scene.
pub(super) fn scene(number: usize, title: &str, story: &str) {
    say("");
    let mut line = format!("{number}. {title}.");
    for word in story.split(' ') {
        if line.len() + 1 + word.len() > COLUMNS {
            say(&line);
            line = String::from("  ");
        }
        line.push(' ');
        line.push_str(word);
    }
    say(&line);
}

/// One step of a customer, or of the world.
pub(super) fn step(way: Way, what: &str) {
    let way = match way {
        Way::Bare => "bare ",
        Way::Hapax => "Hapax",
    };
    say(&format!("   {way}  {what}"));
}

/// An answer in a few words.
pub(super) fn words(told: &Told) -> String {
    let mut words = told.status.to_string();
    if let Some(what) = told.id().or_else(|| told.code()) {
        words.push(' ');
        words.push_str(what);
    }
    if told.replayed {
        words.push_str(" (replayed)");
    }
    words
}

/// Cents as an amount of money.
pub(super) fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// "1 charge", "2 charges".
pub(super) fn count(number: usize, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

pub(super) fn close(outcomes: &[Outcome]) {
    say("");
    say(&format!("   {:<26}{:<14}{}", "", "bare", "Hapax"));
    for outcome in outcomes {
        let Outcome { bare, hapax, held, title, unit } = outcome;
        let (bare, hapax) = (count(*bare, unit), count(*hapax, unit));
        let broken = if *held { "" } else { "   NOT AS PROMISED" };
        say(&format!("   {title:<26}{bare:<14}{hapax}{broken}"));
    }
    say("");
    say(if outcomes.iter().all(|outcome| outcome.held) {
        "Through Hapax everything took effect once."
    } else {
        "Through Hapax something did not go as promised."
    });
}

pub(super) fn try_it(api: &SampleApi, gateway: &GatewayProcess) {
    let (api, data, admin) = (api.address, gateway.address, gateway.admin);
    let pay = format!(
        "curl -i http://{data}/payments -H 'Idempotency-Key: my-1' \
         -d '{{\"customer\":\"me\",\"cents\":500}}'"
    );
    say("");
    say("It is still up; Ctrl-C ends it. Pay, as often as you like (the second is a replay):");
    say(&format!("  {pay}"));
    say("Reuse the key for another amount (422), or leave it out (400):");
    say(&format!("  {}", pay.replace("500", "900")));
    say(&format!("  {}", pay.replace(" -H 'Idempotency-Key: my-1'", "")));
    say("See what the shop has really charged, and what the gateway knows:");
    say(&format!("  curl http://{api}/payments"));
    say(&format!("  curl http://{admin}/api/records"));
    say(&format!("  curl http://{admin}/metrics"));
    say(&format!("  curl http://{data}/.well-known/idempotency"));
}
