//! The observer's book: what somebody knows of a record who has seen all replies and nothing else,
//! and what promises that makes.

use super::*;

/// The observer's book.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Book {
    pub(super) attempts: u8,
    pub(super) claimed: i16,
    pub(super) fingerprint: u8,
    pub(super) holder: u8,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Outcome {
    Completed { status: u16, until: i16 },
    Released { until: i16 },
    Running { until: i16 },
    Unknown { since: i16 },
}

impl Book {
    /// Whether the record counts as absent.
    pub(super) fn is_over(&self, rules: Rules) -> bool {
        match self.outcome {
            Outcome::Completed { until, .. } | Outcome::Released { until } => until <= 0,
            Outcome::Running { until } => {
                rules.forgets_unknown && until <= 0 && until + UNKNOWN_RETENTION <= 0
            }
            Outcome::Unknown { since } => rules.forgets_unknown && since + UNKNOWN_RETENTION <= 0,
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.outcome, Outcome::Running { until } if until > 0)
    }

    /// Whether a new grant would break a promise.
    pub(super) fn forbids_grant(&self, rules: Rules, (attempt, fingerprint): (u8, u8)) -> bool {
        if self.is_over(rules) {
            return false;
        }
        // An attempt that is over never comes back, however late its claim is repeated.
        if self.fingerprint != fingerprint || self.runs() || self.holder == attempt {
            return true;
        }
        match self.outcome {
            Outcome::Completed { .. } => true,
            Outcome::Released { .. } => false,
            Outcome::Running { .. } | Outcome::Unknown { .. } => {
                let spent = u32::from(self.attempts) >= ATTEMPTS_MAX;
                !rules.reclaims || spent || self.claimed + CAP > 0
            }
        }
    }

    pub(super) fn shifted(mut self, rules: Rules, by: i16) -> Self {
        if rules.reclaims {
            self.claimed -= by;
        }
        match &mut self.outcome {
            Outcome::Completed { until, .. }
            | Outcome::Released { until }
            | Outcome::Running { until }
            | Outcome::Unknown { since: until } => *until -= by,
        }
        self
    }
}

pub(super) fn claimed(
    rules: Rules,
    book: Option<Book>,
    current: Option<&Record>,
    step: &Step<Claimed>,
    (attempt, fingerprint): (u8, u8),
) -> Result<Option<Book>, String> {
    let forbidden = book.is_some_and(|book| book.forbids_grant(rules, (attempt, fingerprint)));
    match (&step.reply, &step.put, book) {
        (Claimed::Granted(_), Some(_), _) if forbidden => Err("it is granted".to_owned()),
        (Claimed::Granted(lease), Some(_), _) => {
            if current.is_some_and(|current| lease.fence <= current.fence) {
                return Err("the fence does not grow".to_owned());
            }
            let before = book.filter(|book| !book.is_over(rules)).map_or(0, |book| book.attempts);
            let most = u8::try_from(ATTEMPTS_MAX).unwrap_or(u8::MAX) + 1;
            Ok(Some(Book {
                attempts: (before + 1).min(most),
                claimed: 0,
                fingerprint,
                holder: attempt,
                outcome: Outcome::Running { until: TERM },
            }))
        }
        (Claimed::Granted(lease), None, Some(book)) => {
            let own = book.runs() && book.holder == attempt && book.fingerprint == fingerprint;
            let same = current.is_some_and(|current| current.lease() == *lease);
            if own && same { Ok(Some(book)) } else { Err("another's lease is granted".to_owned()) }
        }
        (Claimed::Held(seen), None, Some(book)) => {
            let own = book.runs() && book.holder == attempt && book.fingerprint == fingerprint;
            if !forbidden || own {
                return Err("it is held for no reason".to_owned());
            }
            match (book.outcome, &seen.record.phase) {
                (Outcome::Completed { status, .. }, Phase::Completed { kept, .. })
                    if kept.status() == status =>
                {
                    Ok(Some(book))
                }
                (Outcome::Completed { .. }, _) => {
                    Err("it does not show the first answer".to_owned())
                }
                _ => Ok(Some(book)),
            }
        }
        (Claimed::Granted(_), None, None) | (Claimed::Held(_), _, _) => {
            Err("it does not fit".to_owned())
        }
    }
}

pub(super) fn renewed(
    rules: Rules,
    book: Option<Book>,
    step: &Step<Result<Lease, LeaseLost>>,
    attempt: u8,
) -> Result<Option<Book>, String> {
    let running = book.filter(|book| {
        let running = matches!(book.outcome, Outcome::Running { .. });
        running && book.holder == attempt && !book.is_over(rules)
    });
    match (&step.reply, running, &step.put) {
        (Ok(lease), Some(mut book), Some(_)) => {
            let Outcome::Running { until } = book.outcome else {
                return Err("it does not run".to_owned());
            };
            if relative(lease.until) != until.max(TERM) {
                return Err("the lease has another end".to_owned());
            }
            book.outcome = Outcome::Running { until: relative(lease.until) };
            Ok(Some(book))
        }
        (Err(_), None, None) => Ok(book),
        (reply, ..) => Err(format!("the renewal is answered {reply:?}")),
    }
}

pub(super) fn settled(
    rules: Rules,
    book: Option<Book>,
    step: &Step<Result<(), LeaseLost>>,
    attempt: u8,
    end: End,
    by: Settler,
) -> Result<Option<Book>, String> {
    let mine = book.filter(|book| book.holder == attempt && !book.is_over(rules));
    let Some(mut mine) = mine else {
        // Stale: it must be told so and change nothing.
        let stale = step.put.is_none() && step.reply.is_err();
        return if stale { Ok(book) } else { Err("a stale lease settles".to_owned()) };
    };
    if by == Settler::Operator && mine.runs() {
        let refused = step.put.is_none() && step.reply == Err(LeaseLost::Running);
        return if refused { Ok(book) } else { Err("an operator settles what runs".to_owned()) };
    }
    let open = match mine.outcome {
        Outcome::Running { .. } => true,
        Outcome::Unknown { .. } => end != End::Doubt,
        Outcome::Completed { .. } | Outcome::Released { .. } => false,
    };
    if open != step.put.is_some() {
        return Err("the first settlement does not stand".to_owned());
    }
    let repeats = matches!(
        (mine.outcome, end),
        (Outcome::Completed { .. }, End::Complete(_))
            | (Outcome::Released { .. }, End::Release)
            | (Outcome::Unknown { .. }, End::Doubt)
    );
    if (open || repeats) != step.reply.is_ok() {
        return Err(format!("it is answered {:?}", step.reply));
    }
    if open {
        mine.outcome = end.outcome();
    }
    Ok(Some(mine))
}
