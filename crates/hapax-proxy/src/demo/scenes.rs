//! The scenes: each is played bare, then through the gateway, and counts what took effect.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::DemoError;
use super::account::{self, Outcome, Way, count, money, scene, step, words};
use super::api::{SampleApi, Totals};
use super::customer::{self, Call, Told, send};
use super::process::{Folder, GatewayProcess};
use super::relay::Relay;

/// What the scenes are played on.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) api: SampleApi,
    folder: &'a Folder,
    pub(super) gateway: GatewayProcess,
}

/// Plays all scenes; true if everything took effect once through the gateway.
pub(super) async fn play(stage: &mut Stage<'_>) -> Result<bool, DemoError> {
    let outcomes = [
        lost_answer(stage).await?,
        double_click(stage).await?,
        crash_after_the_answer(stage).await?,
        crash_before_the_answer(stage).await?,
        changed_retry(stage).await?,
    ];
    account::close(&outcomes);
    Ok(outcomes.iter().all(|outcome| outcome.held))
}

impl<'a> Stage<'a> {
    pub(super) const fn new(api: SampleApi, gateway: GatewayProcess, folder: &'a Folder) -> Self {
        Self { api, folder, gateway }
    }

    const fn address(&self, way: Way) -> SocketAddr {
        match way {
            Way::Bare => self.api.address,
            Way::Hapax => self.gateway.address,
        }
    }

    /// Sends and hangs up when the effect is there and its answer is not.
    async fn lose(&self, to: SocketAddr, call: &Call) -> Result<(), DemoError> {
        let seen = self.api.effects();
        tokio::select! {
            biased;
            () = self.api.next_effect(seen) => Ok(()),
            told = send(to, call) => {
                let told = words(&told?);
                Err(DemoError::Scene(format!("lose an answer: {told} came first")))
            }
        }
    }

    async fn ordinary_proxy(&self) -> Result<Relay, DemoError> {
        Relay::start(self.api.address).await.map_err(DemoError::Listen)
    }

    fn since(&self, before: Totals) -> Totals {
        let now = self.api.totals();
        Totals {
            cents: now.cents - before.cents,
            orders: now.orders - before.orders,
            payments: now.payments - before.payments,
            tickets: now.tickets - before.tickets,
        }
    }
}

async fn lost_answer(stage: &Stage<'_>) -> Result<Outcome, DemoError> {
    scene(
        1,
        "Lost answer",
        "Ada pays 19.99. Her line drops before the answer, and her app tries again.",
    );
    let body = json!({"customer": "Ada", "cents": 1999});
    let call = Call { body, key: Some("ada-1".into()), path: "/payments" };
    let (mut charges, mut held) = ([0; 2], false);
    for (number, way) in [Way::Bare, Way::Hapax].into_iter().enumerate() {
        let before = stage.api.totals();
        stage.lose(stage.address(way), &call).await?;
        let told = send(stage.address(way), &call).await?;
        let total = stage.since(before);
        charges[number] = total.payments;
        step(way, &format!("no answer; again: {}", words(&told)));
        step(way, &format!("charged {}: {}", times(total.payments), money(total.cents)));
        held = told.status == 201 && told.replayed && total.payments == 1 && total.cents == 1999;
    }
    Ok(outcome("lost answer", "charge", charges, held))
}

async fn double_click(stage: &Stage<'_>) -> Result<Outcome, DemoError> {
    scene(2, "Double click", "Ben orders a lamp and clicks three times.");
    let body = json!({"customer": "Ben", "item": "lamp"});
    let call = Call { body, key: Some("ben-1".into()), path: "/orders" };
    let (mut orders, mut held) = ([0; 2], false);
    for (number, way) in [Way::Bare, Way::Hapax].into_iter().enumerate() {
        let before = stage.api.totals();
        let to = stage.address(way);
        let told = tokio::try_join!(send(to, &call), send(to, &call), send(to, &call))?;
        let told: [Told; 3] = told.into();
        orders[number] = stage.since(before).orders;
        let answers = told.iter().map(words).collect::<Vec<_>>().join(", ");
        step(way, &format!("{answers}: {}", count(orders[number], "order")));
        let same = told.iter().all(|other| other.status == 201 && other.id() == told[0].id());
        held = orders[number] == 1 && same;
    }
    Ok(outcome("double click", "order", orders, held))
}

async fn crash_after_the_answer(stage: &mut Stage<'_>) -> Result<Outcome, DemoError> {
    scene(
        3,
        "Crash after the answer",
        "Cem books seat 7. The proxy in between is killed (kill -9) and restarted; his app, which \
         was restarted too, asks again.",
    );
    let call = ticket("Cem", "7", "cem-1");
    let before = stage.api.totals();
    let proxy = stage.ordinary_proxy().await?;
    let first = send(proxy.address, &call).await?;
    drop(proxy);
    let proxy = stage.ordinary_proxy().await?;
    let again = send(proxy.address, &call).await?;
    let bare = stage.since(before).tickets;
    step(Way::Bare, &format!("{}, killed, {}: {}", words(&first), words(&again), sold(bare)));

    let before = stage.api.totals();
    let first = send(stage.gateway.address, &call).await?;
    stage.gateway.kill();
    stage.gateway.restart(stage.folder).await?;
    let again = send(stage.gateway.address, &call).await?;
    let hapax = stage.since(before).tickets;
    step(Way::Hapax, &format!("{}, killed, {}: {}", words(&first), words(&again), sold(hapax)));
    let held = hapax == 1 && first.status == 201 && again.replayed && again.body == first.body;
    Ok(outcome("crash after the answer", "ticket", [bare, hapax], held))
}

