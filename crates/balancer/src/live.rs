//! The routes in force, and what is known about them at run time. They are replaced as a whole; a request keeps those
//! that it began with.

use std::sync::Arc;

use crate::routes::{RouteTable, ServiceNames};
use crate::service::Service;
use crate::stats::RouteStats;

/// One state of the routes file.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) table: RouteTable,
    /// As in the table.
    pub(crate) services: Vec<Arc<Service>>,
    /// As in the table.
    pub(crate) stats: Vec<Arc<RouteStats>>,
}

impl Live {
    /// The first ones of a process.
    pub(crate) fn first(table: RouteTable) -> Self {
        Self {
            services: table.services.iter().map(new_service).collect(),
            stats: table.routes.iter().map(|_| Arc::default()).collect(),
            table,
        }
    }

    /// Services and routes that stay, by their names, keep what is known about them.
    pub(crate) fn next(&self, table: RouteTable) -> Self {
        let services = table.services.iter().map(|names| {
            let known = self.services.iter().find(|service| service.name == names.name);
            known.cloned().unwrap_or_else(|| new_service(names))
        });
        let stats = table.routes.iter().map(|route| {
            let known = self.table.routes.iter().position(|known| known.name == route.name);
            known.map_or_else(Arc::default, |index| self.stats[index].clone())
        });
        Self {
            services: services.collect(),
            stats: stats.collect(),
            table,
        }
    }
}

fn new_service(names: &ServiceNames) -> Arc<Service> {
    Arc::new(Service::new(names.name.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn table(services: &[&str], prefixes: &[&str]) -> RouteTable {
        let services = services
            .iter()
            .map(|name| format!("[[service]]\nname = {name:?}\naddresses = [\"127.0.0.1:1\"]\n"));
        let routes = prefixes
            .iter()
            .map(|prefix| format!("[[route]]\nprefix = {prefix:?}\nservice = \"a\"\n"));
        RouteTable::parse(&services.chain(routes).collect::<String>()).expect("sound routes")
    }

    #[test]
    fn what_stays_keeps_its_history() {
        let before = Live::first(table(&["a", "b"], &["/", "/cart"]));
        for stats in &before.stats {
            stats.record(200, Duration::from_millis(1));
        }
        let after = before.next(table(&["c", "a"], &["/", "/orders", "/cart"]));
        assert!(Arc::ptr_eq(&after.services[1], &before.services[0]));
        assert_eq!(after.services[0].name, "c");
        let stats_of = |live: &Live, prefix: &str| {
            let index = live.table.routes.iter().position(|route| route.prefix == prefix);
            live.stats[index.expect("a route")].clone()
        };
        assert!(Arc::ptr_eq(&stats_of(&after, "/cart"), &stats_of(&before, "/cart")));
        assert!(!Arc::ptr_eq(&stats_of(&after, "/orders"), &stats_of(&before, "/")));
    }
}
