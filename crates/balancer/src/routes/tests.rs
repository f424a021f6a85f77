//! What is read from a file, and who is found for a request.

use super::*;

fn service_of(path: &str, private: bool) -> Option<String> {
    let table = RouteTable::built_in().expect("the built-in routes are sound");
    let asked = Asked {
        host: "shop.example",
        path,
        method: &Method::GET,
        private,
    };
    match table.find(asked) {
        Found::Route(route) => Some(table.services[table.routes[route].service].name.clone()),
        Found::Nothing | Found::OtherMethods(_) => None,
    }
}

#[test]
fn each_path_of_the_shop_reaches_its_service() {
    for path in [
        "/",
        "/products/7",
        "/categories/sea",
        "/search",
        "/api/products/7/stock",
        "/api/photos",
        "/photos/1/2/w320.webp",
        "/assets/shop.1a.css",
        "/favicon.ico",
        "/robots.txt",
        "/admin/products",
        "/problems/sold-out",
        "/no-such-page",
        "/cartography",
        "/internals",
    ] {
        assert_eq!(service_of(path, false).as_deref(), Some("inventory"), "{path}");
    }
    for path in [
        "/register",
        "/login",
        "/cart",
        "/checkout",
        "/orders/7",
        "/account",
        "/admin/orders",
        "/api/users/7",
        "/api/sessions/current",
        "/api/me",
        "/api/cart/items/7",
        "/api/orders",
    ] {
        assert_eq!(service_of(path, false).as_deref(), Some("user"), "{path}");
    }
}

#[test]
fn what_may_be_sent_twice_is_what_its_service_does_once() {
    let table = RouteTable::built_in().expect("the built-in routes are sound");
    let those = |is_meant: fn(&Route) -> bool| -> Vec<&str> {
        let meant = table.routes.iter().filter(|route| is_meant(route));
        let mut prefixes: Vec<&str> = meant.map(|route| route.prefix.as_str()).collect();
        prefixes.sort_unstable();
        prefixes
    };
    assert_eq!(
        those(|route| route.keyed == Keyed::ByHeader),
        ["/api/orders", "/api/photos"]
    );
    assert_eq!(
        those(|route| route.keyed == Keyed::Always),
        [
            "/api/sessions",
            "/api/users",
            "/checkout",
            "/login",
            "/logout",
            "/register"
        ]
    );
    assert_eq!(those(|route| route.idempotent), ["/cart"]);
}

#[test]
fn internal_paths_exist_only_on_the_private_side() {
    assert_eq!(service_of("/internal/products", false), None);
    assert_eq!(service_of("/internal", false), None);
    assert_eq!(service_of("/internal/products", true).as_deref(), Some("inventory"));
    assert_eq!(service_of("/internal/unknown", true), None);
    assert_eq!(service_of("/products/7", true), None);
}

#[test]
fn what_services_tell_operators_is_not_for_customers() {
    for path in ["/livez", "/readyz", "/metrics", "/metrics/x"] {
        assert_eq!(service_of(path, false), None, "{path}");
    }
}

const SERVICE: &str = "[[service]]\nname = \"a\"\naddresses = [\"a:1\"]\n";

fn route(prefix: &str, more: &str) -> String {
    format!("[[route]]\nprefix = {prefix:?}\nservice = \"a\"\n{more}\n")
}

fn table(routes: &[(&str, &str)]) -> RouteTable {
    let routes: String = routes.iter().map(|(prefix, more)| route(prefix, more)).collect();
    RouteTable::parse(&format!("{SERVICE}{routes}")).expect("sound routes")
}

