//! From a route's name to its place among the counters.

use std::collections::HashMap;
use std::sync::Arc;

/// Where requests of a route count that nobody announced.
const OTHER: &str = "(other)";

/// The routes, each name once, and one place for all others.
#[derive(Debug)]
pub(super) struct Routes {
    /// The addresses of the names as they were handed in, sorted; two may lead to one place. The
    /// `Arc`s are kept, so that no address can come to mean another name.
    by_address: Vec<(usize, usize, Arc<str>)>,
    by_name: HashMap<Arc<str>, usize>,
    names: Vec<Arc<str>>,
}

impl Routes {
    pub(super) fn new(routes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let (mut by_address, mut by_name) = (Vec::new(), HashMap::new());
        let mut names: Vec<Arc<str>> = Vec::new();
        for route in routes {
            let index = *by_name.entry(Arc::clone(&route)).or_insert(names.len());
            if index == names.len() {
                names.push(Arc::clone(&route));
            }
            by_address.push((address(&route), index, route));
        }
        by_address.sort_unstable_by_key(|(address, ..)| *address);
        names.push(OTHER.into());
        Self { by_address, by_name, names }
    }

    /// The place of `route`; the last one is for those that nobody announced.
    pub(super) fn index(&self, route: &Arc<str>) -> usize {
        let wanted = address(route);
        match self.by_address.binary_search_by_key(&wanted, |(address, ..)| *address) {
            Ok(found) => self.by_address[found].1,
            Err(_) => self.by_name.get(&**route).copied().unwrap_or(self.names.len() - 1),
        }
    }

    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

fn address(route: &Arc<str>) -> usize {
    Arc::as_ptr(route).cast::<u8>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_one_place_however_they_come() {
        let (a, again, b): (Arc<str>, Arc<str>, Arc<str>) = ("/a".into(), "/a".into(), "/b".into());
        let routes = Routes::new([Arc::clone(&a), Arc::clone(&again), Arc::clone(&b)]);
        assert_eq!(routes.len(), 3);
        assert_eq!((routes.index(&a), routes.index(&again), routes.index(&b)), (0, 0, 1));
        assert_eq!(routes.index(&"/b".into()), 1);
        assert_eq!(routes.index(&"/c".into()), 2);
        assert_eq!(&*routes.names()[2], "(other)");
    }
}
