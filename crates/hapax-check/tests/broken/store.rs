//! Records as files, changed under a lock that processes share: atomic, and durable against the
//! death of a process.

use std::fs::File;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Defect, Rules};

pub(crate) struct Store {
    folder: PathBuf,
    defect: Defect,
    memory: std::sync::Mutex<std::collections::HashMap<String, Value>>,
}

/// What a claim found.
#[derive(Debug)]
pub(crate) enum Claimed {
    Doubt,
    Freed,
    Granted { attempt: u64, number: u64 },
    Mismatch,
    NotRetained,
    Replay(Value),
    Running,
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Store {
    pub(crate) fn open(folder: PathBuf, defect: Defect) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, defect, memory: std::sync::Mutex::default() }
    }

    /// Changes one record while nobody else can.
    fn change<T>(&self, id: &str, step: impl FnOnce(Option<Value>) -> (Option<Value>, T)) -> T {
        let guard = File::create(self.folder.join("guard")).unwrap();
        guard.lock().unwrap();
        let (put, reply) = step(self.read(id));
        if let Some(record) = put {
            self.write(id, record);
        }
        reply
    }

    fn read(&self, id: &str) -> Option<Value> {
        if let Some(record) = self.memory.lock().unwrap().get(id) {
            return Some(record.clone());
        }
        let text = std::fs::read(self.folder.join(id)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn write(&self, id: &str, record: Value) {
        let open = record["state"] == "running";
        let volatile = match self.defect {
            Defect::ClaimInMemory => open,
            Defect::ResultInMemory => !open,
            _ => false,
        };
        if volatile {
            self.memory.lock().unwrap().insert(id.to_owned(), record);
            return;
        }
        self.memory.lock().unwrap().remove(id);
        let path = self.folder.join(id);
        let fresh = self.folder.join(format!("{id}.fresh"));
        std::fs::write(&fresh, record.to_string()).unwrap();
        std::fs::rename(fresh, path).unwrap();
    }

    /// Who has `waited` for an owner is not to run what that owner freed.
    pub(crate) fn claim(&self, id: &str, print: &str, rules: &Rules, waited: bool) -> Claimed {
        if self.defect == Defect::CheckThenAct {
            let seen = self.change(id, |record| (None, record));
            // Long enough that simultaneous requests meet here even on a busy machine.
            std::thread::sleep(std::time::Duration::from_millis(150));
            if seen.is_none() {
                return self.change(id, |_| self.grant(None, print, rules));
            }
        }
        self.change(id, |record| match record {
            Some(record) if waited && record["state"] == "released" => (None, Claimed::Freed),
            record => self.decide(record, print, rules),
        })
    }

    fn decide(
        &self,
        record: Option<Value>,
        print: &str,
        rules: &Rules,
    ) -> (Option<Value>, Claimed) {
        let Some(record) = record else { return self.grant(None, print, rules) };
        let now = now_ms();
        let state = record["state"].as_str().unwrap();
        let settled = matches!(state, "done" | "large" | "released")
            || (state == "doubt" && self.defect == Defect::DoubtExpires)
            || (state == "running" && self.defect == Defect::ExpiresRunning);
        let expired = settled && record["expires"].as_u64().unwrap() <= now;
        let differs = record["print"] != print && self.defect != Defect::NoFingerprint;
        if expired && !(differs && self.defect == Defect::DeadRecordRefuses) {
            return self.grant(None, print, rules);
        }
        if differs && !(state == "running" && self.defect == Defect::MismatchWaits) {
            let poisoned = self.defect == Defect::MismatchPoisons && state == "done";
            let mut changed = record;
            changed["print"] = json!(print);
            return (poisoned.then_some(changed), Claimed::Mismatch);
        }
        match state {
            "released" => self.grant(Some(&record), print, rules),
            "done" => (None, Claimed::Replay(record)),
            "large" => (None, Claimed::NotRetained),
            "running" if record["until"].as_u64().unwrap() > now => (None, Claimed::Running),
            _ => self.doubtful(record, print, rules, now),
        }
    }

    fn doubtful(
        &self,
        record: Value,
        print: &str,
        rules: &Rules,
        now: u64,
    ) -> (Option<Value>, Claimed) {
        let since = record["until"].as_u64().unwrap();
        let again = rules.re_execute && record["number"].as_u64().unwrap() < 2;
        if again && now > since + rules.late_ms {
            return self.grant(Some(&record), print, rules);
        }
        if again {
            return (None, Claimed::Running);
        }
        (None, Claimed::Doubt)
    }

    pub(crate) fn renew(&self, id: &str, attempt: u64, lease_ms: u64) {
        self.change(id, |record| match record {
            Some(mut record) if record["attempt"] == attempt && record["state"] == "running" => {
                record["until"] = json!(now_ms() + lease_ms);
                (Some(record), ())
            }
            _ => (None, ()),
        });
    }

    /// Has the conflict kept as the result once the owner settles.
    pub(crate) fn keep_conflict(&self, id: &str) {
        self.change(id, |record| {
            let mut record = record.unwrap();
            record["conflict"] = json!(true);
            (Some(record), ())
        });
    }

    /// Settles an attempt: only its own record, and never one that has a result.
    pub(crate) fn settle(&self, id: &str, attempt: u64, with: Value, rules: &Rules) {
        self.change(id, |record| {
            let Some(record) = record else { return (None, ()) };
            let state = record["state"].as_str().unwrap().to_owned();
            let own = record["attempt"] == attempt && matches!(&*state, "running" | "doubt");
            if !own && self.defect != Defect::NoFence {
                return (None, ());
            }
            let mut settled = record;
            let conflict = json!({"state": "done", "status": 409, "fields": [], "body": ""});
            let with = if settled["conflict"] == true { conflict } else { with };
            for (name, value) in with.as_object().unwrap() {
                settled[name] = value.clone();
            }
            settled["until"] = json!(now_ms());
            let advertised =
                with["expires"].as_u64().unwrap_or_else(|| now_ms() + rules.retention_ms);
            settled["expires"] = json!(match self.defect {
                Defect::ExpiresEarly => advertised - rules.retention_ms / 2,
                Defect::KeepsTooLong => advertised + rules.retention_ms * 2,
                _ => advertised,
            });
            (Some(settled), ())
        });
    }

    fn grant(
        &self,
        before: Option<&Value>,
        print: &str,
        rules: &Rules,
    ) -> (Option<Value>, Claimed) {
        let attempt = uuid::Uuid::new_v4().as_u128() as u64;
        let released = before.is_some_and(|record| record["state"] == "released");
        let number = match before {
            Some(record) if !released => record["number"].as_u64().unwrap() + 1,
            _ => 1,
        };
        let term = match self.defect {
            Defect::LeaseIsRetention => rules.retention_ms,
            _ => rules.lease_ms,
        };
        let record = json!({
            "state": "running",
            "print": print,
            "attempt": attempt,
            "number": number,
            "until": now_ms() + term,
            "expires": now_ms() + rules.retention_ms,
        });
        (Some(record), Claimed::Granted { attempt, number })
    }
}