async fn crash_before_the_answer(stage: &mut Stage<'_>) -> Result<Outcome, DemoError> {
    scene(
        4,
        "Crash before the answer",
        "Dee books seat 8. The proxy is killed while the shop works, so nobody in between knows \
         how it ended; her app asks again.",
    );
    let call = ticket("Dee", "8", "dee-1");
    let before = stage.api.totals();
    let proxy = stage.ordinary_proxy().await?;
    stage.lose(proxy.address, &call).await?;
    drop(proxy);
    let proxy = stage.ordinary_proxy().await?;
    let again = send(proxy.address, &call).await?;
    let bare = stage.since(before).tickets;
    step(Way::Bare, &format!("killed, {}: {}", words(&again), sold(bare)));

    let before = stage.api.totals();
    let (seen, shop_works) = (stage.api.effects(), stage.api.hold());
    {
        let asking = send(stage.gateway.address, &call);
        tokio::pin!(asking);
        tokio::select! {
            biased;
            () = stage.api.next_effect(seen) => stage.gateway.kill(),
            told = &mut asking => return Err(DemoError::Scene(format!("crash in time: {told:?}"))),
        }
    }
    drop(shop_works);
    stage.gateway.restart(stage.folder).await?;
    let held_back = send(stage.gateway.address, &call).await?;
    let told = words(&held_back);
    step(Way::Hapax, &format!("killed, {told}: held, not run again"));
    let settled = settle_from_the_books(stage).await?;
    let again = send(stage.gateway.address, &call).await?;
    let hapax = stage.since(before).tickets;
    step(Way::Hapax, &format!("an operator looks into the shop's books and settles it: {settled}"));
    step(Way::Hapax, &format!("asked again: {}: {}", words(&again), sold(hapax)));
    let held = hapax == 1
        && held_back.code() == Some("outcome-unknown")
        && again.status == 201
        && Some(again.body) == stage.api.last_ticket();
    Ok(outcome("crash before the answer", "ticket", [bare, hapax], held))
}

/// What an operator does: finds what is in doubt, looks up what happened, and says it.
async fn settle_from_the_books(stage: &Stage<'_>) -> Result<String, DemoError> {
    let doubts = customer::in_doubt(stage.gateway.admin).await?;
    let ticket = stage.api.last_ticket();
    let (Some(id), Some(ticket)) = (doubts.first(), ticket) else {
        return Err(DemoError::Scene("settle what is in doubt: nothing is".into()));
    };
    let told = customer::settle(stage.gateway.admin, id, 201, &ticket).await?;
    if told.status == 200 {
        Ok("executed".into())
    } else {
        Err(DemoError::Scene(format!("settle what is in doubt: {} {}", told.status, told.body)))
    }
}

async fn changed_retry(stage: &Stage<'_>) -> Result<Outcome, DemoError> {
    scene(
        5,
        "Reused key",
        "Eve pays 12.50. A bug in her app turns the retry into 1250.00, under the same key.",
    );
    let call = |cents: u64| {
        let body = json!({"customer": "Eve", "cents": cents});
        Call { body, key: Some("eve-1".into()), path: "/payments" }
    };
    let (mut charges, mut held) = ([0; 2], false);
    for (number, way) in [Way::Bare, Way::Hapax].into_iter().enumerate() {
        let before = stage.api.totals();
        let first = send(stage.address(way), &call(1250)).await?;
        let second = send(stage.address(way), &call(125_000)).await?;
        let total = stage.since(before);
        charges[number] = total.payments;
        let answers = format!("{}, then {}", words(&first), words(&second));
        let charged = format!("charged {}: {}", times(total.payments), money(total.cents));
        step(way, &format!("{answers}; {charged}"));
        held = first.status == 201
            && second.status == 422
            && second.code() == Some("key-reused")
            && (total.payments, total.cents) == (1, 1250);
    }
    Ok(outcome("reused key", "charge", charges, held))
}

fn ticket(customer: &str, seat: &str, key: &str) -> Call {
    let body: Value = json!({"customer": customer, "seat": seat});
    Call { body, key: Some(key.into()), path: "/tickets" }
}

const fn outcome(
    title: &'static str,
    unit: &'static str,
    [bare, hapax]: [usize; 2],
    held: bool,
) -> Outcome {
    Outcome { bare, hapax, held, title, unit }
}

fn sold(tickets: usize) -> String {
    format!("{} sold", count(tickets, "ticket"))
}

fn times(number: usize) -> String {
    match number {
        1 => "once".into(),
        2 => "twice".into(),
        number => format!("{number} times"),
    }
}
