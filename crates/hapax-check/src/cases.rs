//! Every case, filed by the sections of the requirement table.

use crate::case::Case;

mod api_answers;
mod api_keys;
mod api_timing;
mod con_duplicates;
mod dbt_unknown;
mod exe_crash;
mod exe_first;
mod exe_hang_up;
mod fai_statuses;
mod fpr_content;
mod fpr_transport;
mod htp_early;
mod htp_messages;
mod htp_streams;
mod key_applicability;
mod key_malformed;
mod key_syntax;
mod optional;
mod rep_answers;
mod rep_fields;
mod sco_callers;
mod sec_secrets;
mod ttl_expiry;

/// Every case of both modes, in filing order.
pub fn all() -> Vec<Case> {
    [
        exe_first::CASES,
        rep_answers::CASES,
        key_syntax::CASES,
        key_malformed::CASES,
        key_applicability::CASES,
        sco_callers::CASES,
        fpr_content::CASES,
        fpr_transport::CASES,
        exe_hang_up::CASES,
        exe_crash::CASES,
        con_duplicates::CASES,
        rep_fields::CASES,
        fai_statuses::CASES,
        dbt_unknown::CASES,
        ttl_expiry::CASES,
        htp_messages::CASES,
        htp_early::CASES,
        htp_streams::CASES,
        sec_secrets::CASES,
        optional::CASES,
        api_keys::CASES,
        api_answers::CASES,
        api_timing::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Kind, section_title};

    #[test]
    fn every_case_is_complete_and_unique() {
        let cases = all();
        for (at, case) in cases.iter().enumerate() {
            assert!(cases[at + 1..].iter().all(|other| other.id != case.id), "{} twice", case.id);
            assert!(case.requirement.ends_with('.'), "{}", case.id);
            assert!(case.why.ends_with('.'), "{}", case.id);
            assert!(!case.source.is_empty(), "{}", case.id);
            assert_ne!(section_title(case.section()), "other", "{}", case.id);
            assert_eq!(case.mode() == "api", case.requests_max > 0, "{}", case.id);
        }
    }

    #[test]
    fn dependencies_exist_and_can_come_first() {
        let cases = all();
        for case in &cases {
            for id in case.after {
                let other = cases.iter().find(|other| other.id == *id);
                let other = other.unwrap_or_else(|| panic!("{} depends on {id}", case.id));
                assert!(case.alone || !other.alone, "{} runs before {id}", case.id);
                assert_eq!(case.mode(), other.mode(), "{} and {id}", case.id);
                let binding = |kind| kind != Kind::Optional;
                assert!(!binding(case.kind) || binding(other.kind), "{} and {id}", case.id);
            }
        }
    }

    #[test]
    fn there_are_at_least_ninety_cases() {
        assert!(all().len() >= 90, "{} cases", all().len());
    }
}
