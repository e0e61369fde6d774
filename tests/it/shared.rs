//! Many gateways on one store act as one, whatever becomes of them or of the store.

/// The same tests on each kind of shared store.
macro_rules! on_each_store {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[test] fn $test() { super::$test(hapax_tests::Shared::Postgres) })+
        }
        mod redis {
            $(#[test] fn $test() { super::$test(hapax_tests::Shared::Redis) })+
        }
        mod redis_cluster {
            $(#[test] fn $test() { super::$test(hapax_tests::Shared::RedisCluster) })+
        }
    };
}

mod campaign;
mod drain;
mod failover;
mod late;
mod lease;
mod once;
mod opening;
mod outage;
mod slots;
mod store_killed;
mod woken;
