//! The suite on the memory store, and on the stores that it must reject.
#![cfg(feature = "conformance")]

mod memory {
    hapax::store_conformance!(hapax::conformance::Memory);
}

#[test]
fn the_macro_names_every_case() {
    let tests = hapax::__conformance_cases! { __conformance_names () };
    assert_eq!(tests.as_slice(), hapax::conformance::names());
}

/// The mutants' store without a defect: it is the defects that the suite rejects.
mod sound {
    use hapax::conformance::mutants::Mutants;

    hapax::store_conformance!(Mutants { defect: None });
}

/// On one thread whose time is paused: what is lost is waited for in no time.
#[tokio::test(start_paused = true)]
async fn every_defect_is_rejected_by_its_case() {
    use hapax::conformance::mutants::{Defect, Mutants};
    use hapax::conformance::{Verdict, run};

    let mut accepted = Vec::new();
    for defect in Defect::ALL {
        let case = defect.rejected_by();
        match run(&Mutants { defect: Some(defect) }, case).await {
            Verdict::Failed(_) => println!("{defect:?} is rejected by {case}"),
            verdict => accepted.push((defect, case, verdict)),
        }
    }
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}

#[tokio::test]
async fn a_case_that_does_not_exist_fails() {
    use hapax::conformance::{Memory, Verdict, run};

    assert!(matches!(run(&Memory, "no_such_case").await, Verdict::Failed(_)));
}

/// A `Faulty` store without a plan is the store that it wraps.
mod unplanned {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use hapax::conformance::{Harness, Memory, Subject};
    use hapax::store::{Faulty, Store};

    struct Wrapping;

    struct Wrapped(Box<dyn Subject>);

    #[async_trait]
    impl Harness for Wrapping {
        async fn fresh(&self) -> Box<dyn Subject> {
            Box::new(Wrapped(Memory.fresh().await))
        }

        async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>> {
            let inner = Memory.fresh_with_records_max(records_max).await?;
            Some(Box::new(Wrapped(inner)))
        }
    }

    #[async_trait]
    impl Subject for Wrapped {
        fn store(&self) -> Arc<dyn Store> {
            Arc::new(Faulty::new(self.0.store()))
        }

        async fn another(&self) -> Option<Arc<dyn Store>> {
            Some(Arc::new(Faulty::new(self.0.store())))
        }

        async fn advance(&self, by: Duration) {
            self.0.advance(by).await;
        }

        async fn step_back(&self, by: Duration) -> bool {
            self.0.step_back(by).await
        }

        async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
            None
        }
    }

    hapax::store_conformance!(Wrapping);
}

/// The suite does not need time to stand still: here every look at the clock takes a while, as
/// every call of a server does.
mod drifting {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use hapax::conformance::{Harness, Subject};
    use hapax::store::Store;
    use hapax::{Clock, ManualClock, MemoryStore, Timestamp};

    const LOOK: Duration = Duration::from_micros(1_357);

    #[derive(Debug, Default)]
    struct Drifting(ManualClock);

    impl Clock for Drifting {
        fn now(&self) -> Timestamp {
            self.0.advance(LOOK);
            self.0.now()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    struct Drift;

    struct Drifted {
        clock: Arc<Drifting>,
        store: Arc<MemoryStore>,
    }

    fn subject(records_max: usize) -> Box<dyn Subject> {
        let clock = Arc::new(Drifting::default());
        let store = Arc::new(MemoryStore::with_clock(records_max, clock.clone()));
        Box::new(Drifted { clock, store })
    }

    #[async_trait]
    impl Harness for Drift {
        async fn fresh(&self) -> Box<dyn Subject> {
            subject(10_000)
        }

        async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>> {
            Some(subject(records_max))
        }
    }

    #[async_trait]
    impl Subject for Drifted {
        fn store(&self) -> Arc<dyn Store> {
            self.store.clone()
        }

        async fn another(&self) -> Option<Arc<dyn Store>> {
            None
        }

        async fn advance(&self, by: Duration) {
            self.clock.0.advance(by);
        }

        async fn step_back(&self, by: Duration) -> bool {
            self.clock.0.step_to(self.clock.now().minus(by));
            true
        }

        async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
            None
        }
    }

    hapax::store_conformance!(Drift);
}
