//! Sessions and carts in the testbed's Redis, found by its Sentinel. `scripts/testbed up` starts both.

use shop_session::{
    CartLine, CartOwner, LINES_MAX, Role, Session, SessionArgs, SessionError, SessionId, SessionUser, Sessions,
};
use shop_testkit::{redis_url, sentinel, unique};

fn args() -> SessionArgs {
    SessionArgs::single_node(sentinel(), format!("{}:", unique("test")))
}

async fn store() -> Sessions {
    connect(args()).await
}

async fn connect(args: SessionArgs) -> Sessions {
    Sessions::connect(args).await.expect("a sentinel is named")
}

async fn load(sessions: &Sessions, id: &SessionId) -> Option<Session> {
    let loaded = sessions.load_and_prolong(id).await.expect("the store is up");
    loaded.map(|loaded| loaded.session)
}

fn person() -> Session {
    Session::of(SessionUser {
        id: 4096,
        name: "Clara".to_owned(),
        email: "clara@zillion.example".to_owned(),
        role: Role::Customer,
    })
}

fn lines(lines: &[(i64, u32)]) -> Vec<CartLine> {
    lines
        .iter()
        .map(|(product_id, quantity)| CartLine {
            product_id: *product_id,
            quantity: *quantity,
        })
        .collect()
}

#[tokio::test]
async fn a_session_lives_until_it_is_ended() {
    let sessions = store().await;
    let id = sessions.create(person()).await.expect("the store is up");
    assert_eq!(load(&sessions, &id).await, Some(person()));
    sessions.destroy(&id).await.expect("the store is up");
    sessions.destroy(&id).await.expect("ending it twice is no error");
    assert_eq!(load(&sessions, &id).await, None);
}

#[tokio::test]
async fn a_session_is_changed_under_its_id_and_one_that_is_over_stays_so() {
    let sessions = store().await;
    let id = sessions.create(person()).await.expect("the store is up");
    let renamed = Session {
        user: person().user.map(|user| SessionUser {
            name: "Clara M.".to_owned(),
            ..user
        }),
        ..person()
    };
    assert!(sessions.replace(&id, &renamed).await.expect("the store is up"));
    assert_eq!(load(&sessions, &id).await, Some(renamed.clone()));
    sessions.destroy(&id).await.expect("the store is up");
    assert!(!sessions.replace(&id, &renamed).await.expect("the store is up"));
    assert_eq!(load(&sessions, &id).await, None);
}

#[tokio::test]
async fn an_id_that_nobody_was_given_opens_nothing() {
    let sessions = store().await;
    let guess = "A".repeat(43).parse().expect("43 letters are 32 bytes");
    assert_eq!(load(&sessions, &guess).await, None);
}

#[tokio::test]
async fn who_reads_the_store_finds_no_cookie_in_it() {
    let args = args();
    let prefix = args.sessions_key_prefix.clone();
    let sessions = connect(args).await;
    let id = sessions.create(person()).await.expect("the store is up");
    let client = redis::Client::open(redis_url()).expect("the address is valid");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("the testbed's Redis is up");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
    assert_eq!(keys.len(), 1);
    assert!(!keys[0].contains(&id.to_cookie()));
    let value: String = redis::cmd("GET")
        .arg(&keys[0])
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
    assert!(!value.contains(&id.to_cookie()));
}

#[tokio::test]
async fn a_dead_sentinel_does_not_hide_the_store() {
    let mut args = args();
    args.sessions_sentinels = vec!["127.0.0.1:1".to_owned(), sentinel(), "127.0.0.1:2".to_owned()];
    let sessions = connect(args).await;
    sessions.create(person()).await.expect("one sentinel is enough");
}