/// The name of the route that was found, or the methods that would have been right.
fn found(table: &RouteTable, method: &str, host: &str, path: &str) -> String {
    let asked = Asked {
        host,
        path,
        method: &method.parse().expect("a method"),
        private: false,
    };
    match table.find(asked) {
        Found::Route(index) => table.routes[index].name.clone(),
        Found::OtherMethods(methods) => format!("only {methods:?}"),
        Found::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn the_host_decides_before_the_path_and_the_path_before_the_method() {
    let table = table(&[
        ("/", ""),
        ("/cart", ""),
        ("/", "hosts = [\"*.example\"]"),
        ("/", "hosts = [\"Admin.Example\", \"ops.example\"]"),
        ("/cart", "hosts = [\"admin.example\"]\nmethods = [\"GET\", \"HEAD\"]"),
        ("/cart", "hosts = [\"admin.example\"]\nmethods = [\"POST\"]"),
    ]);
    let admin = "admin.example,ops.example/";
    for (method, host, path, name) in [
        ("GET", "shop", "/cart/7", "/cart"),
        ("GET", "a.example:8080", "/cart", "*.example/"),
        ("GET", "example", "/", "/"),
        ("GET", "ADMIN.example:8080", "/carton", admin),
        ("DELETE", "ops.example", "/cart", admin),
        ("GET", "admin.example", "/cart", "GET,HEAD admin.example/cart"),
        ("POST", "admin.example", "/cart/x", "POST admin.example/cart"),
        ("DELETE", "admin.example", "/cart", "only [GET, HEAD, POST]"),
    ] {
        assert_eq!(found(&table, method, host, path), name, "{method} {host}{path}");
    }
}

#[test]
fn a_route_without_methods_takes_what_its_twin_does_not() {
    let table = table(&[("/", ""), ("/api", "methods = [\"GET\"]"), ("/api", "")]);
    assert_eq!(found(&table, "GET", "a", "/api"), "GET /api");
    assert_eq!(found(&table, "HEAD", "a", "/api"), "GET /api");
    assert_eq!(found(&table, "POST", "a", "/api"), "/api");
}

#[test]
fn limits_of_a_route_stand_above_those_of_all() {
    let text = format!(
        "[rate_limits]\nsession_per_s = 5\nsession_burst = 9\naddress_per_s = 1000\n{SERVICE}{}{}{}",
        route("/", ""),
        route("/login", "rate_per_s = 0.5\nburst = 3\naddress_rate_per_s = 50"),
        route("/assets", "rate_per_s = 0"),
    );
    let table = RouteTable::parse(&text).expect("sound routes");
    let of = |prefix: &str| {
        table
            .routes
            .iter()
            .find(|route| route.prefix == prefix)
            .expect("a route")
    };
    assert_eq!(of("/").session_rate, Rate::new(5.0, 9));
    assert_eq!(of("/login").session_rate, Rate::new(0.5, 3));
    assert_eq!(of("/login").address_rate, Rate::new(50.0, 100));
    assert_eq!(of("/assets").session_rate, None);
    assert_eq!(table.settings.address_rate, Rate::new(1000.0, 2000));
}

#[test]
fn a_shop_is_open_unless_it_says_otherwise() {
    let parse = |section: &str| {
        let text = format!("{section}\n{SERVICE}{}", route("/", ""));
        RouteTable::parse(&text).expect("sound routes").settings.maintenance
    };
    assert!(parse("").is_none());
    assert!(parse("[maintenance]\non = false\nmessage = \"later\"").is_none());
    let closed = parse("[maintenance]\non = true\nretry_after_s = 90\nallow = [\"10.0.0.0/8\", \"::1\"]");
    let closed = closed.expect("closed");
    assert_eq!((closed.retry_after_s, closed.allow.len()), (90, 2));
}

#[test]
fn unusable_files_are_refused_with_their_place() {
    let with = |more: &str| format!("{SERVICE}{}{more}", route("/", ""));
    for (text, line, column, fault) in [
        ("nonsense".to_owned(), 1, 9, "expected"),
        (with("[[route]]\nprefix = \"/x\"\nservise = \"a\"\n"), 10, 1, "servise"),
        (with(&route("x", "")), 9, 10, "route prefix \"x\""),
        (with(&route("/x/", "")), 9, 10, "route prefix \"/x/\""),
        (
            with("[[route]]\nprefix = \"/x\"\nservice = \"b\"\n"),
            10,
            11,
            "unknown service \"b\"",
        ),
        (with(&route("/", "")), 9, 10, "route \"/\" is given twice"),
        (with(SERVICE), 9, 8, "service \"a\" is given twice"),
        (with(&route("/x", "hosts = [\"a\", \"b:1\"]")), 11, 15, "host \"b:1\""),
        (
            with(&route("/x", "methods = [\"GET\", \"get\"]")),
            11,
            19,
            "method \"get\"",
        ),
        (
            with(&route("/x", "keyed = \"at times\"")),
            11,
            9,
            "true, false or \"always\"",
        ),
        (with(&route("/x", "rate_per_s = -1")), 11, 14, "a rate must be"),
        (
            with(&route("/x", "rate_per_s = 1\nburst = 0")),
            12,
            9,
            "a burst at least",
        ),
        (with(&route("/x", "burst = 5")), 11, 9, "a burst says nothing"),
        (with("[rate_limits]\naddress_burst = 5"), 9, 17, "a burst says nothing"),
        (with("[maintenance]\nallow = [\"here\"]"), 9, 10, "\"here\" is neither"),
        (with("[headers]\nhsts_max_age_s = \"long\""), 9, 18, "invalid type"),
        (format!("{SERVICE}{}", route("/x", "")), 1, 1, "no route for \"/\""),
        (
            "[[service]]\nname = \"a\"\naddresses = [\"a\"]\n[[route]]\nprefix = \"/\"\nservice = \"a\"\n".to_owned(),
            3,
            14,
            "address \"a\" of a service",
        ),
    ] {
        let error = RouteTable::parse(&text).expect_err("refused");
        assert_eq!((error.line, error.column), (line, column), "{error}\n{text}");
        assert!(error.to_string().contains(fault), "{error}");
    }
}
