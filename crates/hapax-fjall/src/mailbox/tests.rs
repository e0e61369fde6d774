use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hapax::Stats;

use super::{Exchange, Mailbox, Ticket};
use crate::operation::{Operation, Reply};
use crate::queue::Queue;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Calls that wait, as tasks of one thread, and the letters they have sent.
struct Scene {
    mailbox: Arc<Mailbox>,
    tickets: Vec<Ticket>,
    woken: Vec<Arc<Woken>>,
}

impl Scene {
    fn new() -> Self {
        let mailbox = Arc::default();
        Self { mailbox, tickets: Vec::new(), woken: Vec::new() }
    }

    fn times_woken(&self) -> Vec<usize> {
        self.woken.iter().map(|woken| woken.0.load(Ordering::SeqCst)).collect()
    }

    fn poll(&self, n: usize, exchange: Pin<&mut Exchange<'_>>) -> Option<u64> {
        let waker = Waker::from(self.woken[n].clone());
        match exchange.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(Ok(Reply::Stats(Ok(stats)))) => Some(stats.records),
            Poll::Ready(other) => panic!("another answer: {other:?}"),
        }
    }

    fn deliver(&self, numbers: impl Iterator<Item = usize>) {
        self.mailbox.deliver(numbers.map(|n| {
            let stats = Stats { records: n as u64, ..Stats::default() };
            (self.tickets[n], Box::new(Reply::Stats(Ok(stats))))
        }));
    }
}

/// `count` calls that have been polled once and sent.
fn waiting<'a>(scene: &mut Scene, queue: &'a Queue, count: usize) -> Vec<Pin<Box<Exchange<'a>>>> {
    let mut exchanges = Vec::new();
    for n in 0..count {
        scene.woken.push(Arc::default());
        let mut exchange = Box::pin(Exchange::new(queue, Operation::Stats));
        assert_eq!(scene.poll(n, exchange.as_mut()), None);
        exchanges.push(exchange);
    }
    let mut letters = Vec::new();
    queue.take(&mut letters, usize::MAX);
    for letter in letters {
        scene.tickets.push(letter.ticket);
        scene.mailbox = letter.mailbox;
    }
    exchanges
}

#[test]
fn one_call_is_woken_by_the_writer_and_wakes_the_others() {
    let (mut scene, queue) = (Scene::new(), Queue::default());
    let mut exchanges = waiting(&mut scene, &queue, 4);
    scene.deliver(0..4);
    assert_eq!(scene.times_woken(), [1, 0, 0, 0]);
    assert!(!scene.mailbox.is_sorted());
    assert_eq!(scene.poll(0, exchanges[0].as_mut()), Some(0));
    assert_eq!(scene.times_woken(), [1, 1, 1, 1]);
    assert!(scene.mailbox.is_sorted());
    for (n, exchange) in exchanges.iter_mut().enumerate().skip(1) {
        assert_eq!(scene.poll(n, exchange.as_mut()), Some(n as u64));
    }
}

#[test]
fn a_woken_call_that_is_dropped_wakes_the_others() {
    let (mut scene, queue) = (Scene::new(), Queue::default());
    let mut exchanges = waiting(&mut scene, &queue, 3);
    scene.deliver(0..3);
    drop(exchanges.remove(0));
    assert_eq!(scene.times_woken(), [1, 1, 1]);
    assert_eq!(scene.poll(1, exchanges[0].as_mut()), Some(1));
    assert_eq!(scene.poll(2, exchanges[1].as_mut()), Some(2));
}

#[test]
fn a_woken_call_that_is_neither_polled_nor_dropped_holds_nobody_up_for_long() {
    let (mut scene, queue) = (Scene::new(), Queue::default());
    let mut exchanges = waiting(&mut scene, &queue, 3);
    scene.deliver(0..2);
    assert_eq!(scene.times_woken(), [1, 0, 0]);
    // The next turn wakes one of its own, who sorts everything.
    scene.deliver(2..3);
    assert_eq!(scene.times_woken(), [1, 0, 1]);
    assert_eq!(scene.poll(2, exchanges[2].as_mut()), Some(2));
    assert_eq!(scene.times_woken(), [2, 1, 1]);
    assert_eq!(scene.poll(1, exchanges[1].as_mut()), Some(1));

    let (mut scene, queue) = (Scene::new(), Queue::default());
    let _exchanges = waiting(&mut scene, &queue, 2);
    scene.deliver(0..2);
    // Nor is a next turn needed.
    assert!(scene.mailbox.nudge());
    assert_eq!(scene.times_woken(), [2, 1]);
    assert!(!scene.mailbox.nudge());
}

#[test]
fn the_answer_to_a_dropped_call_does_not_reach_the_next_one_in_its_slot() {
    let (mut scene, queue) = (Scene::new(), Queue::default());
    drop(waiting(&mut scene, &queue, 1));
    let mut next = pin!(Exchange::new(&queue, Operation::Stats));
    scene.woken.push(Arc::default());
    assert_eq!(scene.poll(1, next.as_mut()), None);
    scene.deliver(0..1);
    assert_eq!(scene.poll(1, next.as_mut()), None);
    assert_eq!(scene.times_woken(), [0, 0]);
    let mut letters = Vec::new();
    queue.take(&mut letters, usize::MAX);
    scene.tickets.push(letters[0].ticket);
    scene.deliver(1..2);
    assert_eq!(scene.poll(1, next.as_mut()), Some(1));
}