#[tokio::test]
async fn a_login_that_no_replica_has_is_not_acknowledged() {
    let mut args = args();
    args.sessions_replicas_min = 5;
    let sessions = connect(args).await;
    let error = sessions.create(person()).await.expect_err("there are no five replicas");
    assert!(matches!(error, SessionError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn lines_stay_in_the_order_in_which_they_were_added() {
    let carts = store().await.carts();
    let owner = CartOwner::User(1);
    for (product, quantity) in [(30, 1), (10, 2), (20, 3), (30, 4)] {
        carts.set(&owner, product, quantity).await.expect("the store is up");
    }
    let cart = carts.set(&owner, 10, 0).await.expect("the store is up");
    assert_eq!(cart.lines, lines(&[(30, 4), (20, 3)]));
    assert_eq!(carts.get(&owner).await.expect("the store is up"), cart);
    assert_eq!(cart.count(), 7);
}

#[tokio::test]
async fn a_cart_has_bounds() {
    let carts = store().await.carts();
    let owner = CartOwner::User(1);
    assert!(matches!(
        carts.set(&owner, 1, 100).await,
        Err(SessionError::InvalidQuantity)
    ));
    for product in 1..=i64::try_from(LINES_MAX).expect("fits") {
        carts.set(&owner, product, 1).await.expect("there is room");
    }
    assert!(matches!(carts.set(&owner, 1000, 1).await, Err(SessionError::CartFull)));
    carts
        .set(&owner, 1, 9)
        .await
        .expect("what is in a full cart can be changed");
    carts.set(&owner, 2, 0).await.expect("and taken out");
    carts.set(&owner, 1000, 1).await.expect("which makes room");
}

#[tokio::test]
async fn tabs_that_write_at_the_same_time_lose_nothing() {
    let carts = store().await.carts();
    let writes = (1..=20).map(|product| {
        let carts = carts.clone();
        async move {
            carts
                .set(&CartOwner::User(1), product, 1)
                .await
                .expect("the store is up")
        }
    });
    futures::future::join_all(writes).await;
    assert_eq!(
        carts
            .get(&CartOwner::User(1))
            .await
            .expect("the store is up")
            .lines
            .len(),
        20
    );
}

#[tokio::test]
async fn a_guests_cart_moves_into_the_persons_and_twice_changes_nothing() {
    let sessions = store().await;
    let carts = sessions.carts();
    let guest = sessions.create(Session::guest()).await.expect("the store is up");
    let guests = CartOwner::Guest(guest.clone());
    for (owner, product, quantity) in [
        (&guests, 1, 5),
        (&guests, 2, 1),
        (&CartOwner::User(7), 1, 2),
        (&CartOwner::User(7), 3, 1),
    ] {
        carts.set(owner, product, quantity).await.expect("the store is up");
    }
    let merged = carts.merge(&guest, 7).await.expect("the store is up");
    assert_eq!(merged.lines, lines(&[(1, 5), (3, 1), (2, 1)]));
    assert_eq!(carts.merge(&guest, 7).await.expect("the store is up"), merged);
    assert!(carts.get(&guests).await.expect("the store is up").is_empty());
}

#[tokio::test]
async fn an_order_leaves_the_cart_once_and_what_was_added_meanwhile_stays() {
    let carts = store().await.carts();
    let owner = CartOwner::User(1);
    carts.set(&owner, 1, 2).await.expect("the store is up");
    carts.set(&owner, 2, 1).await.expect("the store is up");
    let ordered = lines(&[(1, 2), (2, 1)]);
    carts.set(&owner, 1, 3).await.expect("one more was added meanwhile");
    assert!(carts.subtract(&owner, 99, &ordered).await.expect("the store is up"));
    assert_eq!(
        carts.get(&owner).await.expect("the store is up").lines,
        lines(&[(1, 1)])
    );
    assert!(!carts.subtract(&owner, 99, &ordered).await.expect("the store is up"));
    assert_eq!(
        carts.get(&owner).await.expect("the store is up").lines,
        lines(&[(1, 1)])
    );
    assert!(
        carts
            .subtract(&owner, 100, &lines(&[(1, 1)]))
            .await
            .expect("another order is another matter")
    );
}
