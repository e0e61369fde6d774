//! The defects that can be switched on in the layer.

/// What is wrong with the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The admin port's paths answer on the data port.
    AdminOnData,
    /// A multipart boundary is part of the fingerprint.
    BoundaryCounts,
    /// Unprotected traffic is collected before it is passed on.
    BuffersStreams,
    /// Two steps instead of one: look whether the key is there, then claim it.
    CheckThenAct,
    /// Nothing is persisted before the request is sent.
    ClaimInMemory,
    /// JSON is compared by meaning although nobody asked for it.
    ComparesJson,
    /// A mismatch is 409, which is a choice and no defect in the core.
    ConflictForMismatch,
    /// A chunked request differs from one with a length.
    CountsFraming,
    /// Parameters of the key are part of it.
    CountsParameters,
    /// The User-Agent is part of the fingerprint.
    CountsUserAgent,
    /// Keys are cut to 64 characters.
    CutKeys,
    /// A dead record still refuses other payloads.
    DeadRecordRefuses,
    /// SIGTERM ends the process at once.
    DiesOnTerm,
    /// A key in doubt expires like a result.
    DoubtExpires,
    /// Date is made anew and Age is left out.
    DropsDate,
    /// Results are kept for half their time.
    ExpiresEarly,
    /// A running request expires like a result.
    ExpiresRunning,
    /// Of two keys the first one is taken.
    FirstKeyWins,
    /// Keys are compared without their case.
    FoldsCase,
    /// Redirects are followed.
    FollowsRedirects,
    /// 502 and 504 free the key.
    FreesBadGateway,
    /// Client errors free the key.
    FreesClientErrors,
    /// The key is freed when the client hangs up.
    FreesOnHangUp,
    /// Connection may list the key's field.
    HidesKey,
    /// Anonymous callers are one caller.
    IgnoresCookie,
    /// The host is not part of the key's identity.
    IgnoresHost,
    /// The media type is not compared.
    IgnoresMediaType,
    /// The method is not compared.
    IgnoresMethod,
    /// The query is not compared.
    IgnoresQuery,
    /// Lines of a field are joined by commas.
    JoinsLines,
    /// Caller and key are joined by a colon.
    JoinsScope,
    /// If-None-Match and Range are judged on replays.
    JudgesConditions,
    /// The answer to a duplicate in flight is kept as the result.
    KeepsConflict,
    /// Fields of the connection are passed on.
    KeepsHopByHop,
    /// The record is written after the client has its answer.
    KeepsLate,
    /// 401, 429 and their like are kept.
    KeepsRefusals,
    /// 500 is kept.
    KeepsServerErrors,
    /// Results are kept for three times their time.
    KeepsTooLong,
    /// What was cut is kept as if it were whole.
    KeepsTruncated,
    /// Requests without a key share one.
    KeylessKept,
    /// A claim lasts as long as a result: a crash wedges the key.
    LeaseIsRetention,
    /// Keys are logged.
    LogsKeys,
    /// Idempotency-Expires is left out.
    LosesExpires,
    /// Only status, content and Content-Type are replayed.
    LosesFields,
    /// The key is not forwarded.
    LosesKey,
    /// Replays are always 200.
    LosesStatus,
    /// Malformed keys run unprotected.
    MalformedRuns,
    /// Trailers become fields.
    MergesTrailers,
    /// A mismatch replaces the record.
    MismatchPoisons,
    /// A mismatch is told only once the owner is through.
    MismatchWaits,
    /// A paused owner overwrites what another has settled.
    NoFence,
    /// The body is not compared.
    NoFingerprint,
    /// The body limit is ignored.
    NoLimit,
    /// No policy is published.
    NoPolicy,
    /// The claim is not renewed.
    NoRenewal,
    /// Nothing is wrong.
    None,
    /// A lost answer frees the key.
    LostFrees,
    /// Bytes are passed on as they come: no layer at all.
    Passthrough,
    /// Bare keys are refused where they are allowed.
    QuotedOnly,
    /// Answers show whether anyone has used the key.
    TellsStrangers,
    /// What was cut reaches the first client as if it were whole.
    PassesTruncated,
    /// Errors are plain text.
    PlainErrors,
    /// Every method is protected.
    ProtectsAll,
    /// Quoted and bare keys differ.
    QuotedDiffers,
    /// The body is read before the key is judged.
    ReadsFirst,
    /// Set-Cookie is replayed.
    ReplaysCookies,
    /// Fields about the first exchange are replayed.
    ReplaysExchange,
    /// A result over the limit is not kept, and the key is freed.
    RerunsOversized,
    /// A lost answer is asked for again.
    Resends,
    /// Results are not persisted.
    ResultInMemory,
    /// One request runs at a time.
    SerialKeys,
    /// Contents go through a text type.
    TextBodies,
    /// A time-out frees the key.
    TimeoutFrees,
    /// Whitespace inside the quotes is dropped.
    TrimsKeys,
    /// An unverified claim of a token is the caller.
    TrustsClaims,
    /// The client's X-Forwarded-For is passed on.
    TrustsForwarded,
    /// Replays carry no mark.
    Unmarked,
    /// The caller is not part of the key's identity.
    Unscoped,
    /// Waiters do not share a failure.
    WaitersRerun,
    /// Duplicates wait without a limit.
    WaitsForEver,
    /// gzip is kept and replayed to everyone.
    ZipsForAll,
}

