//! Round trips, golden files and damage.

use proptest::prelude::*;

use super::*;
use crate::machine;

fn record(phase: Phase) -> Record {
    let at = |micros: u64| Timestamp::from_micros(1_767_225_600_000_000 + micros);
    Record {
        attempt: AttemptId::from_bytes([7; 16]),
        attempts: 2,
        claimed_at: at(5),
        created_at: at(1),
        expires_at: Some(at(9)),
        fence: Fence::new(1_767_225_600_000_005),
        fingerprint: Fingerprint::from_parts(1, [3; 32]),
        history: History::from_entries([
            Entry { at: at(1), attempt: 1, what: What::Claimed },
            Entry { at: at(2), attempt: 1, what: What::Doubted { cause: Cause::TimedOut } },
            Entry {
                at: at(3),
                attempt: 1,
                what: What::Released { by: Settler::Operator, status: Some(503) },
            },
            Entry {
                at: at(5),
                attempt: 2,
                what: What::Completed { by: Settler::Owner, status: 201 },
            },
        ]),
        id: RecordId::from_bytes([9; 32]),
        on_lapse: OnLapse::Reclaim { after: Duration::from_secs(60), attempts_max: 2 },
        phase,
        route: "/v1/**".into(),
        unknown_retention: Some(Duration::from_secs(7)),
    }
}

fn phases() -> Vec<(&'static str, Phase)> {
    let at = Timestamp::from_micros(1_767_225_600_000_006);
    let response = RecordedResponse {
        body: Bytes::from_static(b"\0\xffbinary"),
        headers: vec![Field::new("link", "<a>, <b>"), Field::new("link", "<c>")],
        status: 201,
        trailers: vec![Field::new("digest", "x")],
    };
    vec![
        ("completed", Phase::Completed { at, kept: Kept::Response(response) }),
        (
            "not-retained",
            Phase::Completed {
                at,
                kept: Kept::NotRetained { location: Some("/x".into()), status: 200 },
            },
        ),
        ("in-doubt", Phase::InDoubt { cause: Cause::Lost, progress: Some("p".into()), since: at }),
        ("in-progress", Phase::InProgress { progress: None, rerun_of: Some(500), until: at }),
        ("released", Phase::Released { at, status: None }),
    ]
}

#[test]
fn every_phase_survives_a_round_trip() {
    for (name, phase) in phases() {
        let record = record(phase);
        assert_eq!(decode(record.id, encode(&record).into()), Ok(record), "{name}");
    }
}

/// Files of released versions stay for ever: a change that breaks this test needs a new version.
#[test]
fn golden_files_of_version_1_are_read_and_written() {
    let golden = include_str!("golden-v1.txt");
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    for (name, phase) in phases() {
        let record = record(phase);
        let line = format!("{name} {}", crate::hex::encode(&encode(&record)));
        assert_eq!(lines.next(), Some(line.as_str()));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn damage_is_told_and_never_panics() {
    for (_, phase) in phases() {
        let whole = encode(&record(phase));
        for end in 0..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..end]);
            assert!(decode(RecordId::from_bytes([9; 32]), cut).is_err());
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(decode(RecordId::from_bytes([9; 32]), longer.into()), Err(CodecError::Long));
        let mut newer = whole;
        newer[0] = 2;
        assert_eq!(
            decode(RecordId::from_bytes([9; 32]), newer.into()),
            Err(CodecError::Version(2))
        );
    }
}

#[test]
fn a_first_claim_is_small_on_disk() {
    let claim = machine::Claim {
        attempt: AttemptId::from_bytes([1; 16]),
        fingerprint: Fingerprint::of(b""),
        id: RecordId::from_bytes([0; 32]),
        on_lapse: OnLapse::Doubt,
        route: "default".into(),
        term: Duration::from_secs(10),
        transactional: None,
        unknown_retention: None,
    };
    let step = machine::claim(None, &claim, Timestamp::from_micros(1));
    assert!(encode(&step.put.unwrap()).len() < 160);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = CODEC_VERSION;
        }
        if let Ok(record) = decode(RecordId::from_bytes([0; 32]), bytes.clone().into()) {
            prop_assert_eq!(decode(record.id, encode(&record).into()), Ok(record));
        }
    }
}
