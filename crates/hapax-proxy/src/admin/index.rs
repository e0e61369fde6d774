//! What `/` says: where everything is.

/// A list of the endpoints, the same for everybody.
pub(super) async fn page() -> &'static str {
    "Hapax, administration\n\
     \n\
     GET    /livez                       the process answers\n\
     GET    /readyz                      the data port accepts and the store answers\n\
     GET    /metrics                     numbers for Prometheus\n\
     GET    /api/records                 records; ?state= ?scope= ?cursor= ?limit=\n\
     GET    /api/records/{id}            one record and its history; ?body=true\n\
     POST   /api/records/find            the record of a key, by what its caller sent\n\
     POST   /api/records/{id}/settle     say how an operation in doubt ended\n\
     DELETE /api/records/{id}            forget a record; ?force=true ?reason=\n\
     GET    /api/stats                   the numbers as JSON\n\
     GET    /api/events                  what happens, as it happens\n\
     GET    /api/audit                   what operators decided; ?limit=\n"
}