impl Defect {
    pub(crate) const ALL: &[Self] = &[
        Self::AdminOnData,
        Self::BoundaryCounts,
        Self::BuffersStreams,
        Self::CheckThenAct,
        Self::ClaimInMemory,
        Self::ComparesJson,
        Self::ConflictForMismatch,
        Self::CountsFraming,
        Self::CountsParameters,
        Self::CountsUserAgent,
        Self::CutKeys,
        Self::DeadRecordRefuses,
        Self::DiesOnTerm,
        Self::DoubtExpires,
        Self::DropsDate,
        Self::ExpiresEarly,
        Self::ExpiresRunning,
        Self::FirstKeyWins,
        Self::FoldsCase,
        Self::FollowsRedirects,
        Self::FreesBadGateway,
        Self::FreesClientErrors,
        Self::FreesOnHangUp,
        Self::HidesKey,
        Self::IgnoresCookie,
        Self::IgnoresHost,
        Self::IgnoresMediaType,
        Self::IgnoresMethod,
        Self::IgnoresQuery,
        Self::JoinsLines,
        Self::JoinsScope,
        Self::JudgesConditions,
        Self::KeepsConflict,
        Self::KeepsHopByHop,
        Self::KeepsLate,
        Self::KeepsRefusals,
        Self::KeepsServerErrors,
        Self::KeepsTooLong,
        Self::KeepsTruncated,
        Self::KeylessKept,
        Self::LeaseIsRetention,
        Self::LogsKeys,
        Self::LosesExpires,
        Self::LosesFields,
        Self::LosesKey,
        Self::LosesStatus,
        Self::MalformedRuns,
        Self::MergesTrailers,
        Self::MismatchPoisons,
        Self::MismatchWaits,
        Self::NoFence,
        Self::NoFingerprint,
        Self::NoLimit,
        Self::NoPolicy,
        Self::NoRenewal,
        Self::None,
        Self::LostFrees,
        Self::Passthrough,
        Self::QuotedOnly,
        Self::TellsStrangers,
        Self::PassesTruncated,
        Self::PlainErrors,
        Self::ProtectsAll,
        Self::QuotedDiffers,
        Self::ReadsFirst,
        Self::ReplaysCookies,
        Self::ReplaysExchange,
        Self::RerunsOversized,
        Self::Resends,
        Self::ResultInMemory,
        Self::SerialKeys,
        Self::TextBodies,
        Self::TimeoutFrees,
        Self::TrimsKeys,
        Self::TrustsClaims,
        Self::TrustsForwarded,
        Self::Unmarked,
        Self::Unscoped,
        Self::WaitersRerun,
        Self::WaitsForEver,
        Self::ZipsForAll,
    ];

    pub(crate) fn named(name: &str) -> Self {
        *Self::ALL.iter().find(|defect| format!("{defect:?}") == name).expect("a defect")
    }
}
