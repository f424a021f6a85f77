use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use shop_db::{Cluster, DbError, Freshness, ReadConn, Shards, slot_of};

use crate::queries::orders::OrderRow;
use crate::queries::{orders, payments, reservations, stock};
use crate::{Check, Report, rules};

/// Rows read at once.
const PAGE: i64 = 2_000;

/// The three databases; the audit only reads.
pub struct Databases {
    pub users: Shards,
    pub inventory: Cluster,
    pub payments: Cluster,
}

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long an order may stay in one state that is not final.
    pub in_flight_max: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the database of {of} can't be read")]
    Db { of: &'static str, source: DbError },
}

/// What is wrong with a row's state, given the state of its order.
type OrderRule = fn(&str, Option<&str>) -> Option<String>;

/// Names the database that failed.
trait Of<T> {
    fn of(self, of: &'static str) -> Result<T, AuditError>;
}

impl<T> Of<T> for Result<T, DbError> {
    fn of(self, of: &'static str) -> Result<T, AuditError> {
        self.map_err(|source| AuditError::Db { of, source })
    }
}

/// Orders by state, over all clusters.
pub async fn counts(databases: &Databases) -> Result<BTreeMap<String, i64>, AuditError> {
    let mut all = BTreeMap::new();
    for cluster in databases.users.clusters() {
        for (state, count) in order_counts(cluster).await? {
            *all.entry(state).or_default() += count;
        }
    }
    Ok(all)
}

async fn order_counts(cluster: &Cluster) -> Result<Vec<(String, i64)>, AuditError> {
    let counts = cluster.reading(
        Freshness::Primary,
        async |mut conn| Ok(orders::counts(&mut conn).await?),
    );
    counts.await.of("users")
}

/// Those of some orders that are not confirmed, or not there at all.
pub async fn unconfirmed(databases: &Databases, order_ids: &[i64]) -> Result<BTreeSet<i64>, AuditError> {
    let mut unconfirmed: BTreeSet<i64> = order_ids.iter().copied().collect();
    for page in order_ids.chunks(PAGE as usize) {
        for cluster in databases.users.clusters() {
            let read = cluster.reading(Freshness::Primary, async |mut conn| {
                Ok(orders::states(&mut conn, page).await?)
            });
            for (order_id, state, _) in read.await.of("users")? {
                if state == "confirmed" {
                    unconfirmed.remove(&order_id);
                }
            }
        }
    }
    Ok(unconfirmed)
}

/// Runs every check.
pub async fn audit(databases: &Databases, options: Options) -> Result<Report, AuditError> {
    let orders = counts(databases).await?;
    let [at_rest, in_flight, placement] = check_orders(databases, options).await?;
    let checks = vec![
        check_stock(databases).await?,
        at_rest,
        in_flight,
        check_keys(databases).await?,
        placement,
        check_reservations(databases).await?,
        check_payments(databases).await?,
    ];
    Ok(Report { orders, checks })
}

async fn check_stock(databases: &Databases) -> Result<Check, AuditError> {
    let mut check = Check::new("stock adds up");
    let read = databases.inventory.reading(Freshness::Primary, async |mut conn| {
        let count = stock::count(&mut conn).await?;
        Ok((count, stock::mismatches(&mut conn).await?))
    });
    let (count, mismatches) = read.await.of("inventory")?;
    check.checked = count.unsigned_abs();
    for row in mismatches {
        check.offends(format!(
            "product {}: initial {} = available {} + reserved {} (orders: {}) + sold {} (orders: {})",
            row.product_id,
            row.initial,
            row.available,
            row.reserved,
            row.reserved_by_orders,
            row.sold,
            row.sold_by_orders
        ));
    }
    Ok(check)
}

async fn check_keys(databases: &Databases) -> Result<Check, AuditError> {
    let mut check = Check::new("one order a key");
    for cluster in databases.users.clusters() {
        let counts = order_counts(cluster).await?;
        check.checked += counts.iter().map(|(_, n)| n.unsigned_abs()).sum::<u64>();
        let doubled = cluster.reading(Freshness::Primary, async |mut conn| {
            Ok(orders::doubled_keys(&mut conn, PAGE).await?)
        });
        for (user_id, key, count) in doubled.await.of("users")? {
            check.offends(format!("user {user_id}: the key {key} has {count} orders"));
        }
    }
    Ok(check)
}

/// Every order against the other two databases.
async fn check_orders(databases: &Databases, options: Options) -> Result<[Check; 3], AuditError> {
    let mut at_rest = Check::new("orders at rest agree");
    let mut in_flight = Check::new("orders in flight move on");
    let mut placement = Check::new("orders lie in their slot");
    for cluster in databases.users.clusters() {
        let mut after = (i64::MIN, i64::MIN);
        loop {
            let page = cluster.reading(Freshness::Primary, async |mut conn| {
                Ok(orders::page(&mut conn, after, PAGE).await?)
            });
            let page = page.await.of("users")?;
            let Some(last) = page.last() else { break };
            after = (last.user_id, last.order_id);
            let effects = Effects::read(databases, &page).await?;
            let moving: Vec<i64> = page
                .iter()
                .filter(|order| !rules::is_at_rest(&order.state))
                .map(|order| order.order_id)
                .collect();
            let still = standing_still(cluster, &moving).await?;
            for order in &page {
                placement.checked += 1;
                let (order_slot, user_slot) = (slot_of(order.order_id), slot_of(order.user_id));
                let home = databases.users.for_slot(user_slot).name();
                if order_slot != user_slot || home != cluster.name() {
                    placement.offends(format!(
                        "order {} of user {} lies in {}",
                        order.order_id,
                        order.user_id,
                        cluster.name()
                    ));
                }
                let check = if rules::is_at_rest(&order.state) {
                    &mut at_rest
                } else {
                    &mut in_flight
                };
                check.checked += 1;
                let judged = rules::is_at_rest(&order.state)
                    || still
                        .get(&order.order_id)
                        .is_some_and(|now| now.0 == order.state && now.1 == order.attempt);
                if judged {
                    for wrong in effects.judge(order) {
                        check.offends(format!("order {} ({}): {wrong}", order.order_id, order.state));
                    }
                }
                if !rules::is_at_rest(&order.state)
                    && judged
                    && order.state_seconds > options.in_flight_max.as_secs_f64()
                {
                    in_flight.offends(format!(
                        "order {} has been {} for {:.0} s, at attempt {}",
                        order.order_id, order.state, order.state_seconds, order.attempt
                    ));
                }
            }
        }
    }
    Ok([at_rest, in_flight, placement])
}

async fn standing_still(cluster: &Cluster, order_ids: &[i64]) -> Result<HashMap<i64, (String, i32)>, AuditError> {
    if order_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let states = cluster.reading(Freshness::Primary, async |mut conn| {
        Ok(orders::states(&mut conn, order_ids).await?)
    });
    let states = states.await.of("users")?;
    Ok(states
        .into_iter()
        .map(|(order_id, state, attempt)| (order_id, (state, attempt)))
        .collect())
}

/// What the other two databases hold of some orders.
struct Effects {
    reservations: HashMap<i64, reservations::ReservationRow>,
    payments: HashMap<i64, payments::PaymentRow>,
}

impl Effects {
    async fn read(databases: &Databases, page: &[OrderRow]) -> Result<Self, AuditError> {
        let ids: Vec<i64> = page.iter().map(|order| order.order_id).collect();
        let reservations = databases.inventory.reading(Freshness::Primary, async |mut conn| {
            Ok(reservations::of_orders(&mut conn, &ids).await?)
        });
        let reservations = reservations.await.of("inventory")?;
        let payments = databases.payments.reading(Freshness::Primary, async |mut conn| {
            Ok(payments::of_orders(&mut conn, &ids).await?)
        });
        let payments = payments.await.of("payments")?;
        Ok(Self {
            reservations: reservations.into_iter().map(|row| (row.order_id, row)).collect(),
            payments: payments.into_iter().map(|row| (row.order_id, row)).collect(),
        })
    }

