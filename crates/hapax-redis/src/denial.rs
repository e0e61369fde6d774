//! What an error at opening says of the configuration: what somebody must change is told with the mend,
//! and anything else may pass by itself.

use hapax::StoreError;
use redis::ErrorKind;

use crate::address::Host;
use crate::error::{OpenError, Outage};

/// The mends, one for each.
#[derive(Debug, Eq, PartialEq)]
enum Denial {
    /// It is a node of a cluster.
    Cluster,
    /// User and password, and what is wrong with them.
    Credentials(&'static str),
    /// The database.
    Database(String),
    /// The user's rights.
    Permission(String),
}

impl OpenError {
    /// Why the store at this address, with keys of this prefix, does not open.
    pub(crate) fn of(source: StoreError, address: &str, prefix: &str) -> Self {
        let address = address.to_owned();
        let outage = match &source {
            StoreError::Refused(_) => return Self::Refused { address },
            StoreError::Unavailable { source, .. } => source.downcast_ref::<Outage>(),
            _ => None,
        };
        let Some((host, denial)) = outage.and_then(Denial::of) else {
            return Self::Unavailable { address, source };
        };
        let server = host.to_string();
        match denial {
            Denial::Cluster => Self::Cluster {
                address,
                found: "a node of a cluster",
                scheme: "redis-cluster",
                server,
            },
            Denial::Credentials(reason) => Self::Credentials { address, reason, server },
            Denial::Database(reason) => Self::Database { address, reason, server },
            Denial::Permission(reason) => {
                Self::Permission { address, prefix: prefix.to_owned(), reason, server }
            }
        }
    }
}

impl Denial {
    fn of(outage: &Outage) -> Option<(&Host, Self)> {
        match outage {
            Outage::Connect { host, source } => {
                let denial = if source.kind() == ErrorKind::AuthenticationFailed {
                    Some(Self::Credentials(WRONG))
                } else if source.to_string().contains("refused to switch database") {
                    Some(Self::of_database(source.detail().unwrap_or_default()))
                } else {
                    None
                };
                denial.map(|denial| (host, denial))
            }
            Outage::Server { host, text } => Self::of_answer(text).map(|denial| (host, denial)),
            Outage::Lost { .. }
            | Outage::NoAnswer { .. }
            | Outage::NoConnection { .. }
            | Outage::NotOnDisk
            | Outage::Redirected
            | Outage::Replicas { .. }
            | Outage::Stranger { .. }
            | Outage::Unowned => None,
        }
    }

    /// What a server says that does not open a database; the library leaves the code away.
    fn of_database(text: &str) -> Self {
        if text.contains("cluster mode") {
            Self::Cluster
        } else if text.contains("permission") {
            Self::Permission(text.to_owned())
        } else {
            Self::Database(text.to_owned())
        }
    }

    /// What a server says to a command. Within a script, a right that is missing has words and no code.
    fn of_answer(text: &str) -> Option<Self> {
        if text.starts_with("NOAUTH ") {
            Some(Self::Credentials("asks for a password, and `store` names none"))
        } else if text.starts_with("WRONGPASS ") {
            Some(Self::Credentials(WRONG))
        } else if text.starts_with("NOPERM ")
            || text.contains("The user executing the script")
            || text.contains("ACL failure in script")
        {
            Some(Self::Permission(text.to_owned()))
        } else {
            None
        }
    }
}

const WRONG: &str = "refuses the user or the password of `store`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_known_by_the_words_of_every_version() {
        for text in [
            "NOPERM this user has no permissions to run the 'info' command",
            "ERR The user executing the script can't run this command or subcommand script: 1f, on \
             @user_script:9.",
            "ERR Error running script (call to f_1f): @user_script:9: The user executing the script \
             can't access at least one of the keys mentioned in the command arguments",
            "ERR ACL failure in script: User u has no permissions to run the 'hset' command script: \
             1f, on @user_script:9.",
        ] {
            assert_eq!(
                Denial::of_answer(text),
                Some(Denial::Permission(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_not_called_configuration() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "ERR max number of clients reached",
            "MISCONF Redis is configured to save RDB snapshots",
        ] {
            assert_eq!(Denial::of_answer(text), None, "{text}");
            let host = Host { name: "h".to_owned(), port: 1 };
            let source = StoreError::none(Outage::Server { host, text: text.to_owned() });
            let error = OpenError::of(source, "redis://h:1", "hapax");
            assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
        }
    }
}
