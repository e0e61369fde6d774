//! Counts tests over all runners, from what each of them prints.

/// How many tests passed and failed, and the names of what failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Counts one check that is not a test of some runner.
    pub(crate) fn one(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    /// Adds what a runner printed. A runner that failed without naming a failed test (it did not
    /// compile, it was ended) counts as one failure under the name `runner`.
    pub(crate) fn add(&mut self, runner: &str, found: &Self, success: bool, how: &str) {
        self.passed += found.passed;
        self.failed += found.failed;
        self.failures.extend_from_slice(&found.failures);
        if !success && found.failed == 0 {
            self.failed += 1;
            self.failures.push(format!("{runner}: {how}"));
        }
    }

    /// The line that ends a run.
    pub(crate) fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// Reads what `cargo test` prints: one `test result:` line per binary or crate.
pub(crate) fn of_cargo_test(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for line in lines {
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += count_before(counts, "passed");
            tally.failed += count_before(counts, "failed");
        } else if let Some(name) = line.strip_prefix("test ")
            && let Some(name) = name.strip_suffix(" ... FAILED")
        {
            tally.failures.push(name.to_owned());
        }
    }
    tally
}

/// Reads what nextest prints: one `Summary` line, and one line per failed test.
pub(crate) fn of_nextest(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for line in lines.iter().map(|line| line.trim_start()) {
        if line.starts_with("Summary [") {
            // "5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped". Whatever ran
            // and did not pass has failed, under whichever name.
            let run = count_before(line, "tests run").max(count_before(line, "test run"));
            let passed = count_before(line, "passed");
            tally.passed += passed;
            tally.failed += run.saturating_sub(passed);
        } else if let Some(name) = failed_in_nextest(line)
            && !tally.failures.iter().any(|known| known == name)
        {
            tally.failures.push(name.to_owned());
        }
    }
    tally
}

/// The name on a line such as `FAIL [   0.005s] (3/5) hapax machine::tests::name`.
fn failed_in_nextest(line: &str) -> Option<&str> {
    let (kind, rest) = line.split_once(" [")?;
    let failed = ["ABORT", "FAIL", "LEAK-FAIL", "SIG", "TIMEOUT", "XFAIL"];
    if !failed.iter().any(|prefix| kind.starts_with(prefix)) {
        return None;
    }
    let name = rest.split_once(']')?.1.trim_start();
    // The position in the run is not part of the name.
    let name = match name.strip_prefix('(') {
        Some(counted) => counted.split_once(')')?.1.trim_start(),
        None => name,
    };
    Some(name)
}

/// The number that stands before `word`, or 0.
fn count_before(text: &str, word: &str) -> u64 {
    text.match_indices(word)
        .find_map(|(at, _)| {
            text[..at].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn cargo_test_counts_are_summed_over_binaries() {
        let tally = of_cargo_test(&lines(
            "running 3 tests\n\
             test a::one ... ok\n\
             test a::two ... FAILED\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ));
        assert_eq!((tally.passed, tally.failed), (42, 1));
        assert_eq!(tally.failures, ["a::two"]);
    }

    #[test]
    fn nextest_counts_whatever_did_not_pass_as_failed() {
        let tally = of_nextest(&lines(
            "        PASS [   0.004s] (1/6) hapax key::tests::one\n\
             \x20       FAIL [   0.005s] (2/6) hapax key::tests::two\n\
             \x20    TIMEOUT [  60.005s] (3/6) hapax key::tests::three\n\
             \x20    SIGKILL [   0.005s] (4/6) hapax key::tests::four\n\
             \x20    Summary [  60.005s] 6 tests run: 3 passed (1 slow), 2 failed, 1 timed out, 7 skipped\n\
             \x20       FAIL [   0.005s] (2/6) hapax key::tests::two",
        ));
        assert_eq!((tally.passed, tally.failed), (3, 3));
        let names = ["hapax key::tests::two", "hapax key::tests::three", "hapax key::tests::four"];
        assert_eq!(tally.failures, names);
    }

    #[test]
    fn nextest_with_a_single_test_is_counted() {
        let tally = of_nextest(&lines("     Summary [   0.1s] 1 test run: 1 passed, 0 skipped"));
        assert_eq!((tally.passed, tally.failed), (1, 0));
    }

    #[test]
    fn a_runner_that_fails_without_a_count_is_one_failure() {
        let mut tally = Tally::default();
        tally.add("build", &Tally::default(), false, "ended with exit status: 101");
        assert_eq!(tally.summary(), "0 passed, 1 failed");
        assert_eq!(tally.failures, ["build: ended with exit status: 101"]);
    }

    #[test]
    fn a_runner_that_names_its_failures_is_not_counted_twice() {
        let mut tally = Tally::default();
        let found = Tally { passed: 1, failed: 2, failures: vec!["a".into(), "b".into()] };
        tally.add("tests", &found, false, "ended with exit status: 100");
        assert_eq!(tally.summary(), "1 passed, 2 failed");
    }
}