    fn judge(&self, order: &OrderRow) -> Vec<String> {
        rules::order(
            order,
            self.reservations.get(&order.order_id),
            self.payments.get(&order.order_id),
        )
    }
}

async fn check_reservations(databases: &Databases) -> Result<Check, AuditError> {
    let page_after = async |mut conn: ReadConn, after| Ok(reservations::page(&mut conn, after, PAGE).await?);
    let inventory = ("inventory", &databases.inventory);
    check_by_order(
        databases,
        "reservations have orders",
        inventory,
        page_after,
        rules::reservation,
    )
    .await
}

async fn check_payments(databases: &Databases) -> Result<Check, AuditError> {
    let page_after = async |mut conn: ReadConn, after| Ok(payments::page(&mut conn, after, PAGE).await?);
    let ledger = ("payments", &databases.payments);
    check_by_order(databases, "payments have orders", ledger, page_after, rules::payment).await
}

/// Goes through the rows of another database, each of which belongs to an order and follows `rule` beside it.
async fn check_by_order<Fut>(
    databases: &Databases,
    name: &'static str,
    (of, cluster): (&'static str, &Cluster),
    page_after: impl Fn(ReadConn, i64) -> Fut,
    rule: OrderRule,
) -> Result<Check, AuditError>
where
    Fut: Future<Output = Result<Vec<(i64, String)>, DbError>>,
{
    let mut check = Check::new(name);
    let mut after = i64::MIN;
    loop {
        let page = cluster.reading(Freshness::Primary, |conn| page_after(conn, after));
        let page = page.await.of(of)?;
        let Some((last, _)) = page.last() else {
            return Ok(check);
        };
        after = *last;
        judge_by_order(databases, &page, rule, &mut check).await?;
    }
}

/// Holds rows of another database against the orders that they belong to, which are read afterwards.
async fn judge_by_order(
    databases: &Databases,
    page: &[(i64, String)],
    rule: OrderRule,
    check: &mut Check,
) -> Result<(), AuditError> {
    let mut by_cluster: HashMap<&str, (&Cluster, Vec<i64>)> = HashMap::new();
    for (order_id, _) in page {
        let cluster = databases.users.for_slot(slot_of(*order_id));
        by_cluster
            .entry(cluster.name())
            .or_insert_with(|| (cluster, Vec::new()))
            .1
            .push(*order_id);
    }
    let mut states = HashMap::new();
    for (cluster, order_ids) in by_cluster.into_values() {
        states.extend(standing_still(cluster, &order_ids).await?);
    }
    for (order_id, state) in page {
        check.checked += 1;
        let order = states.get(order_id).map(|(state, _)| state.as_str());
        if let Some(wrong) = rule(state, order) {
            check.offends(format!("order {order_id}: {wrong}"));
        }
    }
    Ok(())
}
